//! The text of a file, and errors that point into it.

use std::fs;
use std::path::Path;

use mobilebert::{Error, ErrorKind, Result};

use super::delimited::{foreign_encoding, wrong_encoding};

/// A file that was read as UTF-8, without its byte order mark.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self> {
        Self::from_bytes(path.display().to_string(), fs::read(path).map_err(|e| Error::io(path, e))?)
    }

    pub(super) fn from_bytes(name: String, bytes: Vec<u8>) -> Result<Self> {
        if let Some(encoding) = foreign_encoding(&bytes) {
            return Err(error(&name, 1, wrong_encoding(encoding)));
        }
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
            false => Ok(Self { name, text }),
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

pub(super) fn error(name: &str, line: usize, problem: String) -> Error {
    ErrorKind::Input { place: format!("{name}, line {line}"), problem }.into()
}
