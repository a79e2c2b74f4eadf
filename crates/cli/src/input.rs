//! Reads the input of a command: one text, the lines of standard input, or the rows of a batch file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::thread;

use mobilebert_tools::dataset::{foreign_encoding, wrong_encoding};
use serde_json::{Map, Value};

use super::args::{AtOnce, Batch, TableFormat, Texts};
use super::failure::Failure;
use super::table::{self, Column, Layout};

/// The name of standard input in error messages.
const STDIN: &str = "stdin";
/// The argument that stands for standard input.
const DASH: &str = "-";
/// The number of records that are read ahead of the model.
const READ_AHEAD: usize = 64;

/// A unit of work, such as a line or a row of the input.
#[derive(Debug)]
pub(super) struct Record {
    /// The number of the record, counted from 0.
    pub(super) index: usize,
    /// The file and line, for messages.
    pub(super) place: String,
    /// The number of bytes of the file up to the end of the record.
    pub(super) end: u64,
    /// The cells of the record's row as they are in the file, for output tables that repeat them.
    pub(super) cells: Vec<Vec<u8>>,
    /// The whole object, if the record is a line of JSON.
    pub(super) object: Option<Map<String, Value>>,
    /// The texts that the command asked for, or the reason why they could not be read.
    pub(super) fields: Result<Vec<String>, String>,
}

/// The records of an input, in order. They are read ahead of the model by a separate thread.
pub(super) struct Records {
    source: Source,
    /// The names of the columns in [`Record::cells`].
    pub(super) header: Vec<String>,
    /// The size of the batch file, if there is one.
    pub(super) length: Option<u64>,
    /// True if the records come from a batch file.
    pub(super) is_file: bool,
    /// The number of records to run at once, if it is not the command's usual number.
    pub(super) batch: Option<usize>,
    /// The error that ended reading. It is reported after the records that come before it.
    failure: Option<Failure>,
}

enum Source {
    /// The one text of the user. If it fails, the command fails.
    Single(Option<Record>),
    List(std::vec::IntoIter<Record>),
    Stream(Box<dyn Iterator<Item = Result<Record, Failure>>>),
}

impl Records {
    /// Makes one record of the texts.
    pub(super) fn single(fields: Vec<String>) -> Self {
        let cells = fields.iter().map(|field| field.clone().into_bytes()).collect();
        let record =
            Record { index: 0, place: String::new(), end: 0, cells, object: None, fields: Ok(fields) };
        Self::new(Source::Single(Some(record)))
    }

    /// Makes an input of records that are all known.
    pub(super) fn list(records: Vec<Record>) -> Self {
        Self::new(Source::List(records.into_iter()))
    }

    /// Reads the texts that the flags name. `pair` is the second text of each record, and `pair_column` is
    /// the column of a batch file that holds it.
    pub(super) fn of_texts(
        texts: &Texts,
        pair: Option<&str>,
        pair_column: Option<&str>,
    ) -> Result<Self, Failure> {
        const TEXT: Column<'static> = Column { flag: "--text-column", name: "text", wanted: None };
        const PAIR: Column<'static> = Column { flag: "--pair-column", name: "pair", wanted: None };
        if let Some(path) = &texts.input {
            let mut columns = vec![Column { wanted: texts.text_column.as_deref(), ..TEXT }];
            columns.extend(pair_column.map(|name| Column { wanted: Some(name), ..PAIR }));
            return Self::file(path, &columns, &texts.batch);
        }
        let pair = pair.map(str::to_owned);
        let mut records = match texts.text.as_deref() {
            Some(DASH) => {
                let lines = Lines::new(BufReader::new(io::stdin()), STDIN.to_owned());
                let records = Self::spawn(lines.records(pair.clone()));
                // A reader that waits at the other end of a pipe gets each answer at once.
                let batch = if stdin_is_file() { None } else { Some(1) };
                Self { batch, ..records }
            }
            text => Self::single(text.map(str::to_owned).into_iter().chain(pair.clone()).collect()),
        };
        records.header = [TEXT.name].into_iter().chain(pair.map(|_| PAIR.name)).map(str::to_owned).collect();
        Ok(records)
    }

    /// Sets the size of a batch to the one that the user has chosen, if there is one.
    pub(super) fn at_once(self, chosen: &AtOnce) -> Self {
        Self { batch: chosen.batch_size.or(self.batch), ..self }
    }

