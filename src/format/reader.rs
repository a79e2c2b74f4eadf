//! Reads little-endian fields from a byte slice and checks every bound.

use super::checkpoint::format_error;
use crate::error::{Error, Result};

/// A position in the bytes of a file. Offsets in errors count from the beginning of the file.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    label: &'a str,
    bytes: &'a [u8],
    position: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    /// Reads `file[start..end]`. Both limits are cut to the length of the file.
    pub fn new(label: &'a str, file: &'a [u8], start: usize, end: usize) -> Self {
        let end = end.min(file.len());
        Self { label, bytes: file, position: start.min(end), end }
    }

    /// Returns the offset of the next byte in the file.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Returns true if all bytes have been read.
    pub fn at_end(&self) -> bool {
        self.position == self.end
    }

    /// Returns a reader on the next `length` bytes, which this one skips.
    ///
    /// # Errors
    /// The errors of [`Reader::take`].
    pub fn sub(&mut self, length: usize, what: &str) -> Result<Reader<'a>> {
        let start = self.position;
        self.take(length, what)?;
        Ok(Self::new(self.label, self.bytes, start, start + length))
    }

    /// Returns the next `length` bytes. Errors call them `what`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Format`] if the file ends before them. The other methods fail in the same way.
    pub fn take(&mut self, length: usize, what: &str) -> Result<&'a [u8]> {
        let left = self.end - self.position;
        if length > left {
            return Err(self.error(what, format!("only {left} bytes before the end")));
        }
        let taken = &self.bytes[self.position..self.position + length];
        self.position += length;
        Ok(taken)
    }

    /// Returns the next `N` bytes.
    ///
    /// # Errors
    /// The errors of [`Reader::take`].
    pub fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let bytes = self.take(N, what)?;
        let mut array = [0; N];
        array.copy_from_slice(bytes);
        Ok(array)
    }

    /// Reads a byte.
    ///
    /// # Errors
    /// The errors of [`Reader::take`].
    pub fn u8(&mut self, what: &str) -> Result<u8> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    /// Reads a number of two bytes.
    ///
    /// # Errors
    /// The errors of [`Reader::take`].
    pub fn u16(&mut self, what: &str) -> Result<u16> {
        self.array(what).map(u16::from_le_bytes)
    }

    /// Reads a number of four bytes.
    ///
    /// # Errors
    /// The errors of [`Reader::take`].
    pub fn u32(&mut self, what: &str) -> Result<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// Reads a number of eight bytes.
    ///
    /// # Errors
    /// The errors of [`Reader::take`].
    pub fn u64(&mut self, what: &str) -> Result<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// Reads a length or an offset, which is a number that this machine can address.
    ///
    /// # Errors
    /// The errors of [`Reader::take`], and one for a number beyond the address space.
    pub fn size(&mut self, what: &str) -> Result<usize> {
        let at = *self;
        let value = self.u64(what)?;
        usize::try_from(value).map_err(|_| at.error(what, value.to_string()))
    }

    /// Reads the bytes up to the next line feed, which is skipped.
    ///
    /// # Errors
    /// The errors of [`Reader::take`], and one for a line that is longer than 256 bytes or not UTF-8.
    pub fn line(&mut self, what: &str) -> Result<&'a str> {
        // The limit is longer than any module path and shorter than what would make an error message
        // unreadable.
        const MAX_LINE: usize = 256;
        let at = *self;
        let window = &self.bytes[self.position..self.end.min(self.position + MAX_LINE)];
        let Some(length) = window.iter().position(|&b| b == b'\n') else {
            return Err(at.error(what, format!("no end of line within {} bytes", window.len())));
        };
        let line = self.take(length, what)?;
        self.position += 1;
        str::from_utf8(line).map_err(|_| at.error(what, "bytes that are not UTF-8"))
    }

    /// Returns an error at this position, with the expected content and the content that was found.
    pub fn error(&self, expected: &str, found: impl Into<String>) -> Error {
        format_error(self.label, self.position, expected, found)
    }
}
