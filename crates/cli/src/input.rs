//! The input of a command: one text, the lines of standard input, or the rows of a batch file.

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

/// What error messages call standard input.
const STDIN: &str = "stdin";
/// The argument that stands for standard input.
const DASH: &str = "-";
/// Records read ahead of the model.
const READ_AHEAD: usize = 64;

/// One unit of work.
#[derive(Debug)]
pub(super) struct Record {
    /// Counted from 0.
    pub(super) index: usize,
    /// File and line, for messages.
    pub(super) place: String,
    /// The number of bytes of the file up to the end of the record.
    pub(super) end: u64,
    /// The cells of its row, as they are in the file, for output tables that repeat them.
    pub(super) cells: Vec<Vec<u8>>,
    /// The whole object, if the record is a line of JSON.
    pub(super) object: Option<Map<String, Value>>,
    /// The texts that the command asked for, or what is wrong with them.
    pub(super) fields: Result<Vec<String>, String>,
}

/// The records of an input, in order. A thread of its own reads them ahead of the model.
pub(super) struct Records {
    source: Source,
    /// Names of [`Record::cells`].
    pub(super) header: Vec<String>,
    /// Size of the batch file, if it has one.
    pub(super) length: Option<u64>,
    /// Whether they come from a batch file.
    pub(super) is_file: bool,
    /// Records to run at once, if not the command's usual number.
    pub(super) batch: Option<usize>,
    /// The error that ended reading. It is reported after the records in front of it.
    failure: Option<Failure>,
}

enum Source {
    /// The user's one text: its failure is the command's.
    Single(Option<Record>),
    List(std::vec::IntoIter<Record>),
    Stream(Box<dyn Iterator<Item = Result<Record, Failure>>>),
}

impl Records {
    /// The texts of one record.
    pub(super) fn single(fields: Vec<String>) -> Self {
        let cells = fields.iter().map(|field| field.clone().into_bytes()).collect();
        let record =
            Record { index: 0, place: String::new(), end: 0, cells, object: None, fields: Ok(fields) };
        Self::new(Source::Single(Some(record)))
    }

    /// Records that are all known.
    pub(super) fn list(records: Vec<Record>) -> Self {
        Self::new(Source::List(records.into_iter()))
    }

    /// The texts that the flags name. `pair` is the second text of each record; `pair_column` is the column
    /// of a batch file that has it.
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
                // Whoever waits at the other end of a pipe has each answer at once.
                let batch = if stdin_is_file() { None } else { Some(1) };
                Self { batch, ..records }
            }
            text => Self::single(text.map(str::to_owned).into_iter().chain(pair.clone()).collect()),
        };
        records.header = [TEXT.name].into_iter().chain(pair.map(|_| PAIR.name)).map(str::to_owned).collect();
        Ok(records)
    }

    /// Sets the size of a batch to the one that the user has chosen, if any.
    pub(super) fn at_once(self, chosen: &AtOnce) -> Self {
        Self { batch: chosen.batch_size.or(self.batch), ..self }
    }

    /// The rows of a batch file, or of standard input if it is `-`.
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

    /// The lines of a file, or of standard input if it is `-`.
    pub(super) fn lines(path: &Path) -> Result<Self, Failure> {
        Ok(Self::spawn(open_lines(path)?.records(None)))
    }

    fn new(source: Source) -> Self {
        Self { source, header: Vec::new(), length: None, is_file: false, batch: None, failure: None }
    }

    fn spawn(records: impl Iterator<Item = Result<Record, Failure>> + Send + 'static) -> Self {
        if cfg!(target_family = "wasm") {
            // No threads: records are read when they are wanted.
            return Self::new(Source::Stream(Box::new(records)));
        }
        let (sender, receiver) = sync_channel(READ_AHEAD);
        // It ends with its input, or with the receiver.
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

    /// Whether there is just the one text of the command line.
    pub(super) fn is_single(&self) -> bool {
        matches!(self.source, Source::Single(_))
    }

    /// The next records, at most `most` of them, and an empty list at the end.
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

/// Lines of text. `\n` ends a line, and so does the end of the file; one `\r` in front of `\n` belongs to the
/// line end.
pub(super) struct Lines<R> {
    reader: R,
    place: String,
    number: usize,
    end: u64,
}

/// One of them.
pub(super) struct Line {
    pub(super) place: String,
    pub(super) bytes: Vec<u8>,
    pub(super) end: u64,
}

impl Line {
    /// The line as text, or where it is not UTF-8.
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

    /// Each line as a record with the one text it is, and the second one if there is one.
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
            // The lines of such a file end elsewhere, so none of them can be read.
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

/// Skips a UTF-8 byte order mark, and returns the number of bytes skipped.
pub(super) fn skip_mark(reader: &mut impl BufRead) -> io::Result<u64> {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    if !reader.fill_buf()?.starts_with(MARK) {
        return Ok(0);
    }
    reader.consume(MARK.len());
    Ok(MARK.len() as u64)
}

/// All of a file, or of standard input if it is `-`.
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

/// Says where a line stops being UTF-8. `byte` counts from 0 in the line.
pub(super) fn not_utf8(line: &[u8], byte: usize) -> String {
    let found = line.get(byte).map_or("the end".to_owned(), |b| format!("0x{b:02x}"));
    format!("byte {byte}: expected UTF-8; found {found}")
}
