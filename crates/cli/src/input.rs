//! Reads the input of a command: one text, the lines of standard input, the rows of a batch file, or the
//! texts of a folder.

use std::io::{self, BufRead};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use mobilebert_tools::dataset::{foreign_encoding, read_line, wrong_encoding};
use serde_json::value::RawValue;

use super::ahead;
use super::args::{AtOnce, Batch, TableFormat, Texts};
use super::failure::Failure;
use super::reader::{self, DASH, Folder, cannot_read, not_utf8, place_of, stdin_is_file};
use super::table::{self, Column, Layout};

/// The most bytes of records in a batch, unless one record alone has more.
const BATCH_BYTES: usize = 8 << 20;

/// The fields of a line of JSON, in order, with their values as they are written.
pub(super) type Object = Vec<(String, Box<RawValue>)>;

/// A unit of work, such as a line or a row of the input.
#[derive(Debug)]
pub(super) struct Record {
    /// The number of the record, counted from 0.
    pub(super) index: usize,
    /// The file and line, for messages.
    pub(super) place: String,
    /// The line, counted from 1, if the record is one.
    pub(super) line: Option<usize>,
    /// The name of the record's file, if it comes from a folder.
    pub(super) file: Option<String>,
    /// The number of bytes of the file up to the end of the record.
    pub(super) end: u64,
    /// The cells of the record's row as they are in the file, for output tables that repeat them.
    pub(super) cells: Vec<Vec<u8>>,
    /// The whole object, if the record is a line of JSON.
    pub(super) object: Option<Object>,
    /// The texts that the command asked for, or the reason why they could not be read.
    pub(super) fields: Result<Vec<String>, String>,
}

impl Record {
    /// Returns the number of bytes of the texts and cells, and of the object.
    pub(super) fn bytes(&self) -> usize {
        let fields = self.fields.iter().flatten().map(String::len);
        let object = self.object.iter().flatten().map(|(name, value)| name.len() + value.get().len());
        fields.chain(self.cells.iter().map(Vec::len)).chain(object).sum()
    }
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
    /// What the user should know about the input although nothing failed.
    pub(super) note: Option<String>,
    /// Set by somebody who wants no more records. Waiting for a record ends then.
    pub(super) stop: Arc<AtomicBool>,
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
        let record = Record {
            index: 0,
            place: String::new(),
            line: None,
            file: None,
            end: 0,
            cells,
            object: None,
            fields: Ok(fields),
        };
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
        if let Some(path) = texts.input.as_deref().filter(|path| path.is_dir()) {
            let (batch, text_column) = (&texts.batch, texts.text_column.is_some());
            for (flag, given) in [
                ("--format", batch.format.is_some()),
                ("--delimiter", batch.delimiter.is_some()),
                ("--no-header", batch.no_header),
                ("--text-column", text_column),
                ("--pair-column", pair_column.is_some()),
            ] {
                if given {
                    let problem = format!(
                        "{flag} goes with a file, and --input {} is a folder: each file in it is one text",
                        path.display()
                    );
                    return Err(Failure::Usage(problem));
                }
            }
            return Self::folder(path);
        }
        if let Some(path) = &texts.input {
            let mut columns = vec![Column { wanted: texts.text_column.as_deref(), ..TEXT }];
            columns.extend(pair_column.map(|name| Column { wanted: Some(name), ..PAIR }));
            return Self::file(path, &columns, &texts.batch);
        }
        let pair = pair.map(str::to_owned);
        let mut records = match texts.text.as_deref() {
            Some(DASH) => {
                let records = Self::spawn(open_lines(Path::new(DASH))?.records(pair.clone()));
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
            let (header, rows) = table::read(reader::open(path)?, format, columns, layout)?;
            let batch = if stdin_is_file() { None } else { Some(1) };
            return Ok(Self { header, batch, ..Self::spawn(rows) });
        }
        let opened = reader::open(path)?;
        let format = layout.format.map_or_else(|| TableFormat::of_input(path), Ok)?;
        let length = opened.length;
        let (header, rows) = table::read(opened, format, columns, layout)?;
        Ok(Self { header, length, is_file: true, ..Self::spawn(rows) })
    }

