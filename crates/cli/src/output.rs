//! Writes results to standard output or to a file: as plain lines, as JSON lines or as a table.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::args::{Global, TableFormat};
use super::failure::Failure;
use super::input::Record;

type Writer = BufWriter<Box<dyn Write>>;

/// The format of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Lines for people.
    Human,
    /// One JSON value a line.
    Json,
    /// TSV or CSV with the columns of the input and the results.
    Table,
}

enum Sink {
    Human(Writer),
    Json { writer: Writer, keeps_input: bool },
    Table { table: Box<csv::Writer<Writer>>, cell: Cell },
}

/// The change that a cell needs before it is written.
type Cell = fn(&[u8]) -> Cow<'_, [u8]>;

/// Replaces the bytes that end a cell or a line by spaces. TSV has no quotation marks, so a cell cannot
/// contain them.
fn tsv_cell(cell: &[u8]) -> Cow<'_, [u8]> {
    const ENDS: &[u8] = b"\t\r\n";
    match cell.iter().any(|byte| ENDS.contains(byte)) {
        true => cell.iter().map(|byte| if ENDS.contains(byte) { b' ' } else { *byte }).collect(),
        false => Cow::Borrowed(cell),
    }
}

/// Buffered output.
pub(super) struct Output {
    sink: Sink,
    place: String,
    /// The names of the input's columns.
    header: Vec<String>,
    /// The number of columns of the results.
    results: usize,
}

impl Output {
    /// Returns an output that writes to standard output.
    pub(super) fn stdout(global: &Global) -> Self {
        let writer: Writer = BufWriter::new(Box::new(io::stdout().lock()));
        let sink = match global.json {
            true => Sink::Json { writer, keeps_input: false },
            false => Sink::Human(writer),
        };
        Self { sink, place: "stdout".to_owned(), header: Vec::new(), results: 0 }
    }

