//! Apache Parquet, without compression.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use mobilebert::{Error, Result};
use parquet::basic::{LogicalType, Repetition, Type as PhysicalType};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, FloatType};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};

use super::{VectorFile, VectorRow, check_dimensions, input_names};
use crate::writer::PartialFile;

/// A row group is written when its numbers and texts take this many bytes; writing it takes about as much
/// again.
const GROUP: usize = 32 << 20;

/// The names of the columns behind those of the input.
const EMBEDDING: &str = "embedding";
const TRUNCATED: &str = "truncated";
const ERROR: &str = "error";

/// A Parquet file: the input's columns as strings, `embedding` (a list of f32, null if the row has failed),
/// `truncated` and `error`. A column of the input that has one of these names, or that of another column, is
/// renamed as [`input_names`] does.
pub struct ParquetFile {
    file: PartialFile,
    writer: SerializedFileWriter<BufWriter<File>>,
    dimensions: usize,
    rows: Rows,
}

/// The rows of the group that has not been written yet, column by column.
#[derive(Default)]
struct Rows {
    texts: Vec<Vec<ByteArray>>,
    numbers: Vec<f32>,
    /// For each row, whether it has a vector.
    present: Vec<bool>,
    truncated: Vec<bool>,
    errors: Vec<Option<ByteArray>>,
    /// The bytes that all of this takes.
    bytes: usize,
}

impl ParquetFile {
    /// Makes a file with text columns of the names `header` and a column for vectors of so many numbers.
    ///
    /// # Errors
    /// [`mobilebert::ErrorKind::Io`] if it cannot be made; [`mobilebert::ErrorKind::Input`] if there is a
    /// folder or a device of that name; [`mobilebert::ErrorKind::Option`] if `dimensions` is 0.
    pub fn create(path: &Path, header: &[String], dimensions: usize) -> Result<Self> {
        check_dimensions(dimensions)?;
        let file = PartialFile::create(path)?;
        let schema = schema(header).map_err(|e| failed(&file, e))?;
        let properties = WriterProperties::builder()
            .set_created_by(concat!("mobilebert ", env!("CARGO_PKG_VERSION")).to_owned())
            // Hardly any two vectors share a number.
            .set_dictionary_enabled(false)
            .build();
        let writer = BufWriter::new(file.handle()?);
        let writer = SerializedFileWriter::new(writer, schema, Arc::new(properties));
        let writer = writer.map_err(|e| failed(&file, e))?;
        let rows = Rows { texts: vec![Vec::new(); header.len()], ..Rows::default() };
        Ok(Self { file, writer, dimensions, rows })
    }

    fn flush(&mut self) -> Result<()> {
        let texts = vec![Vec::new(); self.rows.texts.len()];
        let rows = std::mem::replace(&mut self.rows, Rows { texts, ..Rows::default() });
        if rows.present.is_empty() {
            return Ok(());
        }
        write_group(&mut self.writer, &rows, self.dimensions).map_err(|e| failed(&self.file, e))
    }
}

impl VectorFile for ParquetFile {
    fn push(&mut self, row: VectorRow<'_>) -> Result<()> {
        assert_eq!(row.cells.len(), self.rows.texts.len(), "cells of a row");
        for (column, cell) in self.rows.texts.iter_mut().zip(row.cells) {
            column.push(ByteArray::from(*cell));
        }
        let texts = row.cells.iter().copied().chain(row.error).map(str::len).sum::<usize>();
        // Each text and the error have an entry, and the two flags a byte each, however short the texts are.
        self.rows.bytes += texts + (row.cells.len() + 1) * size_of::<ByteArray>() + 2;
        if let Some(vector) = row.vector {
            assert_eq!(vector.len(), self.dimensions, "numbers of a vector");
            self.rows.numbers.extend_from_slice(vector);
            self.rows.bytes += size_of_val(vector);
        }
        self.rows.present.push(row.vector.is_some());
        self.rows.truncated.push(row.truncated);
        self.rows.errors.push(row.error.map(ByteArray::from));
        if self.rows.bytes >= GROUP { self.flush() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.flush()?;
        let Self { file, writer, .. } = *self;
        let written = writer.into_inner().map_err(|e| failed(&file, e))?;
        // What is still in the buffer is written now, so that a full disk is noticed.
        written.into_inner().map_err(|e| file.error(e.into_error()))?;
        file.finish()
    }
}

/// Makes an error of this package out of one of the crate `parquet`.
fn failed(file: &PartialFile, error: ParquetError) -> Error {
    match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(io) => file.error(*io),
            Err(source) => file.error(std::io::Error::other(source)),
        },
        other => file.error(std::io::Error::other(other)),
    }
}