    /// Reads the rows of a batch file, or of standard input if the path is `-`.
    pub(super) fn file(path: &Path, columns: &[Column<'_>], batch: &Batch) -> Result<Self, Failure> {
        let layout =
            Layout { format: batch.format, delimiter: batch.delimiter, has_header: !batch.no_header };
        if path.as_os_str() == DASH {
            let Some(format) = layout.format else {
                let problem =
                    "standard input has no extension: pass --format tsv, csv, jsonl or txt with --input -";
                return Err(Failure::Usage(problem.to_owned()));
            };
            let reader = BufReader::new(io::stdin());
            let (header, rows) = table::read(STDIN.to_owned(), format, reader, columns, layout)?;
            let batch = if stdin_is_file() { None } else { Some(1) };
            return Ok(Self { header, batch, ..Self::spawn(rows) });
        }
        if path.is_dir() {
            return Err(Failure::Usage(format!("--input {} is a folder; pass a file in it", path.display())));
        }
        let format = layout.format.map_or_else(|| TableFormat::of(path), Ok)?;
        let file = open(path)?;
        let metadata = file.metadata().map_err(|e| cannot_read(&path.display().to_string(), &e))?;
        let (header, rows) =
            table::read(path.display().to_string(), format, BufReader::new(file), columns, layout)?;
        let length = metadata.is_file().then_some(metadata.len());
        Ok(Self { header, length, is_file: true, ..Self::spawn(rows) })
    }

    /// Reads the lines of a file, or of standard input if the path is `-`.
    pub(super) fn lines(path: &Path) -> Result<Self, Failure> {
        Ok(Self::spawn(open_lines(path)?.records(None)))
    }

    fn new(source: Source) -> Self {
        Self { source, header: Vec::new(), length: None, is_file: false, batch: None, failure: None }
    }

    fn spawn(records: impl Iterator<Item = Result<Record, Failure>> + Send + 'static) -> Self {
        if cfg!(target_family = "wasm") {
            // Without threads, records are read when they are wanted.
            return Self::new(Source::Stream(Box::new(records)));
        }
        let (sender, receiver) = sync_channel(READ_AHEAD);
        // The thread ends with its input or with the receiver.
        thread::spawn(move || {
            for record in records {
                let is_last = record.is_err();
                if sender.send(record).is_err() || is_last {
                    break;
                }
            }
        });
        Self::new(Source::Stream(Box::new(receiver.into_iter())))
    }

    /// Returns true if the only record is the text of the command line.
    pub(super) fn is_single(&self) -> bool {
        matches!(self.source, Source::Single(_))
    }

    /// Returns the next records, at most `most` of them. The list is empty at the end.
    pub(super) fn next_batch(&mut self, most: usize) -> Result<Vec<Record>, Failure> {
        let stream = match &mut self.source {
            Source::Single(record) => return Ok(record.take().into_iter().collect()),
            Source::List(records) => return Ok(records.take(most).collect()),
            Source::Stream(stream) => stream,
        };
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let mut batch = Vec::new();
        while batch.len() < most {
            match stream.next() {
                Some(Ok(record)) => batch.push(record),
                Some(Err(failure)) if batch.is_empty() => return Err(failure),
                Some(Err(failure)) => {
                    self.failure = Some(failure);
                    break;
                }
                None => break,
            }
        }
        Ok(batch)
    }
}

/// The lines of a text. `\n` ends a line, and so does the end of the file. One `\r` in front of `\n` belongs
/// to the line end.
pub(super) struct Lines<R> {
    reader: R,
    place: String,
    number: usize,
    end: u64,
}

/// A line of a text.
pub(super) struct Line {
    pub(super) place: String,
    pub(super) bytes: Vec<u8>,
    pub(super) end: u64,
}

impl Line {
    /// Returns the line as text, or the place where it is not UTF-8.
    pub(super) fn text(self) -> Result<String, String> {
        String::from_utf8(self.bytes).map_err(|e| not_utf8(e.as_bytes(), e.utf8_error().valid_up_to()))
    }
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R, place: String) -> Self {
        Self { reader, place, number: 0, end: 0 }
    }

    /// Skips a byte order mark at the beginning.
    pub(super) fn skip_mark(&mut self) -> io::Result<()> {
        let skipped = skip_mark(&mut self.reader)?;
        self.end += skipped;
        Ok(())
    }

