//! Writes results to standard output or to a file: as plain lines, as JSON lines, as a table or as vectors.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};

use mobilebert_tools::vectors::{self, NpyFile, VectorFile, VectorRow, input_names};
use serde::Serialize;
use serde_json::{Value, json};

use super::args::{Global, OutputFormat};
use super::failure::{Failure, complain};
use super::input::Record;
use super::target::Target;

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

/// The results of a command, for outputs that have to know them in advance.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Results<'a> {
    /// The names of the columns of a table. There are none if the command writes no tables.
    pub(super) columns: &'a [&'a str],
    /// The names that fields of JSON lines can have. A line need not have all of them.
    pub(super) fields: &'static [&'static str],
    /// The number of numbers of a vector, if the command makes vectors.
    pub(super) dimensions: Option<usize>,
}

enum Sink {
    Human(Writer),
    Json { writer: Writer, keeps_input: bool },
    Table { table: Box<csv::Writer<Writer>>, cell: Cell },
    Vectors(Vectors),
}

/// A file of vectors.
struct Vectors {
    file: Box<dyn VectorFile>,
    /// True if the file has a place for texts and failures.
    has_texts: bool,
    rows: usize,
    /// What was cut, for a file that cannot say so itself.
    cut: Cut,
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
    /// The names that fields of results can have.
    fields: &'static [&'static str],
}

/// The fields of a line in place of a result.
const OF_FAILURES: [&str; 2] = ["error", "code"];

impl Output {
    /// Returns an output that writes to standard output.
    pub(super) fn stdout(global: &Global) -> Self {
        let writer: Writer = BufWriter::new(Box::new(io::stdout().lock()));
        let sink = match global.json {
            true => Sink::Json { writer, keeps_input: false },
            false => Sink::Human(writer),
        };
        Self { sink, place: "stdout".to_owned(), header: Vec::new(), results: 0, fields: &[] }
    }

    /// Opens the file of `--output`, or standard output if that is not given. A table has the columns of
    /// `header`, then those of `results` and `error`.
    pub(super) fn open(
        target: Target<'_>,
        global: &Global,
        header: &[String],
        results: Results<'_>,
    ) -> Result<Self, Failure> {
        let (header, fields) = (header.to_vec(), results.fields);
        let Some((path, format)) = target.file() else {
            return Ok(Self { header, fields, ..Self::stdout(global) });
        };
        let place = path.display().to_string();
        if let (OutputFormat::Npy | OutputFormat::Parquet, Some(dimensions)) = (format, results.dimensions) {
            let has_texts = format == OutputFormat::Parquet;
            let file = match has_texts {
                true => vectors::parquet(path, &header, dimensions)?,
                false => Box::new(NpyFile::create(path, dimensions)?),
            };
            let sink = Sink::Vectors(Vectors { file, has_texts, rows: 0, cut: Cut::default() });
            return Ok(Self { sink, place, header, results: 0, fields });
        }
        let (builder, cell): (_, Cell) = match format {
            OutputFormat::Tsv => {
                let mut builder = csv::WriterBuilder::new();
                builder.delimiter(b'\t').quote_style(csv::QuoteStyle::Never);
                (Some(builder), tsv_cell)
            }
            OutputFormat::Csv => (Some(csv::WriterBuilder::new()), |cell| cell.into()),
            _ => (None, |cell| cell.into()),
        };
        let file = File::create(path).map_err(|source| Failure::Output { place: place.clone(), source })?;
        let writer: Writer = BufWriter::new(Box::new(file));
        let is_table = builder.is_some();
        let sink = match builder {
            None => Sink::Json { writer, keeps_input: true },
            Some(builder) => Sink::Table { table: Box::new(builder.from_writer(writer)), cell },
        };
        let mut output = Self { sink, place, header, results: results.columns.len(), fields };
        if !is_table {
            return Ok(output);
        }
        let results: Vec<&str> = results.columns.iter().copied().chain(["error"]).collect();
        let header: Vec<&str> = output.header.iter().map(String::as_str).collect();
        let names = input_names(&header, |name| results.contains(&name));
        let names = names.iter().map(String::as_str).chain(results);
        output.write_row(names.map(str::as_bytes))?;
        Ok(output)
    }

