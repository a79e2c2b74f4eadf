//! A reader of TSV, CSV and JSON lines as rows of cells.

use std::path::Path;

use serde_json::{Map, Value};

use super::delimited::{Delimited, DelimitedError};
use super::source::Source;
use mobilebert::files::json;
use mobilebert::{ErrorKind, Result};

/// A table in memory.
pub(super) struct Table {
    pub(super) source: Source,
    /// The names of the columns.
    pub(super) header: Vec<String>,
    pub(super) rows: Vec<Row>,
}

pub(super) struct Row {
    /// The line in the file, counted from 1.
    pub(super) line: usize,
    /// The cells, as many as the header has; `None` for a field that a JSON object lacks.
    cells: Vec<Option<String>>,
}

#[derive(Clone, Copy)]
enum Format {
    Tsv,
    Csv,
    JsonLines,
}

impl Format {
    fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref() {
            Some("tsv") => Ok(Format::Tsv),
            Some("csv") => Ok(Format::Csv),
            Some("jsonl" | "ndjson") => Ok(Format::JsonLines),
            _ => Err(ErrorKind::Input {
                place: path.display().to_string(),
                problem: "expected the extension .tsv, .csv or .jsonl".to_owned(),
            }
            .into()),
        }
    }
}

impl Table {
    /// Reads a table in the format of its extension. In TSV, quotation marks are text; CSV is quoted as in
    /// RFC 4180. `headerless` gets the cells of the first row, and returns the names of the columns if that
    /// row is data and not a header.
    pub(super) fn open(
        path: &Path,
        headerless: impl Fn(&[&str]) -> Option<&'static [&'static str]>,
    ) -> Result<Self> {
        let format = Format::of(path)?;
        let source = Source::open(path)?;
        if let Format::JsonLines = format {
            return Self::of_objects(source);
        }
        let mut rows = match format {
            Format::Csv => csv_rows(&source)?,
            _ => tsv_rows(&source),
        }
        .into_iter();
        let Some((line, first)) = rows.next() else { return Err(source.error(1, "the file has no rows")) };
        let names: Vec<&str> = first.iter().map(String::as_str).collect();
        let (header, data) = match headerless(&names) {
            Some(columns) => (columns.iter().map(|&name| name.to_owned()).collect(), Some((line, first))),
            None => (first.iter().map(|name| name.trim().to_owned()).collect::<Vec<_>>(), None),
        };
        let width = header.len();
        let rows = data.into_iter().chain(rows).map(|(line, cells)| {
            if cells.len() != width {
                let found = format!("has {} columns; expected {width}, as in the first line", cells.len());
                return Err(source.error(line, found));
            }
            Ok(Row { line, cells: cells.into_iter().map(Some).collect() })
        });
        let rows = rows.collect::<Result<Vec<_>>>()?;
        Self { source, header, rows }.with_rows()
    }

    fn of_objects(source: Source) -> Result<Self> {
        let mut header: Vec<String> = Vec::new();
        let mut rows = Vec::new();
        for (line, text) in source.lines().filter(|(_, text)| !text.trim().is_empty()) {
            let mut object: Map<String, Value> = json::from_slice(text.as_bytes()).map_err(|e| {
                source.error(line, format!("expected a JSON object: {}", json::problem_in_line(&e)))
            })?;
            if rows.is_empty() {
                header = object.keys().cloned().collect();
            }
            let cell = |value: Value| match value {
                Value::Null => None,
                Value::String(text) => Some(text),
                other => Some(other.to_string()),
            };
            let cells = header.iter().map(|name| object.remove(name).and_then(cell)).collect();
            rows.push(Row { line, cells });
        }
        Self { source, header, rows }.with_rows()
    }

    fn with_rows(self) -> Result<Self> {
        if self.rows.is_empty() {
            return Err(self.source.error(1, "there are no rows below the header"));
        }
        Ok(self)
    }

    /// Returns the column with the first of these names that the table has, or an error if it has two with that
    /// name.
    pub(super) fn find(&self, names: &[&str]) -> Result<Option<usize>> {
        let found = names.iter().find_map(|name| self.header.iter().position(|column| column == name));
        let Some(column) = found else { return Ok(None) };
        let name = &self.header[column];
        if self.header[column + 1..].contains(name) {
            let problem = format!("there are two columns `{name}`; rename the one that is not meant");
            return Err(self.source.error(1, problem));
        }
        Ok(found)
    }

    /// Returns the column that [`Table::find`] finds, or an error that lists the columns.
    pub(super) fn column(&self, names: &[&str]) -> Result<usize> {
        self.find(names)?.ok_or_else(|| {
            let wanted = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ");
            self.source
                .error(1, format!("no column {wanted}; it has {}{}", self.header.join(", "), self.hint()))
        })
    }

    /// Returns a hint for a header of one column, which may be cut at another mark.
    fn hint(&self) -> String {
        let [name] = self.header.as_slice() else { return String::new() };
        let other =
            [(';', "`;`"), (',', "`,`"), ('\t', "tabs")].into_iter().find(|(mark, _)| name.contains(*mark));
        other.map_or(String::new(), |(_, mark)| {
            format!("; it seems to be cut at {mark}: .csv is cut at `,` and .tsv at tabs")
        })
    }

    /// Returns the text of a cell, or an error if it is missing or blank.
    pub(super) fn cell<'r>(&self, row: &'r Row, column: usize) -> Result<&'r str> {
        let name = &self.header[column];
        match row.cells[column].as_deref() {
            None => Err(self.source.error(row.line, format!("no field `{name}`"))),
            Some(text) if text.trim().is_empty() => {
                Err(self.source.error(row.line, format!("`{name}` is empty")))
            }
            Some(text) => Ok(text),
        }
    }
}

/// Splits lines at tabs. Blank lines are not rows.
fn tsv_rows(source: &Source) -> Vec<(usize, Vec<String>)> {
    let cut = |line: &str| line.split('\t').map(str::to_owned).collect();
    source.lines().filter(|(_, line)| !line.is_empty()).map(|(number, line)| (number, cut(line))).collect()
}

fn csv_rows(source: &Source) -> Result<Vec<(usize, Vec<String>)>> {
    let rows = Delimited::new(source.text.as_bytes(), b',').map(|row| match row {
        Ok(row) => {
            let text =
                |cell: Vec<u8>| String::from_utf8(cell).map_err(|e| source.error(row.line, e.to_string()));
            Ok((row.line, row.cells.into_iter().map(text).collect::<Result<_>>()?))
        }
        Err(DelimitedError::Quote { line, problem }) => Err(source.error(line, problem)),
        Err(error @ DelimitedError::Io(_)) => Err(source.error(1, error.to_string())),
    });
    rows.collect()
}
