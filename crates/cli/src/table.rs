//! Batch files: TSV, CSV, JSON lines, plain lines.

use std::io::BufRead;
use std::path::Path;

use serde_json::{Map, Value};

use super::failure::Failure;
use super::input::{Line, Lines, Record, cannot_read, not_utf8, skip_mark};

/// A column that a command reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column<'a> {
    /// The flag that chooses it, for messages.
    pub(super) flag: &'static str,
    /// Its name if the user does not choose.
    pub(super) name: &'static str,
    /// The user's choice: a name, or a number from 1.
    pub(super) wanted: Option<&'a str>,
}

/// How a table is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TableFormat {
    Tsv,
    Csv,
    JsonLines,
    Lines,
}

impl TableFormat {
    /// By the extension of the file.
    pub(super) fn of(path: &Path) -> Result<Self, Failure> {
        let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        match extension.as_deref() {
            Some("tsv") => Ok(TableFormat::Tsv),
            Some("csv") => Ok(TableFormat::Csv),
            Some("jsonl" | "ndjson") => Ok(TableFormat::JsonLines),
            Some("txt") => Ok(TableFormat::Lines),
            _ => {
                let expected = "expected the extension .tsv, .csv, .jsonl or .txt";
                Err(Failure::Usage(format!("{}: {expected}", path.display())))
            }
        }
    }
}

/// The records of a batch file.
pub(super) type Rows = Box<dyn Iterator<Item = Result<Record, Failure>> + Send>;