    /// Opens the file of `--output`, or standard output if that is not given. A table has the columns of
    /// `header`, then `results` and `error`. Tables are refused if `results` is absent.
    pub(super) fn open(
        path: Option<&Path>,
        global: &Global,
        header: &[String],
        results: &[&str],
    ) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self::stdout(global)) };
        let place = path.display().to_string();
        let (builder, cell): (_, Cell) = match TableFormat::of(path)? {
            TableFormat::JsonLines => (None, |cell| cell.into()),
            TableFormat::Tsv if !results.is_empty() => {
                let mut builder = csv::WriterBuilder::new();
                builder.delimiter(b'\t').quote_style(csv::QuoteStyle::Never);
                (Some(builder), tsv_cell)
            }
            TableFormat::Csv if !results.is_empty() => (Some(csv::WriterBuilder::new()), |cell| cell.into()),
            _ => {
                let tables = if results.is_empty() { "" } else { ", .tsv or .csv" };
                return Err(Failure::Usage(format!("{place}: this command writes .jsonl{tables} files")));
            }
        };
        let file = File::create(path).map_err(|source| Failure::Output { place: place.clone(), source })?;
        let writer: Writer = BufWriter::new(Box::new(file));
        let is_table = builder.is_some();
        let sink = match builder {
            None => Sink::Json { writer, keeps_input: true },
            Some(builder) => Sink::Table { table: Box::new(builder.from_writer(writer)), cell },
        };
        let mut output = Self { sink, place, header: header.to_vec(), results: results.len() };
        if !is_table {
            return Ok(output);
        }
        let names = header.iter().map(String::as_str).chain(results.iter().copied()).chain(["error"]);
        output.write_row(names.map(str::as_bytes))?;
        Ok(output)
    }

    /// Returns the format of the results.
    pub(super) fn format(&self) -> Format {
        match self.sink {
            Sink::Human(_) => Format::Human,
            Sink::Json { .. } => Format::Json,
            Sink::Table { .. } => Format::Table,
        }
    }

    /// Writes a value as a line of JSON.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        self.write(|w| {
            serde_json::to_writer(&mut *w, value)?;
            w.write_all(b"\n")
        })
    }

    /// Writes the result of a record as a line of JSON. In a file, the fields of the input come first, and a
    /// result that is not an object becomes the field `name`.
    pub(super) fn result(
        &mut self,
        record: &Record,
        name: &str,
        value: &impl Serialize,
    ) -> Result<(), Failure> {
        if !matches!(self.sink, Sink::Json { keeps_input: true, .. }) {
            return self.json(value);
        }
        let place = self.place.clone();
        let failed = |e: serde_json::Error| Failure::Output { place: place.clone(), source: e.into() };
        let mut result = serde_json::to_string(value).map_err(&failed)?;
        if !result.starts_with('{') {
            result = format!("{{{}:{result}}}", Value::from(name));
        }
        let taken: Map<String, Value> = serde_json::from_str(&result).map_err(&failed)?;
        let mut fields = match &record.object {
            Some(object) => object.clone(),
            None => {
                let text = |cell: &Vec<u8>| Value::from(String::from_utf8_lossy(cell).into_owned());
                self.header.iter().cloned().zip(record.cells.iter().map(text)).collect()
            }
        };
        fields = fields.into_iter().map(|(name, value)| (free_name(name, &taken), value)).collect();
        let mut line = serde_json::to_string(&fields).map_err(&failed)?;
        if !fields.is_empty() && result != "{}" {
            // The result is written as text, so that its numbers stay as short as they were.
            line.truncate(line.len() - 1);
            line.push(',');
            line.push_str(&result[1..]);
        } else if fields.is_empty() {
            line = result;
        }
        self.write(|w| {
            w.write_all(line.as_bytes())?;
            w.write_all(b"\n")
        })
    }

    /// Writes a line for people.
    pub(super) fn line(&mut self, line: std::fmt::Arguments<'_>) -> Result<(), Failure> {
        self.write(|w| {
            w.write_fmt(line)?;
            w.write_all(b"\n")
        })
    }

    /// Writes a row of a table: the cells of the input, and as many results as the header has.
    pub(super) fn row(&mut self, record: &Record, results: &[String]) -> Result<(), Failure> {
        let results = results.iter().map(String::as_bytes).chain([&b""[..]]);
        let width = self.header.len();
        self.write_row(repeated(record, width).chain(results))
    }

    /// Writes the failure of a record in place of its result. In JSON it also has the `code` of the library.
    pub(super) fn error(&mut self, record: &Record, problem: &str, code: &str) -> Result<(), Failure> {
        let message = format!("{}: {problem}", record.place);
        match self.format() {
            Format::Human => self.line(format_args!("error: {}", plain(&message))),
            Format::Json => self.result(record, "error", &json!({ "error": message, "code": code })),
            Format::Table => {
                let (width, results) = (self.header.len(), self.results);
                let results = std::iter::repeat_n(&b""[..], results).chain([message.as_bytes()]);
                self.write_row(repeated(record, width).chain(results))
            }
        }
    }

    /// Flushes everything that has been written so far.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        let flushed = match &mut self.sink {
            Sink::Human(writer) | Sink::Json { writer, .. } => writer.flush(),
            Sink::Table { table, .. } => table.flush(),
        };
        flushed.map_err(|source| Failure::Output { place: self.place.clone(), source })
    }

    fn write(&mut self, write: impl FnOnce(&mut Writer) -> io::Result<()>) -> Result<(), Failure> {
        let written = match &mut self.sink {
            Sink::Human(writer) | Sink::Json { writer, .. } => write(writer),
            Sink::Table { .. } => Ok(()),
        };
        written.map_err(|source| Failure::Output { place: self.place.clone(), source })
    }

    fn write_row<'r>(&mut self, cells: impl Iterator<Item = &'r [u8]>) -> Result<(), Failure> {
        let Sink::Table { table, cell } = &mut self.sink else { return Ok(()) };
        let written = table.write_record(cells.map(*cell));
        written.map_err(|e| Failure::Output { place: self.place.clone(), source: e.into() })
    }
}

/// Returns a name for a field of the input that is not taken by the result.
fn free_name(name: String, taken: &Map<String, Value>) -> String {
    let mut free = name;
    while taken.contains_key(&free) {
        free.insert_str(0, "input_");
    }
    free
}

/// Returns a text for a line that people read. Control characters, which could end the line, are escaped as
/// in Rust.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c.is_control() {
            true => escaped.extend(c.escape_default()),
            false => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// Returns the cells of the input's row, cut or filled with empty cells to the width of the header.
fn repeated(record: &Record, width: usize) -> impl Iterator<Item = &[u8]> {
    record.cells.iter().map(Vec::as_slice).chain(std::iter::repeat(&b""[..])).take(width)
}
