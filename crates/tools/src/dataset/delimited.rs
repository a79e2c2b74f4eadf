//! A reader of CSV as in RFC 4180, row by row. A quotation mark that the standard does not allow is an error,
//! because a lenient reader would take all the rows behind it for one cell.

use std::fmt;
use std::io::{self, BufRead, Read as _};

/// The longest cell between quotation marks. Without this limit, a mark that is not closed would make the
/// rest of the file one cell.
const MAX_QUOTED: usize = 64 << 20;

/// The most bytes of a line, and of a text that is read whole. Without this limit, a file that is no text, or
/// a small one that unpacks to a huge one, would take all memory.
pub const MAX_LINE: usize = 256 << 20;

/// A reader of the rows of a CSV file. Blank lines are skipped. A `\n` ends a row, with or without `\r` in
/// front of it.
///
/// ```
/// use mobilebert_tools::dataset::Delimited;
///
/// let rows: Vec<_> = Delimited::new(&b"text;label\n\"a; b\";1\n"[..], b';').collect::<Result<_, _>>()?;
/// assert_eq!((rows[1].line, rows[1].cells[0].as_slice()), (2, &b"a; b"[..]));
/// let error = Delimited::new(&b"text\n\"never closed\n"[..], b',').last();
/// assert!(error.is_some_and(|row| row.is_err()));
/// # Ok::<(), mobilebert_tools::dataset::DelimitedError>(())
/// ```
#[derive(Debug)]
pub struct Delimited<R> {
    reader: R,
    delimiter: u8,
    line: usize,
    end: u64,
    failed: bool,
}

/// One row of a CSV file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelimitedRow {
    /// The line of the file that the row begins in, counted from 1.
    pub line: usize,
    /// The number of bytes of the file up to the end of the row.
    pub end: u64,
    /// The cells, without their quotation marks.
    pub cells: Vec<Vec<u8>>,
}

/// The reason why a CSV file cannot be read any further.
#[derive(Debug)]
#[non_exhaustive]
pub enum DelimitedError {
    /// The file could not be read.
    Io(io::Error),
    /// A quotation mark is not where RFC 4180 allows it.
    Quote {
        /// The line of the opening mark, counted from 1.
        line: usize,
        /// A description of what is wrong with the mark.
        problem: String,
    },
}

impl fmt::Display for DelimitedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DelimitedError::Io(error) => error.fmt(f),
            DelimitedError::Quote { line, problem } => write!(f, "line {line}: {problem}"),
        }
    }
}

impl std::error::Error for DelimitedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            DelimitedError::Io(error) => Some(error),
            DelimitedError::Quote { .. } => None,
        }
    }
}

impl From<io::Error> for DelimitedError {
    fn from(error: io::Error) -> Self {
        DelimitedError::Io(error)
    }
}

impl<R: BufRead> Delimited<R> {
    /// Makes a reader of rows whose cells end at `delimiter`, which has to be an ASCII character.
    pub fn new(reader: R, delimiter: u8) -> Self {
        Self { reader, delimiter, line: 0, end: 0, failed: false }
    }

    /// Returns the number of lines that were read.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Appends the next line with its end to `bytes`. Returns `false` at the end of the file.
    fn read_line(&mut self, bytes: &mut Vec<u8>) -> io::Result<bool> {
        let read = read_line(&mut self.reader, bytes)?;
        self.line += usize::from(read > 0);
        self.end += read as u64;
        Ok(read > 0)
    }

    fn row(&mut self) -> Result<Option<DelimitedRow>, DelimitedError> {
        let mut bytes = Vec::new();
        while content(&bytes).is_empty() {
            bytes.clear();
            if !self.read_line(&mut bytes)? {
                return Ok(None);
            }
        }
        let (line, mut cells, mut at) = (self.line, Vec::new(), 0);
        loop {
            let (cell, next) = match bytes.get(at) {
                Some(b'"') => self.quoted(&mut bytes, at + 1)?,
                _ => {
                    let rest = &content(&bytes)[at..];
                    let len = rest.iter().position(|&b| b == self.delimiter);
                    let cell = rest[..len.unwrap_or(rest.len())].to_vec();
                    (cell, len.map(|len| at + len + 1))
                }
            };
            cells.push(cell);
            match next {
                Some(next) => at = next,
                None => return Ok(Some(DelimitedRow { line, end: self.end, cells })),
            }
        }
    }

