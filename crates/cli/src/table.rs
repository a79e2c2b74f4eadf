//! Reads batch files: TSV, CSV, JSON lines and plain lines.

use std::collections::HashSet;
use std::fmt;
use std::io::{BufRead, Cursor, Read as _};
use std::path::Path;

use mobilebert::files::json::problem_in_line;
use mobilebert_tools::dataset::{
    Delimited, DelimitedError, DelimitedRow, foreign_encoding, read_line, wrong_encoding,
};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::args::TableFormat;
use super::failure::Failure;
use super::input::{Lines, Object, Record, cannot_read_line, read_start, skip_mark};
use super::reader::{Opened, not_utf8, without_gz};

/// A column that a command reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column<'a> {
    /// The flag that selects the column, for messages.
    pub(super) flag: &'static str,
    /// The name of the column if the user does not choose one.
    pub(super) name: &'static str,
    /// The user's choice, which is a name or a number from 1.
    pub(super) wanted: Option<&'a str>,
}

/// The settings for reading a batch file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// The format, if it is not the one that the extension names.
    pub(super) format: Option<TableFormat>,
    /// The separator of the cells of CSV, if the user has chosen one.
    pub(super) delimiter: Option<u8>,
    /// True if the first line names the columns.
    pub(super) has_header: bool,
}

/// Separators that some CSV files use instead of commas.
const OTHER_DELIMITERS: [u8; 3] = [b';', b'\t', b'|'];

/// The most bytes of blank lines behind which the separator of a CSV file is looked for.
const MOST_BLANK: usize = 1 << 20;

impl TableFormat {
    /// Returns the format that the extension of a file to be read names. A `.gz` behind it does not count.
    pub(super) fn of_input(path: &Path) -> Result<Self, Failure> {
        let inner = without_gz(path);
        let extension = inner.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        let program = match extension.as_deref() {
            Some("bz2") => "bzip2 -dc",
            Some("xz") => "xz -dc",
            Some("zst") => "zstd -dc",
            Some("zip") => "unzip -p",
            _ => return Self::of(&inner),
        };
        let problem = format!(
            "only gzip is unpacked; unpack it into a pipe, as in `{program} FILE | mobilebert ... --input - --format csv`"
        );
        Err(Failure::Usage(format!("{}: {problem}", path.display())))
    }

    /// Returns the format that the extension of a file names.
    fn of(path: &Path) -> Result<Self, Failure> {
        let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        match extension.as_deref() {
            Some("tsv") => Ok(TableFormat::Tsv),
            Some("csv") => Ok(TableFormat::Csv),
            Some("jsonl" | "ndjson") => Ok(TableFormat::JsonLines),
            Some("txt") => Ok(TableFormat::Lines),
            _ => {
                let expected =
                    "expected the extension .tsv, .csv, .jsonl or .txt; say with --format what an input is";
                Err(Failure::Usage(format!("{}: {expected}", path.display())))
            }
        }
    }
}

/// The records of a batch file.
pub(super) type Rows = Box<dyn Iterator<Item = Result<Record, Failure>> + Send>;

