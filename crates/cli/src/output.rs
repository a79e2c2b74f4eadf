//! Where results go: standard output or a file, for people, as JSON lines or as a table.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;
use serde_json::json;

use super::args::Global;
use super::failure::Failure;
use super::input::Record;
use super::table::TableFormat;

type Writer = BufWriter<Box<dyn Write>>;

/// How results look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// For people.
    Human,
    /// One JSON value a line.
    Json,
    /// TSV or CSV: the input's columns and the results.
    Table,
}

enum Sink {
    Human(Writer),
    Json(Writer),
    Table { table: Box<csv::Writer<Writer>>, cell: Cell },
}

/// What becomes of a cell before it is written.
type Cell = fn(&[u8]) -> Cow<'_, [u8]>;

/// TSV has no quotation marks, so the bytes that end a cell or a line cannot be in one: each becomes a space.
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
    /// Number of columns of the input and of the results.
    widths: (usize, usize),
}

impl Output {
    /// Standard output.
    pub(super) fn stdout(global: &Global) -> Self {
        let writer: Writer = BufWriter::new(Box::new(io::stdout().lock()));
        let sink = if global.json { Sink::Json(writer) } else { Sink::Human(writer) };
        Self { sink, place: "stdout".to_owned(), widths: (0, 0) }
    }

    /// The file of `--output`, or standard output without one. A table has the columns of `header`, then `results` and
    /// `error`; without `results` tables are refused.
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
        let Some(builder) = builder else {
            return Ok(Self { sink: Sink::Json(writer), place, widths: (0, 0) });
        };
        let table = Box::new(builder.from_writer(writer));
        let widths = (header.len(), results.len());
        let mut output = Self { sink: Sink::Table { table, cell }, place, widths };
        let names = header.iter().map(String::as_str).chain(results.iter().copied()).chain(["error"]);
        output.write_row(names.map(str::as_bytes))?;
        Ok(output)
    }

    /// How results are to look.
    pub(super) fn format(&self) -> Format {
        match self.sink {
            Sink::Human(_) => Format::Human,
            Sink::Json(_) => Format::Json,
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

    /// Writes a line for people.
    pub(super) fn line(&mut self, line: std::fmt::Arguments<'_>) -> Result<(), Failure> {
        self.write(|w| {
            w.write_fmt(line)?;
            w.write_all(b"\n")
        })
    }

    /// Writes a row of a table: the input's cells, and as many results as the header has.
    pub(super) fn row(&mut self, record: &Record, results: &[String]) -> Result<(), Failure> {
        let results = results.iter().map(String::as_bytes).chain([&b""[..]]);
        let width = self.widths.0;
        self.write_row(repeated(record, width).chain(results))
    }

    /// Writes the failure of one record in the place of its result. JSON has the library's `code` for it, too.
    pub(super) fn error(&mut self, record: &Record, problem: &str, code: &str) -> Result<(), Failure> {
        let message = format!("{}: {problem}", record.place);
        match self.format() {
            Format::Human => self.line(format_args!("error: {message}")),
            Format::Json => self.json(&json!({ "error": message, "code": code })),
            Format::Table => {
                let (width, results) = self.widths;
                let results = std::iter::repeat_n(&b""[..], results).chain([message.as_bytes()]);
                self.write_row(repeated(record, width).chain(results))
            }
        }
    }

    /// Hands everything written so far to the reader.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        let flushed = match &mut self.sink {
            Sink::Human(writer) | Sink::Json(writer) => writer.flush(),
            Sink::Table { table, .. } => table.flush(),
        };
        flushed.map_err(|source| Failure::Output { place: self.place.clone(), source })
    }

    fn write(&mut self, write: impl FnOnce(&mut Writer) -> io::Result<()>) -> Result<(), Failure> {
        let written = match &mut self.sink {
            Sink::Human(writer) | Sink::Json(writer) => write(writer),
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

/// The cells of the input's row, brought to the header's width.
fn repeated(record: &Record, width: usize) -> impl Iterator<Item = &[u8]> {
    record.cells.iter().map(Vec::as_slice).chain(std::iter::repeat(&b""[..])).take(width)
}
