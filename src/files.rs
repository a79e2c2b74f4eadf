//! Files of a model folder, checked before anything is read from them.

pub(crate) mod json;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use crate::error::{Error, Result};

/// The most bytes that a file other than the weights may have. The largest known ones, tokenizers of
/// multilingual models with 250 thousand entries, have 20 MB.
const MAX_TEXT_FILE: u64 = 256 << 20;

/// Reads a small file of a model folder. The result is `None` if there is no such file.
///
/// The file has to be a regular one, or a link to one. A device or a pipe could give bytes without end or
/// none at all, so neither is opened. A file that grows while it is read is cut off by an error.
///
/// # Errors
/// [`crate::ErrorKind::Io`] if it cannot be read, is not a regular file, or is larger than [`MAX_TEXT_FILE`].
pub(crate) fn read_small(path: &Path) -> Result<Option<Vec<u8>>> {
    read_within(path, MAX_TEXT_FILE)
}

fn read_within(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let read = || -> io::Result<Vec<u8>> {
        let length = check_regular(path)?;
        let too_large = || {
            let problem = format!("is larger than {limit} bytes, the most that this file may have");
            io::Error::new(io::ErrorKind::FileTooLarge, problem)
        };
        if length > limit {
            return Err(too_large());
        }
        let mut bytes = Vec::with_capacity(length as usize);
        File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(path, e)),
    }
}

/// Returns the length of a regular file. The type is checked before the file is opened, because opening a
/// pipe would wait for a writer.
pub(crate) fn check_regular(path: &Path) -> io::Result<u64> {
    let metadata = fs::metadata(path)?;
    if metadata.is_file() {
        return Ok(metadata.len());
    }
    let kind = if metadata.is_dir() { "is a folder" } else { "is a device, a pipe or a socket" };
    let problem = format!("{kind} and not a regular file; copy the file itself to this place");
    Err(io::Error::new(io::ErrorKind::InvalidInput, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_up_to_the_limit_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read_within(&path, 5).unwrap().unwrap(), b"12345");
        let message = read_within(&path, 4).unwrap_err().to_string();
        assert!(message.contains("is larger than 4 bytes"), "{message}");
    }

    #[cfg(unix)]
    #[test]
    fn devices_are_not_read() {
        let error = read_small("/dev/zero".as_ref()).unwrap_err();
        assert!(
            error.to_string().contains("is a device, a pipe or a socket and not a regular file"),
            "{error}"
        );
        assert_eq!(read_small("no/such/file".as_ref()).unwrap(), None);
    }

    #[test]
    fn folders_are_no_files() {
        let folder = tempfile::tempdir().unwrap();
        let error = read_small(folder.path()).unwrap_err();
        assert!(error.to_string().contains("is a folder and not a regular file"), "{error}");
    }
}