/// The names of the columns, and the rows.
pub(super) fn read(
    path: &Path,
    mut reader: impl BufRead + Send + 'static,
    columns: &[Column<'_>],
    has_header: bool,
) -> Result<(Vec<String>, Rows), Failure> {
    let place = path.display().to_string();
    match TableFormat::of(path)? {
        TableFormat::Tsv => {
            let mut lines = Lines::new(reader, place.clone());
            lines.skip_mark().map_err(|e| cannot_read(&place, &e))?;
            read_tsv(&place, lines, columns, has_header)
        }
        TableFormat::Csv => {
            let skipped = skip_mark(&mut reader).map_err(|e| cannot_read(&place, &e))?;
            read_csv(place, reader, skipped, columns, has_header)
        }
        TableFormat::JsonLines => {
            let mut lines = Lines::new(reader, place.clone());
            lines.skip_mark().map_err(|e| cannot_read(&place, &e))?;
            let names: Vec<String> = columns.iter().map(|c| c.wanted.unwrap_or(c.name).to_owned()).collect();
            let header = columns.iter().map(|c| c.name.to_owned()).collect();
            let rows = lines.enumerate().map(move |(index, line)| {
                let line = line?;
                let (place, end) = (line.place.clone(), line.end);
                let fields = object_fields(line, &names);
                let cells = fields.iter().flatten().map(|field| field.clone().into_bytes()).collect();
                Ok(Record { index, place, end, cells, fields })
            });
            Ok((header, Box::new(rows)))
        }
        TableFormat::Lines if columns.len() == 1 => {
            let rows = Lines::new(reader, place).enumerate().map(|(index, line)| {
                let line = line?;
                let (place, end, cells) = (line.place.clone(), line.end, vec![line.bytes.clone()]);
                Ok(Record { index, place, end, cells, fields: line.text().map(|text| vec![text]) })
            });
            Ok((vec![columns[0].name.to_owned()], Box::new(rows)))
        }
        TableFormat::Lines => {
            let names: Vec<&str> = columns.iter().map(|c| c.name).collect();
            let expected = format!("expected .tsv, .csv or .jsonl with the columns {}", names.join(", "));
            Err(Failure::Usage(format!("{place}: {expected}")))
        }
    }
}

/// Lines cut at tabs; quotation marks are text. A blank line is a row only where a row may be one empty cell.
fn read_tsv(
    place: &str,
    mut lines: Lines<impl BufRead + Send + 'static>,
    columns: &[Column<'_>],
    has_header: bool,
) -> Result<(Vec<String>, Rows), Failure> {
    let first = lines.next().transpose()?;
    let Some(first) = first else { return Ok((Vec::new(), Box::new(std::iter::empty()))) };
    let cut = |bytes: &[u8]| bytes.split(|&b| b == b'\t').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let header = header(cut(&first.bytes), has_header);
    let picked = pick(place, columns, &header, has_header)?;
    let width = header.len();
    let first = (!has_header).then_some(Ok(first));
    let rows = first.into_iter().chain(lines);
    let rows = rows.filter(move |line| width == 1 || line.as_ref().map_or(true, |l| !l.bytes.is_empty()));
    let rows = rows.enumerate().map(move |(index, line)| {
        let line = line?;
        let cells = cut(&line.bytes);
        let fields = cell_fields(&cells, &picked, width);
        Ok(Record { index, place: line.place, end: line.end, cells, fields })
    });
    Ok((header, Box::new(rows)))
}

fn read_csv(
    place: String,
    reader: impl BufRead + Send + 'static,
    skipped: u64,
    columns: &[Column<'_>],
    has_header: bool,
) -> Result<(Vec<String>, Rows), Failure> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(reader);
    let mut next = {
        let place = place.clone();
        move || {
            let mut row = csv::ByteRecord::new();
            match reader.read_byte_record(&mut row) {
                Ok(false) => None,
                Ok(true) => {
                    let line = row.position().map_or(0, csv::Position::line);
                    Some(Ok((line, skipped + reader.position().byte(), row)))
                }
                Err(e) => Some(Err(Failure::Input(format!("{place}: {e}")))),
            }
        }
    };
    let Some(first) = next().transpose()? else { return Ok((Vec::new(), Box::new(std::iter::empty()))) };
    let header = header(first.2.iter().map(<[u8]>::to_vec).collect(), has_header);
    let picked = pick(&place, columns, &header, has_header)?;
    let width = header.len();
    let first = (!has_header).then_some(Ok(first));
    let rows = first.into_iter().chain(std::iter::from_fn(next)).enumerate().map(move |(index, row)| {
        let (line, end, row) = row?;
        let cells: Vec<Vec<u8>> = row.iter().map(<[u8]>::to_vec).collect();
        let fields = cell_fields(&cells, &picked, width);
        Ok(Record { index, place: format!("{place}, line {line}"), end, cells, fields })
    });
    Ok((header, Box::new(rows)))
}

/// Names of the columns: what the first row says, or their numbers.
fn header(first: Vec<Vec<u8>>, has_header: bool) -> Vec<String> {
    let name = |(i, cell): (usize, Vec<u8>)| match has_header {
        true => String::from_utf8_lossy(&cell).into_owned(),
        false => (i + 1).to_string(),
    };
    first.into_iter().enumerate().map(name).collect()
}

/// Where in a row the columns are that a command reads.
fn pick(
    place: &str,
    columns: &[Column<'_>],
    header: &[String],
    has_header: bool,
) -> Result<Vec<usize>, Failure> {
    let find = |(i, column): (usize, &Column<'_>)| {
        let named = |name: &str| header.iter().position(|h| h == name);
        let numbered = |n: &str| n.parse().ok().filter(|n| (1..=header.len()).contains(n)).map(|n| n - 1);
        let found = match column.wanted {
            Some(wanted) => named(wanted).or_else(|| numbered(wanted)),
            None if !has_header => Some(i).filter(|&i| i < header.len()),
            None if columns.len() == 1 && header.len() == 1 => Some(0),
            None => named(column.name),
        };
        found.ok_or_else(|| {
            let wanted = column.wanted.unwrap_or(column.name);
            let hint =
                if column.flag.is_empty() { String::new() } else { format!("; choose with {}", column.flag) };
            Failure::Input(format!("{place}: no column `{wanted}`; it has {}{hint}", header.join(", ")))
        })
    };
    columns.iter().enumerate().map(find).collect()
}

fn cell_fields(cells: &[Vec<u8>], picked: &[usize], width: usize) -> Result<Vec<String>, String> {
    if cells.len() != width {
        return Err(format!("has {} columns; expected {width}, as in the first line", cells.len()));
    }
    let field = |&column: &usize| {
        let cell = &cells[column];
        let text = std::str::from_utf8(cell);
        let problem =
            |e: std::str::Utf8Error| format!("column {}, {}", column + 1, not_utf8(cell, e.valid_up_to()));
        text.map(str::to_owned).map_err(problem)
    };
    picked.iter().map(field).collect()
}

fn object_fields(line: Line, names: &[String]) -> Result<Vec<String>, String> {
    let text = line.text()?;
    if text.trim_ascii().is_empty() {
        return Err("is empty; expected a JSON object".to_owned());
    }
    let object: Map<String, Value> =
        serde_json::from_str(&text).map_err(|e| format!("expected a JSON object: {e}"))?;
    let field = |name: &String| match object.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(format!("field `{name}` is {other}; expected a string")),
        None => {
            let found: Vec<&str> = object.keys().map(String::as_str).collect();
            Err(format!("no field `{name}`; it has {}", found.join(", ")))
        }
    };
    names.iter().map(field).collect()
}