/// Reads the names of the columns, and then the rows. A file without names of columns is read when its rows
/// are wanted, if it has to be waited for.
pub(super) fn read(
    opened: Opened,
    format: TableFormat,
    columns: &[Column<'_>],
    layout: Layout,
) -> Result<(Vec<String>, Rows), Failure> {
    let Opened { mut reader, place, waits, .. } = opened;
    if layout.delimiter.is_some() && format != TableFormat::Csv {
        return Err(Failure::Usage("--delimiter goes with CSV; see --format".to_owned()));
    }
    if !layout.has_header && matches!(format, TableFormat::JsonLines | TableFormat::Lines) {
        let problem = format!("--no-header goes with TSV and CSV; {place} has no first line of names");
        return Err(Failure::Usage(problem));
    }
    if let (TableFormat::Lines, [Column { flag, wanted: Some(_), .. }]) = (format, columns) {
        return Err(Failure::Usage(format!(
            "{flag} goes with TSV, CSV and JSON lines; a line of {place} is one text"
        )));
    }
    match format {
        TableFormat::Tsv => read_tsv(Lines::of_file(reader, place, true), columns, layout.has_header),
        TableFormat::Csv => {
            let mut start = read_start(&mut reader).map_err(|e| cannot_read_line(&place, 0, &e))?;
            if let Some(encoding) = foreign_encoding(&start) {
                return Err(Failure::Input(format!("{place}, line 1: {}", wrong_encoding(encoding))));
            }
            let skipped = skip_mark(&mut start);
            // Blank lines in front of the first row are skipped.
            let (mut lines, mut last) = (1, 0);
            while matches!(&start[last..], b"\n" | b"\r\n") && last < MOST_BLANK {
                last = start.len();
                let read = read_line(&mut reader, &mut start);
                read.map_err(|e| cannot_read_line(&place, lines, &e))?;
                lines += 1;
            }
            read_csv(place, start, reader, skipped, columns, layout)
        }
        TableFormat::JsonLines => {
            let mut lines = Lines::of_file(reader, place, true);
            if !waits {
                lines.begin()?;
            }
            let names: Vec<String> = columns.iter().map(|c| c.wanted.unwrap_or(c.name).to_owned()).collect();
            let header = columns.iter().map(|c| c.name.to_owned()).collect();
            let rows = lines.enumerate().map(move |(index, line)| {
                let line = line?;
                let (place, number, end) = (line.place.clone(), Some(line.number), line.end);
                let object = line.text().and_then(|text| object(&text));
                let fields = object.as_ref().map_err(Clone::clone).and_then(|o| object_fields(o, &names));
                let cells = fields.iter().flatten().map(|field| field.clone().into_bytes()).collect();
                Ok(Record { index, place, line: number, file: None, end, cells, object: object.ok(), fields })
            });
            Ok((header, Box::new(rows)))
        }
        TableFormat::Lines if columns.len() == 1 => {
            let mut lines = Lines::of_file(reader, place, false);
            if !waits {
                lines.begin()?;
            }
            let rows = lines.records(None);
            Ok((vec![columns[0].name.to_owned()], Box::new(rows)))
        }
        TableFormat::Lines => {
            let names: Vec<&str> = columns.iter().map(|c| c.name).collect();
            let expected = format!("expected .tsv, .csv or .jsonl with the columns {}", names.join(", "));
            Err(Failure::Usage(format!("{place}: {expected}")))
        }
    }
}

/// Reads lines that are cut at tabs. Quotation marks are text. A blank line is a row only if a row may be a
/// single empty cell.
fn read_tsv(
    mut lines: Lines<impl BufRead + Send + 'static>,
    columns: &[Column<'_>],
    has_header: bool,
) -> Result<(Vec<String>, Rows), Failure> {
    let first = lines.next().transpose()?;
    let Some(first) = first else { return Ok((Vec::new(), Box::new(std::iter::empty()))) };
    let cut = |bytes: &[u8]| bytes.split(|&b| b == b'\t').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let header = header(cut(&first.bytes), has_header);
    let picked = pick(&first.place, columns, &header, has_header)?;
    let width = header.len();
    let first = (!has_header).then_some(Ok(first));
    let rows = first.into_iter().chain(lines);
    let rows = rows.filter(move |line| width == 1 || line.as_ref().map_or(true, |l| !l.bytes.is_empty()));
    let rows = rows.enumerate().map(move |(index, line)| {
        let line = line?;
        let cells = cut(&line.bytes);
        let fields = cell_fields(&cells, &picked, width);
        let number = Some(line.number);
        Ok(Record {
            index,
            place: line.place,
            line: number,
            file: None,
            end: line.end,
            cells,
            object: None,
            fields,
        })
    });
    Ok((header, Box::new(rows)))
}

/// Reads rows whose cells may be quoted. `start` is what has been read already: the first row, or at least its
/// first line.
fn read_csv(
    place: String,
    start: Vec<u8>,
    reader: impl BufRead + Send + 'static,
    skipped: u64,
    columns: &[Column<'_>],
    layout: Layout,
) -> Result<(Vec<String>, Rows), Failure> {
    let delimiter = match layout.delimiter {
        Some(delimiter) => delimiter,
        None => find_delimiter(&place, &start, columns, layout.has_header)?,
    };
    let mut rows = Delimited::new(Cursor::new(start).chain(reader), delimiter);
    let mut next = {
        let place = place.clone();
        move || {
            let row = rows.next()?;
            let lines = rows.line();
            Some(row.map_err(|e| match e {
                DelimitedError::Io(error) => cannot_read_line(&place, lines, &error),
                quote => Failure::Input(format!("{place}, {quote}")),
            }))
        }
    };
    let Some(first) = next().transpose()? else { return Ok((Vec::new(), Box::new(std::iter::empty()))) };
    let header = header(first.cells.clone(), layout.has_header);
    let picked = pick(&format!("{place}, line {}", first.line), columns, &header, layout.has_header)?;
    let width = header.len();
    let first = (!layout.has_header).then_some(Ok(first));
    let rows = first.into_iter().chain(std::iter::from_fn(next)).enumerate().map(move |(index, row)| {
        let DelimitedRow { line, end, cells } = row?;
        let fields = cell_fields(&cells, &picked, width);
        let place = format!("{place}, line {line}");
        let line = Some(line);
        Ok(Record { index, place, line, file: None, end: skipped + end, cells, object: None, fields })
    });
    Ok((header, Box::new(rows)))
}

/// Finds the separator of the cells by the first line. It is a comma, or another mark if that is the only one
/// that gives the wanted columns. A line that can be cut in two ways is an error. `start` may have blank lines
/// in front of it.
fn find_delimiter(
    place: &str,
    start: &[u8],
    columns: &[Column<'_>],
    has_header: bool,
) -> Result<u8, Failure> {
    let cells = |mark: u8| match Delimited::new(start, mark).next() {
        Some(Ok(row)) => header(row.cells, true),
        _ => Vec::new(),
    };
    let gives_columns = |mark: u8| {
        let header = cells(mark);
        has_header && columns.iter().all(|c| header.iter().any(|name| name == c.wanted.unwrap_or(c.name)))
    };
    if gives_columns(b',') {
        return Ok(b',');
    }
    let others: Vec<u8> = OTHER_DELIMITERS.into_iter().filter(|&mark| cells(mark).len() > 1).collect();
    match others.iter().filter(|&&mark| gives_columns(mark)).collect::<Vec<_>>().as_slice() {
        &[&mark] => return Ok(mark),
        _ if cells(b',').len() > 1 => return Ok(b','),
        _ => {}
    }
    match others.first() {
        None => Ok(b','),
        Some(&mark) => {
            let (name, count) =
                (if mark == b'\t' { "tab".into() } else { char::from(mark).to_string() }, cells(mark).len());
            let line = start.trim_ascii_end().iter().filter(|&&byte| byte == b'\n').count() + 1;
            Err(Failure::Input(format!(
                "{place}, line {line}: it is one column if cells end at `,` and {count} if they end at `{name}`; say which with \
                 --delimiter ',' or --delimiter '{name}'"
            )))
        }
    }
}

/// Returns the names of the columns, from the first row or as their numbers.
fn header(first: Vec<Vec<u8>>, has_header: bool) -> Vec<String> {
    let name = |(i, cell): (usize, Vec<u8>)| match has_header {
        true => String::from_utf8_lossy(&cell).trim().to_owned(),
        false => (i + 1).to_string(),
    };
    first.into_iter().enumerate().map(name).collect()
}

/// Finds the columns that a command reads in a row. `place` is that of the header, or of the first row.
fn pick(
    place: &str,
    columns: &[Column<'_>],
    header: &[String],
    has_header: bool,
) -> Result<Vec<usize>, Failure> {
    if let Some(cell) = header.iter().find(|cell| cell.trim_end().contains('\r') && !cell.contains('\n')) {
        let found = cell.split('\r').next().unwrap_or_default();
        return Err(Failure::Input(format!(
            "{place}: behind `{found}` comes a \\r without \\n; expected lines that end in \\n or \\r\\n"
        )));
    }
    let find = |(i, column): (usize, &Column<'_>)| {
        let named = |name: &str| {
            let mut found = header.iter().enumerate().filter(|(_, h)| *h == name).map(|(i, _)| i);
            match (found.next(), found.next()) {
                (Some(_), Some(_)) => Err(Failure::Input(format!(
                    "{place}: there are two columns `{name}`; choose one by its number"
                ))),
                (first, _) => Ok(first),
            }
        };
        let numbered = |n: &str| n.parse().ok().filter(|n| (1..=header.len()).contains(n)).map(|n| n - 1);
        let found = match column.wanted {
            Some(wanted) => named(wanted)?.or_else(|| numbered(wanted)),
            None if !has_header => Some(i).filter(|&i| i < header.len()),
            None => named(column.name)?,
        };
        found.ok_or_else(|| {
            let wanted = column.wanted.unwrap_or(column.name);
            let choose =
                if column.flag.is_empty() { String::new() } else { format!("; choose with {}", column.flag) };
            let data = if has_header { "; pass --no-header if the first line is data" } else { "" };
            let found = header.join(", ");
            Failure::Input(format!("{place}: no column `{wanted}`; it has {found}{choose}{data}"))
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

/// Reads a line of JSON. The values stay as they are written.
fn object(text: &str) -> Result<Object, String> {
    if text.trim_ascii().is_empty() {
        return Err("is empty; expected a JSON object".to_owned());
    }
    let object = serde_json::from_str(text);
    object
        .map(|Unique(object)| object)
        .map_err(|e| format!("expected a JSON object: {}", problem_in_line(&e)))
}

/// A JSON object that has each of its fields once. Of a repeated field, one value would be lost.
struct Unique(Object);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Unique;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Unique, A::Error> {
                let (mut object, mut names) = (Object::new(), HashSet::new());
                while let Some((name, value)) = fields.next_entry::<String, Box<RawValue>>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format!("the field `{name}` is there twice")));
                    }
                    object.push((name, value));
                }
                Ok(Unique(object))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

fn object_fields(object: &Object, names: &[String]) -> Result<Vec<String>, String> {
    let field = |name: &String| match object.iter().find(|(found, _)| found == name) {
        Some((_, value)) if value.get().starts_with('"') => {
            let text = serde_json::from_str(value.get());
            text.map_err(|e| format!("field `{name}`: {}", problem_in_line(&e)))
        }
        Some((_, other)) => Err(format!("field `{name}` is {other}; expected a string")),
        None => {
            let found: Vec<&str> = object.iter().map(|(name, _)| name.as_str()).collect();
            Err(format!("no field `{name}`; it has {}", found.join(", ")))
        }
    };
    names.iter().map(field).collect()
}
