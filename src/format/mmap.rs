//! Maps files, so that their bytes are used where they lie, without a copy in memory.
#![allow(unsafe_code)]

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

#[cfg(unix)]
use memmap2::UncheckedAdvice;
use memmap2::{Mmap, MmapOptions};

use crate::error::{Error, Result};
use crate::files::check_regular;

/// The bytes of a model file: mapped, compiled in, read, or shared with the caller.
///
/// # Files that change
///
/// [`Bytes::map`] and [`Bytes::map_range`] are safe to call although they map a file, which Rust cannot
/// protect: the caller promises that nobody truncates the file or writes into it while its bytes are in use.
/// A file that is truncated ends the process by a signal at the next access; one that is overwritten gives a
/// mixture of old and new weights. Model files are replaced and not edited (this crate's writers rename a new
/// file into place, which leaves existing maps intact), and an engine drops the bytes once it has packed its
/// weights, so the promise covers the time of loading. A program that cannot promise it reads the file and
/// passes [`Bytes::Owned`].
pub enum Bytes {
    /// A mapped file, or a range of one.
    Mapped(Mmap),
    /// Bytes that are compiled into the program.
    Static(&'static [u8]),
    /// Bytes in memory.
    Owned(Vec<u8>),
    /// Bytes in memory that others hold too, such as an `Arc<[u8]>`. They are released with the last reader
    /// of the weights.
    Shared(Arc<dyn AsRef<[u8]> + Send + Sync>),
}

impl Bytes {
    /// Maps a file, or reads it on systems without maps. An empty file becomes an empty vector. The
    /// documentation of the type states what the caller promises.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`].
    pub fn map(path: &Path) -> Result<Self> {
        let map = || {
            let length = check_regular(path)?;
            let file = File::open(path)?;
            Self::map_range(&file, 0..length)
        };
        map().map_err(|e| Error::io(path, e))
    }

    /// Maps the bytes `range` of an open file, or reads them on systems without maps. The range may begin
    /// anywhere, because a model inside an archive, such as an Android package, is rarely aligned to pages.
    /// The file may be closed afterwards.
    ///
    /// The documentation of the type states what the caller promises.
    ///
    /// # Errors
    /// The error of the system, and [`ErrorKind::UnexpectedEof`] if the file ends before the range does.
    pub fn map_range(file: &File, range: Range<u64>) -> io::Result<Self> {
        let end = file.metadata()?.len();
        if range.start > range.end || range.end > end {
            let problem = format!("bytes {range:?} of a file of {end} bytes");
            return Err(io::Error::new(ErrorKind::UnexpectedEof, problem));
        }
        let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        if length == 0 {
            return Ok(Bytes::Owned(Vec::new()));
        }
        // SAFETY: the map is read-only, private to this process, and inside the file by the check above. The
        // caller promises, as the documentation of `Bytes` asks, that the file is not truncated or rewritten
        // while it is mapped. No check here could keep another process from doing so.
        match unsafe { MmapOptions::new().offset(range.start).len(length).map(file) } {
            Ok(map) => Ok(Bytes::Mapped(map)),
            // WebAssembly has no maps.
            Err(e) if e.kind() == ErrorKind::Unsupported => {
                let mut file = file;
                file.seek(SeekFrom::Start(range.start))?;
                let mut bytes = Vec::new();
                file.take(length as u64).read_to_end(&mut bytes)?;
                Ok(Bytes::Owned(bytes))
            }
            Err(e) => Err(e),
        }
    }

    /// Gives back the memory of the pages, if the bytes are mapped. A page is read again when it is needed
    /// again.
    pub(crate) fn release(&self) {
        #[cfg(unix)]
        if let Bytes::Mapped(map) = self {
            // SAFETY: the map is read-only, so its pages hold nothing but the file's content, which they hold
            // again when they are read again. The caller of `map_range` promises that it does not change.
            let advised = unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) };
            // Without the advice the pages stay until the map goes.
            advised.unwrap_or_default();
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Static(bytes) => bytes,
            Bytes::Owned(bytes) => bytes,
            Bytes::Shared(bytes) => (**bytes).as_ref(),
        }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::Owned(bytes)
    }
}

impl From<&'static [u8]> for Bytes {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::Static(bytes)
    }
}

impl<const N: usize> From<&'static [u8; N]> for Bytes {
    fn from(bytes: &'static [u8; N]) -> Self {
        Bytes::Static(bytes)
    }
}

impl From<Arc<[u8]>> for Bytes {
    fn from(bytes: Arc<[u8]>) -> Self {
        Bytes::Shared(Arc::new(bytes))
    }
}

impl From<Arc<Vec<u8>>> for Bytes {
    fn from(bytes: Arc<Vec<u8>>) -> Self {
        Bytes::Shared(bytes)
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Bytes::Mapped(_) => "Mapped",
            Bytes::Static(_) => "Static",
            Bytes::Owned(_) => "Owned",
            Bytes::Shared(_) => "Shared",
        };
        write!(f, "{kind}({} bytes)", self.len())
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::Bytes;

    /// Returns the KiB in memory of the map that begins with these bytes.
    fn in_memory(bytes: &[u8]) -> usize {
        let start = format!("{:x}-", bytes.as_ptr() as usize);
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let map = maps.split_once(&start).expect("the map is listed").1;
        let line = map.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    #[test]
    fn pages_that_were_given_back_are_read_again() {
        let content: Vec<u8> = (0..1 << 20).map(|i: u32| (i >> 8) as u8 ^ i as u8).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &content).unwrap();
        let bytes = Bytes::map(file.path()).unwrap();
        assert!(*bytes == *content);
        assert_eq!(in_memory(&bytes), 1024);
        bytes.release();
        assert_eq!(in_memory(&bytes), 0);
        assert!(*bytes == *content);
        Bytes::Owned(content).release();
    }
}
