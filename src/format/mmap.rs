//! Bytes of a file without reading them into memory.
#![allow(unsafe_code)]

use std::fmt;
use std::fs::File;
use std::io::ErrorKind;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use crate::error::{Error, Result};

/// The bytes of a model file: mapped, compiled in, or read.
pub enum Bytes {
    /// A mapped file.
    Mapped(Mmap),
    /// Part of the program.
    Static(&'static [u8]),
    /// In memory.
    Owned(Vec<u8>),
}

impl Bytes {
    /// Maps a file, or reads it where there are no maps; an empty one becomes an empty vector.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`].
    pub fn map(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let length = file.metadata().map_err(|e| Error::io(path, e))?.len();
        if length == 0 {
            return Ok(Bytes::Owned(Vec::new()));
        }
        // SAFETY: the map is read-only and private to this process. Truncating or rewriting the file in place while it is
        // mapped is the one thing the caller must not do (docs/model-format.md says so); this crate's own writers
        // replace files by rename, which leaves existing maps intact.
        match unsafe { Mmap::map(&file) } {
            Ok(map) => Ok(Bytes::Mapped(map)),
            // WebAssembly has no maps.
            Err(e) if e.kind() == ErrorKind::Unsupported => {
                std::fs::read(path).map(Bytes::Owned).map_err(|e| Error::io(path, e))
            }
            Err(e) => Err(Error::io(path, e)),
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
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Bytes::Mapped(_) => "Mapped",
            Bytes::Static(_) => "Static",
            Bytes::Owned(_) => "Owned",
        };
        write!(f, "{kind}({} bytes)", self.len())
    }
}
