//! The text of a file, and errors that point into it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use mobilebert::format::sha256;
use mobilebert::{Error, ErrorKind, Result};

use super::delimited::{foreign_encoding, wrong_encoding};

/// A file that was read as UTF-8, without its byte order mark.
pub(super) struct Source {
    pub(super) name: String,
    /// The SHA-256 of the file, mark included.
    pub(super) sha256: String,
    pub(super) text: String,
}

/// The most bytes of a file of examples, which is held whole. The largest set of GLUE has 80 MB.
const MAX_FILE: u64 = 512 << 20;

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self> {
        Self::from_bytes(path.display().to_string(), read(path)?)
    }

    pub(super) fn from_bytes(name: String, bytes: Vec<u8>) -> Result<Self> {
        if let Some(encoding) = foreign_encoding(&bytes) {
            return Err(error(&name, 1, wrong_encoding(encoding)));
        }
        let sha256 = sha256([&bytes]);
        let mut text = String::from_utf8(bytes).map_err(|e| {
            let (bytes, at) = (e.as_bytes(), e.utf8_error().valid_up_to());
            let line = 1 + bytes[..at].iter().filter(|&&b| b == b'\n').count();
            error(&name, line, format!("expected UTF-8; found byte 0x{:02x}", bytes[at]))
        })?;
        if text.starts_with('\u{feff}') {
            text.drain(..'\u{feff}'.len_utf8());
        }
        match text.trim().is_empty() {
            true => Err(error(&name, 1, "the file is empty".to_owned())),
            false => Ok(Self { name, sha256, text }),
        }
    }

    /// Returns an error about a line, which is counted from 1.
    pub(super) fn error(&self, line: usize, problem: impl Into<String>) -> Error {
        error(&self.name, line, problem.into())
    }

    /// Returns the lines without `\n` or `\r\n`, with their numbers from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(i, line)| (i + 1, line))
    }

    /// Returns the number of the line that holds a byte of the text.
    pub(super) fn line_of(&self, byte: usize) -> usize {
        1 + self.text.as_bytes()[..byte].iter().filter(|&&b| b == b'\n').count()
    }
}

/// Reads a file of examples. It may be a pipe, but one without an end is refused.
fn read(path: &Path) -> Result<Vec<u8>> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE {
            let problem =
                format!("is larger than {MAX_FILE} bytes, the most that a file of examples may have");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
        }
        Ok(bytes)
    };
    read().map_err(|e| Error::io(path, e))
}

pub(super) fn error(name: &str, line: usize, problem: String) -> Error {
    ErrorKind::Input { place: format!("{name}, line {line}"), problem }.into()
}