    /// Returns each line as a record that holds it and, if there is one, the second text.
    fn records(self, pair: Option<String>) -> impl Iterator<Item = Result<Record, Failure>> {
        self.enumerate().map(move |(index, line)| {
            let line = line?;
            let (place, end) = (line.place.clone(), line.end);
            let cells = [Some(line.bytes.clone()), pair.clone().map(String::into_bytes)];
            let fields = line.text().map(|text| [Some(text), pair.clone()].into_iter().flatten().collect());
            let cells = cells.into_iter().flatten().collect();
            Ok(Record { index, place, end, cells, object: None, fields })
        })
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Line, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut bytes = Vec::new();
        if self.number == 0
            && let Ok(start) = self.reader.fill_buf()
            && start.first().is_some_and(|&b| b >= 0xfe)
            && let Some(encoding) = foreign_encoding(start)
        {
            // In such a file, lines end with other bytes, so none of them can be read.
            return Some(Err(Failure::Input(format!(
                "{}, line 1: {}",
                self.place,
                wrong_encoding(encoding)
            ))));
        }
        match self.reader.read_until(b'\n', &mut bytes) {
            Ok(0) => return None,
            Ok(read) => self.end += read as u64,
            Err(e) => return Some(Err(cannot_read(&self.place, &e))),
        }
        self.number += 1;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        let place = format!("{}, line {}", self.place, self.number);
        Some(Ok(Line { place, bytes, end: self.end }))
    }
}

/// Skips a UTF-8 byte order mark and returns the number of bytes skipped.
pub(super) fn skip_mark(reader: &mut impl BufRead) -> io::Result<u64> {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    if !reader.fill_buf()?.starts_with(MARK) {
        return Ok(0);
    }
    reader.consume(MARK.len());
    Ok(MARK.len() as u64)
}

/// Reads the whole file, or all of standard input if the path is `-`.
pub(super) fn read_text(path: &Path) -> Result<String, Failure> {
    let place = place(path);
    let mut bytes = Vec::new();
    let read = match path.as_os_str() == DASH {
        true => io::stdin().read_to_end(&mut bytes),
        false => open(path)?.read_to_end(&mut bytes),
    };
    read.map_err(|e| cannot_read(&place, &e))?;
    if let Some(encoding) = foreign_encoding(&bytes) {
        return Err(Failure::Input(format!("{place}, line 1: {}", wrong_encoding(encoding))));
    }
    String::from_utf8(bytes).map_err(|e| {
        let bad = e.utf8_error().valid_up_to();
        let before = &e.as_bytes()[..bad];
        let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
        let start = before.iter().rposition(|&b| b == b'\n').map_or(0, |newline| newline + 1);
        let problem = not_utf8(&e.as_bytes()[start..], bad - start);
        Failure::Input(format!("{place}, line {line}: {problem}"))
    })
}

fn open_lines(path: &Path) -> Result<Lines<Box<dyn BufRead + Send>>, Failure> {
    let reader: Box<dyn BufRead + Send> = match path.as_os_str() == DASH {
        true => Box::new(BufReader::new(io::stdin())),
        false => Box::new(BufReader::new(open(path)?)),
    };
    Ok(Lines::new(reader, place(path)))
}

#[cfg(unix)]
fn stdin_is_file() -> bool {
    use std::os::fd::AsFd as _;
    let stdin = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    stdin.and_then(|file| file.metadata()).is_ok_and(|metadata| metadata.is_file())
}

#[cfg(not(unix))]
fn stdin_is_file() -> bool {
    false
}

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|e| cannot_read(&path.display().to_string(), &e))
}

fn place(path: &Path) -> String {
    if path.as_os_str() == DASH { STDIN.to_owned() } else { path.display().to_string() }
}

pub(super) fn cannot_read(place: &str, error: &io::Error) -> Failure {
    Failure::Input(format!("{place}: {error}"))
}

/// Describes the place where a line stops being UTF-8. `byte` is counted from 0 in the line.
pub(super) fn not_utf8(line: &[u8], byte: usize) -> String {
    let found = line.get(byte).map_or("the end".to_owned(), |b| format!("0x{b:02x}"));
    format!("byte {byte}: expected UTF-8; found {found}")
}