    /// Returns the format of the results.
    pub(super) fn format(&self) -> Format {
        match self.sink {
            Sink::Human(_) => Format::Human,
            Sink::Json { .. } => Format::Json,
            Sink::Table { .. } | Sink::Vectors(_) => Format::Table,
        }
    }

    /// Returns true if something has to be removed from the disk unless the output is completed.
    pub(super) fn is_partial(&self) -> bool {
        matches!(self.sink, Sink::Vectors(_))
    }

    /// Writes the vector of a record, and returns `false` if this output is not a file of vectors.
    pub(super) fn vector(
        &mut self,
        record: &Record,
        vector: &[f32],
        truncated: bool,
    ) -> Result<bool, Failure> {
        let Sink::Vectors(vectors) = &mut self.sink else { return Ok(false) };
        vectors.push(record, self.header.len(), Some(vector), truncated, None)?;
        Ok(true)
    }

    /// Writes a value as a line of JSON.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        self.write(|w| {
            serde_json::to_writer(&mut *w, value)?;
            w.write_all(b"\n")
        })
    }

    /// Writes the result of a record as a line of JSON. In a file, and for the texts of a folder, the fields
    /// of the input come first, and a result that is not an object becomes the field `name`.
    pub(super) fn result(
        &mut self,
        record: &Record,
        name: &str,
        value: &impl Serialize,
    ) -> Result<(), Failure> {
        if record.file.is_none() && !matches!(self.sink, Sink::Json { keeps_input: true, .. }) {
            return self.json(value);
        }
        let place = self.place.clone();
        let failed = |e: serde_json::Error| Failure::Output { place: place.clone(), source: e.into() };
        let mut result = serde_json::to_string(value).map_err(&failed)?;
        if !result.starts_with('{') {
            result = format!("{{{}:{result}}}", Value::from(name));
        }
        // The same names on every line, whatever a line has: a field of the input must not pass for a result.
        let is_taken = |name: &str| self.fields.contains(&name) || OF_FAILURES.contains(&name);
        let (names, values): (Vec<&str>, Vec<Cow<'_, str>>) = match &record.object {
            Some(object) => object.iter().map(|(name, value)| (name.as_str(), value.get().into())).unzip(),
            None => {
                let text = |cell: &Vec<u8>| Value::from(String::from_utf8_lossy(cell)).to_string().into();
                self.header.iter().map(String::as_str).zip(record.cells.iter().map(text)).unzip()
            }
        };
        // Values and result are written as text, so that their numbers stay as they were.
        let mut line = "{".to_owned();
        for (name, value) in input_names(&names, is_taken).into_iter().zip(values) {
            line.push_str(&format!("{}:{value},", Value::from(name)));
        }
        match result.as_str() {
            "{}" if line.ends_with(',') => {
                line.pop();
                line.push('}');
            }
            result => line.push_str(&result[1..]),
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
        if let Sink::Vectors(vectors) = &mut self.sink {
            return vectors.push(record, self.header.len(), None, false, Some(&message));
        }
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
            Sink::Vectors(_) => Ok(()),
        };
        flushed.map_err(|source| Failure::Output { place: self.place.clone(), source })
    }

    fn write(&mut self, write: impl FnOnce(&mut Writer) -> io::Result<()>) -> Result<(), Failure> {
        let written = match &mut self.sink {
            Sink::Human(writer) | Sink::Json { writer, .. } => write(writer),
            Sink::Table { .. } | Sink::Vectors(_) => Ok(()),
        };
        written.map_err(|source| Failure::Output { place: self.place.clone(), source })
    }

    /// Completes the output, once all records have been written.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.flush()?;
        let Sink::Vectors(Vectors { file, has_texts, cut, .. }) = self.sink else { return Ok(()) };
        file.finish()?;
        if let (false, Some(cut)) = (has_texts, cut.describe()) {
            complain(format_args!("warning: {}: {cut}", self.place));
        }
        Ok(())
    }

    fn write_row<'r>(&mut self, cells: impl Iterator<Item = &'r [u8]>) -> Result<(), Failure> {
        let Sink::Table { table, cell } = &mut self.sink else { return Ok(()) };
        let written = table.write_record(cells.map(*cell));
        written.map_err(|e| Failure::Output { place: self.place.clone(), source: e.into() })
    }
}