    /// Reads the texts of a folder, sorted by name. The cell of each record is the name of its file.
    pub(super) fn folder(path: &Path) -> Result<Self, Failure> {
        Self::folder_with(path, |record| [record])
    }

    /// Does what [`Records::folder`] does, but makes any number of records of each text.
    pub(super) fn folder_with<I>(
        path: &Path,
        make: impl Fn(Record) -> I + Send + 'static,
    ) -> Result<Self, Failure>
    where
        I: IntoIterator<Item = Record> + 'static,
        I::IntoIter: Send + 'static,
    {
        let Folder { files, folders, others } = reader::folder(path)?;
        let length = files.iter().map(|(_, size)| size).sum();
        let mut end = 0;
        let texts = files.into_iter().enumerate().map(move |(index, (path, size))| {
            end += size;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let place = path.display().to_string();
            let (line, fields) = match reader::read_file(&path) {
                Ok(text) => (None, Ok(vec![text])),
                Err((line, problem)) => (line, Err(problem)),
            };
            let cells = vec![name.clone().into_bytes()];
            Record {
                index,
                place: place_of(&place, line),
                line,
                file: Some(name),
                end,
                cells,
                object: None,
                fields,
            }
        });
        let records = Self::spawn(texts.flat_map(make).map(Ok));
        let notes = [
            (others, "not read, because they are no texts by their names"),
            (folders, "not read, because they are folders"),
        ];
        let notes = notes.into_iter().filter(|(names, _)| !names.is_empty());
        let notes: Vec<String> = notes.map(|(names, why)| format!("{why}: {}", listed(&names))).collect();
        let note = (!notes.is_empty()).then(|| format!("{}: {}", path.display(), notes.join("; ")));
        Ok(Self { header: vec!["file".to_owned()], length: Some(length), is_file: true, note, ..records })
    }

    /// Reads the lines of a file, or of standard input if the path is `-`.
    pub(super) fn lines(path: &Path) -> Result<Self, Failure> {
        Ok(Self::spawn(open_lines(path)?.records(None)))
    }

    fn new(source: Source) -> Self {
        Self {
            source,
            header: Vec::new(),
            length: None,
            is_file: false,
            batch: None,
            note: None,
            stop: Arc::default(),
            failure: None,
        }
    }

