//! Rows as text.

use std::io::{self, Write};

use clap::ValueEnum;
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::csv::WriterBuilder;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::LineDelimitedWriter;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::arrow::util::pretty::pretty_format_batches;
use std::sync::Arc;

/// The form of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// A table with borders
    #[default]
    Table,
    /// A line of names, and a line for each row
    Csv,
    /// An object on a line for each row
    Json,
}

pub(super) struct Output {
    format: Format,
    most: usize,
    /// The rows of a table, whose widths are known at the end.
    kept: Vec<RecordBatch>,
    shown: usize,
    rows: usize,
}

fn io_error(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, error) => error,
        error => io::Error::other(error.to_string()),
    }
}

impl Output {
    pub(super) fn new(format: Format, most: usize) -> Self {
        Self { format, most, kept: Vec::new(), shown: 0, rows: 0 }
    }

    /// Writes a batch, or keeps it for the table.
    pub(super) fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        let first = self.rows == 0;
        self.rows += batch.num_rows();
        match self.format {
            Format::Table => {
                let room = (self.most - self.shown).min(batch.num_rows());
                if room > 0 {
                    self.kept.push(batch.slice(0, room));
                    self.shown += room;
                }
                Ok(())
            }
            Format::Csv if batch.num_rows() > 0 => csv(batch, first, out),
            Format::Csv => Ok(()),
            Format::Json => {
                let mut writer = LineDelimitedWriter::new(out);
                writer.write(batch).and_then(|()| writer.finish()).map_err(io_error)
            }
        }
    }

    /// Writes the table, and returns the number of rows. A statement without columns, such as `set`, writes
    /// nothing.
    pub(super) fn finish(self, schema: &SchemaRef, out: &mut dyn Write) -> io::Result<usize> {
        match self.format {
            Format::Table if !schema.fields().is_empty() => {
                let empty = [RecordBatch::new_empty(Arc::clone(schema))];
                let batches = if self.kept.is_empty() { &empty[..] } else { &self.kept };
                writeln!(out, "{}", pretty_format_batches(batches).map_err(io_error)?)?;
                if self.rows > self.shown {
                    writeln!(out, "{} of {} rows; --output csv writes all", self.shown, self.rows)?;
                }
            }
            Format::Csv if self.rows == 0 && !schema.fields().is_empty() => {
                csv(&RecordBatch::new_empty(Arc::clone(schema)), true, out)?;
            }
            _ => {}
        }
        Ok(self.rows)
    }
}

/// Writes rows as CSV. Structs, lists and maps are written as in a table, because CSV has none.
fn csv(batch: &RecordBatch, header: bool, out: &mut dyn Write) -> io::Result<()> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let flat = flat(column).map_err(io_error)?;
        fields.push(Field::new(field.name(), flat.data_type().clone(), true));
        columns.push(flat);
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(io_error)?;
    WriterBuilder::new().with_header(header).build(out).write(&batch).map_err(io_error)
}

fn flat(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let nested = matches!(
        column.data_type(),
        DataType::Struct(_)
            | DataType::Map(..)
            | DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
    );
    if !nested {
        return Ok(Arc::clone(column));
    }
    let options = FormatOptions::new();
    let formatter = ArrayFormatter::try_new(column, &options)?;
    let text = |row| column.is_valid(row).then(|| formatter.value(row).to_string());
    Ok(Arc::new((0..column.len()).map(text).collect::<StringArray>()))
}