impl Vectors {
    fn push(
        &mut self,
        record: &Record,
        width: usize,
        vector: Option<&[f32]>,
        truncated: bool,
        error: Option<&str>,
    ) -> Result<(), Failure> {
        match error {
            Some(error) if !self.has_texts => {
                complain(format_args!("{error}; row {} is NaN (counted from 0)", self.rows));
            }
            _ => {}
        }
        if truncated {
            self.cut.add(record);
        }
        self.rows += 1;
        let cells: Vec<Cow<'_, str>> = repeated(record, width).map(String::from_utf8_lossy).collect();
        let cells: Vec<&str> = cells.iter().map(|cell| &**cell).collect();
        Ok(self.file.push(VectorRow { cells: &cells, vector, truncated, error })?)
    }
}

/// The records whose texts were cut: their number and lines.
#[derive(Debug, Default)]
struct Cut {
    count: usize,
    /// First and last lines of runs of lines.
    runs: Vec<(usize, usize)>,
    /// The number of runs beyond those that are listed.
    more: usize,
    /// Names of files, for the texts of a folder.
    files: Vec<String>,
}

impl Cut {
    /// The most runs of lines, or names of files, that are listed.
    const LISTED: usize = 100;

    fn add(&mut self, record: &Record) {
        self.count += 1;
        if let Some(file) = &record.file {
            match self.files.len() < Self::LISTED {
                true => self.files.push(file.clone()),
                false => self.more += 1,
            }
        } else if let Some(line) = record.line {
            let listed = self.runs.len();
            match self.runs.last_mut() {
                Some((_, last)) if *last + 1 == line => *last = line,
                _ if listed < Self::LISTED => self.runs.push((line, line)),
                _ => self.more += 1,
            }
        }
    }

    fn describe(&self) -> Option<String> {
        let (runs, texts) = (self.runs.iter(), if self.count == 1 { "text was" } else { "texts were" });
        let run = |&(first, last): &(usize, usize)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        let places: Vec<String> =
            runs.map(run).chain(self.files.iter().map(|file| plain(file).into_owned())).collect();
        let kind = if self.files.is_empty() { "line " } else { "" };
        let places =
            if places.is_empty() { String::new() } else { format!(" ({kind}{})", places.join(", ")) };
        let more = match self.more {
            0 => String::new(),
            1 => " and 1 more place".to_owned(),
            more => format!(" and {more} more places"),
        };
        (self.count > 0).then(|| format!("the end of {} {texts} not read{places}{more}", self.count))
    }
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

/// Returns what people are shown of a text: the name of its file, or the text itself.
pub(super) fn shown<'a>(record: &'a Record, text: &'a str) -> Cow<'a, str> {
    plain(record.file.as_deref().unwrap_or(text))
}

/// Returns the cells of the input's row, cut or filled with empty cells to the width of the header.
fn repeated(record: &Record, width: usize) -> impl Iterator<Item = &[u8]> {
    record.cells.iter().map(Vec::as_slice).chain(std::iter::repeat(&b""[..])).take(width)
}

#[cfg(test)]
mod tests {
    use super::Cut;

    #[test]
    fn places_that_are_not_listed_are_counted() {
        let described =
            |more| Cut { count: 2, runs: vec![(3, 3)], more, files: Vec::new() }.describe().unwrap();
        assert_eq!(described(0), "the end of 2 texts were not read (line 3)");
        assert!(described(1).ends_with(" (line 3) and 1 more place"));
        assert!(described(2).ends_with(" (line 3) and 2 more places"));
    }
}