    fn spawn(records: impl Iterator<Item = Result<Record, Failure>> + Send + 'static) -> Self {
        if cfg!(target_family = "wasm") {
            // Without threads, records are read when they are wanted.
            return Self::new(Source::Stream(Box::new(records)));
        }
        let stop = Arc::default();
        let stream = ahead::read_ahead(records, Arc::clone(&stop));
        Self { stop, ..Self::new(Source::Stream(stream)) }
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
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < most && bytes < BATCH_BYTES {
            match stream.next() {
                Some(Ok(record)) => {
                    bytes += record.bytes();
                    batch.push(record);
                }
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

/// Lists the first of several names, and the number of the others.
fn listed(names: &[String]) -> String {
    const LISTED: usize = 5;
    let more = names.len().saturating_sub(LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names[..names.len().min(LISTED)].join(", "))
}

/// The lines of a text. `\n` ends a line, and so does the end of the file. One `\r` in front of `\n` belongs
/// to the line end.
pub(super) struct Lines<R> {
    reader: R,
    place: String,
    number: usize,
    end: u64,
    /// What has been read and not been returned yet.
    start: Vec<u8>,
    started: bool,
    /// True if zeros show that the text is UTF-16. In the lines of standard input, they are text.
    is_file: bool,
    /// True if a byte order mark at the beginning is no part of the first line.
    skips_mark: bool,
}

/// A line of a text.
pub(super) struct Line {
    pub(super) place: String,
    pub(super) number: usize,
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
    /// Makes the lines of standard input, or of a file that is read as standard input is.
    pub(super) fn new(reader: R, place: String) -> Self {
        let (number, end, start) = (0, 0, Vec::new());
        Self { reader, place, number, end, start, started: false, is_file: false, skips_mark: false }
    }

    /// Makes the lines of a batch file. `skips_mark` is true if a byte order mark at the beginning is no part
    /// of the first line.
    pub(super) fn of_file(reader: R, place: String, skips_mark: bool) -> Self {
        Self { is_file: true, skips_mark, ..Self::new(reader, place) }
    }

    /// Reads the first line, and refuses a text in a foreign encoding. Without this call, the first line is
    /// read when it is wanted.
    pub(super) fn begin(&mut self) -> Result<(), Failure> {
        if std::mem::replace(&mut self.started, true) {
            return Ok(());
        }
        let start = read_start(&mut self.reader).map_err(|e| cannot_read_line(&self.place, 0, &e))?;
        if (self.is_file || start.first().is_some_and(|&byte| byte >= 0xfe))
            && let Some(encoding) = foreign_encoding(&start)
        {
            // In such a file, lines end with other bytes, so none of them can be read.
            return Err(Failure::Input(format!("{}, line 1: {}", self.place, wrong_encoding(encoding))));
        }
        self.start = start;
        if self.skips_mark {
            self.end += skip_mark(&mut self.start);
        }
        Ok(())
    }

    /// Returns the bytes of the next line with its end. There are none at the end of the text.
    fn read(&mut self) -> Result<Vec<u8>, Failure> {
        self.begin()?;
        let mut bytes = std::mem::take(&mut self.start);
        match bytes.iter().position(|&byte| byte == b'\n') {
            Some(end) => self.start = bytes.split_off(end + 1),
            None => {
                let read = read_line(&mut self.reader, &mut bytes);
                read.map_err(|e| cannot_read_line(&self.place, self.number, &e))?;
            }
        }
        self.end += bytes.len() as u64;
        Ok(bytes)
    }

    /// Returns each line as a record that holds it and, if there is one, the second text.
    pub(super) fn records(self, pair: Option<String>) -> impl Iterator<Item = Result<Record, Failure>> {
        self.enumerate().map(move |(index, line)| {
            let line = line?;
            let (place, number, end) = (line.place.clone(), Some(line.number), line.end);
            let cells = [Some(line.bytes.clone()), pair.clone().map(String::into_bytes)];
            let fields = line.text().map(|text| [Some(text), pair.clone()].into_iter().flatten().collect());
            let cells = cells.into_iter().flatten().collect();
            Ok(Record { index, place, line: number, file: None, end, cells, object: None, fields })
        })
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Line, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut bytes = match self.read() {
            Ok(bytes) if bytes.is_empty() => return None,
            Ok(bytes) => bytes,
            Err(failure) => return Some(Err(failure)),
        };
        self.number += 1;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        let place = format!("{}, line {}", self.place, self.number);
        Some(Ok(Line { place, number: self.number, bytes, end: self.end }))
    }
}

/// Reads the first line with its end, and those behind it that are needed to tell its encoding. Whole lines
/// are read, because the bytes of a pipe come in pieces of any size.
pub(super) fn read_start(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    /// The most bytes that an encoding is told by.
    const TELLING: usize = 6;
    let mut start = Vec::new();
    while read_line(reader, &mut start)? > 0 && start.len() < TELLING && start.contains(&0) {}
    Ok(start)
}

/// Removes a UTF-8 byte order mark from the start of a text and returns the number of bytes removed.
pub(super) fn skip_mark(start: &mut Vec<u8>) -> u64 {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    if !start.starts_with(MARK) {
        return 0;
    }
    start.drain(..MARK.len());
    MARK.len() as u64
}

/// Makes the error for a line that cannot be read, behind `lines` lines that could.
pub(super) fn cannot_read_line(place: &str, lines: usize, error: &io::Error) -> Failure {
    let line = (error.kind() == io::ErrorKind::InvalidData).then_some(lines + 1);
    cannot_read(&place_of(place, line), error)
}

fn open_lines(path: &Path) -> Result<Lines<Box<dyn BufRead + Send>>, Failure> {
    let opened = reader::open(path)?;
    Ok(Lines::new(opened.reader, opened.place))
}