fn text(name: &str, repetition: Repetition) -> parquet::errors::Result<TypePtr> {
    let text = Type::primitive_type_builder(name, PhysicalType::BYTE_ARRAY);
    Ok(Arc::new(text.with_repetition(repetition).with_logical_type(Some(LogicalType::String)).build()?))
}

fn schema(header: &[String]) -> parquet::errors::Result<TypePtr> {
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let names = input_names(&header, |name| [EMBEDDING, TRUNCATED, ERROR].contains(&name));
    let mut columns = Vec::new();
    for name in &names {
        columns.push(text(name, Repetition::REQUIRED)?);
    }
    let number = Type::primitive_type_builder("element", PhysicalType::FLOAT);
    let number = Arc::new(number.with_repetition(Repetition::REQUIRED).build()?);
    let list = Type::group_type_builder("list").with_repetition(Repetition::REPEATED);
    let list = Arc::new(list.with_fields(vec![number]).build()?);
    let vector = Type::group_type_builder(EMBEDDING).with_repetition(Repetition::OPTIONAL);
    let vector = vector.with_logical_type(Some(LogicalType::List)).with_fields(vec![list]);
    columns.push(Arc::new(vector.build()?));
    let truncated = Type::primitive_type_builder(TRUNCATED, PhysicalType::BOOLEAN);
    columns.push(Arc::new(truncated.with_repetition(Repetition::REQUIRED).build()?));
    columns.push(text(ERROR, Repetition::OPTIONAL)?);
    Ok(Arc::new(Type::group_type_builder("schema").with_fields(columns).build()?))
}

fn write_group(
    writer: &mut SerializedFileWriter<BufWriter<File>>,
    rows: &Rows,
    dimensions: usize,
) -> parquet::errors::Result<()> {
    let mut group = writer.next_row_group()?;
    for texts in &rows.texts {
        column::<ByteArrayType>(&mut group, texts, None)?;
    }
    // A list has the definition level 2 for each of its numbers, and one entry of level 0 if it is null. The
    // first entry of a list has the repetition level 0.
    let (mut definitions, mut repetitions) = (Vec::new(), Vec::new());
    for &present in &rows.present {
        repetitions.push(0);
        if present {
            definitions.resize(definitions.len() + dimensions, 2);
            repetitions.resize(repetitions.len() + dimensions - 1, 1);
        } else {
            definitions.push(0);
        }
    }
    column::<FloatType>(&mut group, &rows.numbers, Some((&definitions, Some(&repetitions))))?;
    column::<BoolType>(&mut group, &rows.truncated, None)?;
    let definitions: Vec<i16> = rows.errors.iter().map(|error| i16::from(error.is_some())).collect();
    let errors: Vec<ByteArray> = rows.errors.iter().flatten().cloned().collect();
    column::<ByteArrayType>(&mut group, &errors, Some((&definitions, None)))?;
    group.close()?;
    Ok(())
}

/// Writes the next column, with its definition and repetition levels.
fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, BufWriter<File>>,
    values: &[T::T],
    levels: Option<(&[i16], Option<&[i16]>)>,
) -> parquet::errors::Result<()> {
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General("no column is left in the row group".to_owned()));
    };
    let (definitions, repetitions) = levels.unzip();
    column.typed::<T>().write_batch(values, definitions, repetitions.flatten())?;
    column.close()
}
