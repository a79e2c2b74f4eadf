//! Files of a model folder, checked before anything is read from them.

pub mod json;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use crate::error::{Error, Result};

/// The most bytes that a file other than the weights may have. The largest known ones, tokenizers of
/// multilingual models with 250 thousand entries, have 20 MB. A parsed file takes a multiple of its size.
const MAX_TEXT_FILE: u64 = 64 << 20;
/// The most bytes of a file that holds settings. A configuration with a hundred thousand labels has 3 MB.
const MAX_SETTINGS: u64 = 4 << 20;

/// Reads a file of a model folder that is not one of the weights. The result is `None` if there is no such
/// file.
///
/// The file has to be a regular one, or a link to one. A device or a pipe could give bytes without end or
/// none at all, so neither is opened. A link whose target is missing is an error, because a folder without
/// the file means something else: a cache that was not fetched to the end has such links. A file that grows
/// while it is read is cut off by an error.
///
/// # Errors
/// [`crate::ErrorKind::Io`] if it cannot be read, is not a regular file, or has more than 64 MiB, or more
/// than 4 MiB if it is named like one that holds settings, such as `config.json`.
pub fn read_small(path: &Path) -> Result<Option<Vec<u8>>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let others = ["modules.json", "special_tokens_map.json", "added_tokens.json"];
    let is_settings = name.ends_with("config.json") || others.contains(&&*name);
    read_within(path, if is_settings { MAX_SETTINGS } else { MAX_TEXT_FILE })
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
/// pipe would wait for a writer. Only where nothing has the name is the error of the kind `NotFound`.
pub(crate) fn check_regular(path: &Path) -> io::Result<u64> {
    let metadata = fs::metadata(path).map_err(|error| match fs::read_link(path) {
        Ok(target) if error.kind() == io::ErrorKind::NotFound => {
            let problem = format!(
                "is a link to {}, which does not exist; fetch all files of the model, or remove the link",
                target.display()
            );
            io::Error::new(io::ErrorKind::InvalidInput, problem)
        }
        _ => error,
    })?;
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

    #[cfg(unix)]
    #[test]
    fn links_to_nothing_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("config.json");
        std::os::unix::fs::symlink("blobs/1234", &link).unwrap();
        let message = read_small(&link).unwrap_err().to_string();
        assert!(message.contains("is a link to blobs/1234, which does not exist; fetch"), "{message}");
        fs::create_dir(folder.path().join("blobs")).unwrap();
        fs::write(folder.path().join("blobs/1234"), "{}").unwrap();
        assert_eq!(read_small(&link).unwrap().unwrap(), b"{}");
    }

    #[test]
    fn settings_are_small() {
        let folder = tempfile::tempdir().unwrap();
        let large = vec![b' '; MAX_SETTINGS as usize + 1];
        for (name, is_settings) in [
            ("config.json", true),
            ("tokenizer_config.json", true),
            ("modules.json", true),
            ("vocab.txt", false),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, &large).unwrap();
            let read = read_small(&path);
            assert_eq!(read.is_err(), is_settings, "{name}");
            if let Err(error) = read {
                assert!(error.to_string().contains("is larger than 4194304 bytes"), "{error}");
            }
        }
    }

    #[test]
    fn folders_are_no_files() {
        let folder = tempfile::tempdir().unwrap();
        let error = read_small(folder.path()).unwrap_err();
        assert!(error.to_string().contains("is a folder and not a regular file"), "{error}");
    }
}