    /// Reads a cell from behind its opening mark, and returns it with the position where the next cell
    /// begins. `bytes` is the line, and becomes the last line of the cell.
    fn quoted(
        &mut self,
        bytes: &mut Vec<u8>,
        mut at: usize,
    ) -> Result<(Vec<u8>, Option<usize>), DelimitedError> {
        let opened = self.line;
        let quote = |problem: String| DelimitedError::Quote { line: opened, problem };
        let mut cell = Vec::new();
        loop {
            let Some(len) = bytes[at..].iter().position(|&b| b == b'"') else {
                cell.extend_from_slice(&bytes[at..]);
                (at, *bytes) = (0, Vec::new());
                if cell.len() > MAX_QUOTED {
                    let limit = MAX_QUOTED >> 20;
                    return Err(quote(format!(
                        "the quotation mark that opens here is not closed within {limit} MiB"
                    )));
                }
                if !self.read_line(bytes)? {
                    let expected = "close it, or double it if it is part of the text";
                    return Err(quote(format!(
                        "the quotation mark that opens here is never closed; {expected}"
                    )));
                }
                continue;
            };
            cell.extend_from_slice(&bytes[at..at + len]);
            at += len + 1;
            if bytes.get(at) != Some(&b'"') {
                break;
            }
            cell.push(b'"');
            at += 1;
        }
        match content(bytes).get(at) {
            None => Ok((cell, None)),
            Some(&found) if found == self.delimiter => Ok((cell, Some(at + 1))),
            Some(&found) => {
                let (delimiter, found) = (char::from(self.delimiter), found.escape_ascii());
                let closed = self.line;
                let problem = format!(
                    "the quotation mark that opens here is closed in line {closed} in front of `{found}`; expected \
                     `{delimiter}` or the end of the line (a mark inside of a text is doubled)"
                );
                Err(quote(problem))
            }
        }
    }
}

impl<R: BufRead> Iterator for Delimited<R> {
    type Item = Result<DelimitedRow, DelimitedError>;

    /// Returns the next row. There is none behind an error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let row = self.row();
        self.failed = row.is_err();
        row.transpose()
    }
}

/// Appends the next line with its `\n` to `bytes`, and returns the number of bytes read.
///
/// # Errors
/// The errors of the reader, and [`io::ErrorKind::InvalidData`] for a line of more than [`MAX_LINE`] bytes.
pub fn read_line(reader: &mut impl BufRead, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let read = reader.take(MAX_LINE as u64 + 1).read_until(b'\n', bytes)?;
    if read > MAX_LINE {
        let problem = format!("the line is longer than {} MiB, the limit", MAX_LINE >> 20);
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    Ok(read)
}

/// Returns a line without its end.
fn content(line: &[u8]) -> &[u8] {
    match line {
        [content @ .., b'\r', b'\n'] | [content @ .., b'\n'] => content,
        content => content,
    }
}

/// Returns the name of the encoding that a file's first bytes show, if it cannot be mistaken for UTF-8.
///
/// A byte order mark decides. Without one, text in UTF-16 is recognised because every second byte of its
/// beginning is zero.
pub fn foreign_encoding(start: &[u8]) -> Option<&'static str> {
    match start {
        [0xff, 0xfe, 0, 0, ..] => Some("UTF-32"),
        [0xff, 0xfe, ..] => Some("UTF-16 (little-endian)"),
        [0xfe, 0xff, ..] => Some("UTF-16 (big-endian)"),
        [1..=255, 0, 1..=255, 0, 1..=255, 0, ..] => Some("UTF-16 (little-endian)"),
        [0, 1..=255, 0, 1..=255, 0, 1..=255, ..] => Some("UTF-16 (big-endian)"),
        _ => None,
    }
}

/// Returns a message that says what to do about a file in a [`foreign_encoding`].
pub fn wrong_encoding(name: &str) -> String {
    let short = &name[..name.find(' ').unwrap_or(name.len())];
    format!("the text is {name}; expected UTF-8: save it as such, or run `iconv -f {short} -t UTF-8 FILE`")
}
