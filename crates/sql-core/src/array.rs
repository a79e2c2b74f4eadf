//! VALUES -> ARRAY: one result for each row, NULL where there is none.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, FixedSizeListArray, Float32Array, Int32Array, Int64Array, ListArray, MapArray,
    StringArray, StructArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType};
use mobilebert::{Entity, LabelScore};

use crate::call::{answer_fields, entity_fields, entry_fields, fill_fields, item, label_fields, map_field};
use crate::error::Result;
use crate::value::Value;

/// Takes what is in a value of this kind, or `None`.
macro_rules! picked {
    ($row:expr, $kind:pat => $found:expr) => {
        match $row {
            Some($kind) => Some($found),
            _ => None,
        }
    };
}

/// The value of each row.
pub(crate) type Rows<'a> = [Option<&'a Value>];

/// Makes the array of a function's results.
pub(crate) fn of(kind: &DataType, rows: &Rows<'_>) -> Result<ArrayRef> {
    match kind {
        DataType::Struct(fields) if *fields == label_fields() => labels(rows),
        DataType::Struct(_) => answers(rows),
        DataType::Map(..) => scores(rows),
        DataType::List(field) if *field == item(DataType::Struct(entity_fields())) => entities(rows),
        DataType::List(_) => fills(rows),
        DataType::FixedSizeList(_, dimensions) => vectors(rows, *dimensions),
        _ => Ok(Arc::new(rows.iter().map(|row| picked!(row, Value::Count(n) => *n)).collect::<Int32Array>())),
    }
}

/// Makes the array of the cosines of pairs of rows.
pub(crate) fn cosines(rows: impl Iterator<Item = Option<f32>>) -> ArrayRef {
    Arc::new(rows.collect::<Float32Array>())
}

fn nulls<T>(rows: &[Option<T>]) -> Option<NullBuffer> {
    rows.iter().any(Option::is_none).then(|| rows.iter().map(Option::is_some).collect())
}

/// Makes an array of strings, whose offsets have 32 bits.
fn strings<'a>(texts: impl Iterator<Item = Option<&'a str>> + Clone) -> Result<ArrayRef> {
    let bytes = texts.clone().flatten().try_fold(0_usize, |sum, text| sum.checked_add(text.len()));
    match bytes.map(i32::try_from) {
        Some(Ok(_)) => Ok(Arc::new(texts.collect::<StringArray>())),
        _ => Err(ArrowError::OffsetOverflowError(bytes.unwrap_or(usize::MAX)).into()),
    }
}

/// Makes the offsets of lists of these lengths.
fn offsets(lengths: impl Iterator<Item = usize>) -> Result<OffsetBuffer<i32>> {
    let mut ends = vec![0];
    let mut end = 0_usize;
    for length in lengths {
        end = end.saturating_add(length);
        ends.push(i32::try_from(end).map_err(|_| ArrowError::OffsetOverflowError(end))?);
    }
    Ok(OffsetBuffer::new(ScalarBuffer::from(ends)))
}

fn position(byte: usize) -> i64 {
    i64::try_from(byte).unwrap_or(i64::MAX)
}

fn labels(rows: &Rows<'_>) -> Result<ArrayRef> {
    let found: Vec<_> = rows.iter().map(|row| picked!(row, Value::Labels(found) => found)).collect();
    let best: Vec<Option<&LabelScore>> =
        found.iter().map(|found| found.and_then(|found| found.best())).collect();
    let columns: Vec<ArrayRef> = vec![
        strings(best.iter().map(|best| best.map(|best| best.label.as_str())))?,
        Arc::new(best.iter().map(|best| best.map(|best| best.score)).collect::<Float32Array>()),
        Arc::new(found.iter().map(|found| found.map(|found| found.truncated)).collect::<BooleanArray>()),
    ];
    Ok(Arc::new(StructArray::try_new(label_fields(), columns, nulls(&found))?))
}

fn scores(rows: &Rows<'_>) -> Result<ArrayRef> {
    let found: Vec<_> = rows.iter().map(|row| picked!(row, Value::Labels(found) => found)).collect();
    let all = found.iter().flatten().flat_map(|found| &found.labels);
    let columns: Vec<ArrayRef> = vec![
        strings(all.clone().map(|label| Some(label.label.as_str())))?,
        Arc::new(all.map(|label| Some(label.score)).collect::<Float32Array>()),
    ];
    let entries = StructArray::try_new(entry_fields(), columns, None)?;
    let offsets = offsets(found.iter().map(|found| found.map_or(0, |found| found.labels.len())))?;
    Ok(Arc::new(MapArray::try_new(map_field(), offsets, entries, nulls(&found), false)?))
}

fn answers(rows: &Rows<'_>) -> Result<ArrayRef> {
    let found: Vec<_> = rows.iter().map(|row| picked!(row, Value::Answer(Some(found)) => found)).collect();
    let columns: Vec<ArrayRef> = vec![
        strings(found.iter().map(|found| found.map(|found| found.answer.as_str())))?,
        Arc::new(found.iter().map(|found| found.map(|found| found.score)).collect::<Float32Array>()),
        Arc::new(found.iter().map(|found| found.map(|found| position(found.start))).collect::<Int64Array>()),
        Arc::new(found.iter().map(|found| found.map(|found| position(found.end))).collect::<Int64Array>()),
    ];
    Ok(Arc::new(StructArray::try_new(answer_fields(), columns, nulls(&found))?))
}

fn entities(rows: &Rows<'_>) -> Result<ArrayRef> {
    let found: Vec<Option<&Vec<Entity>>> =
        rows.iter().map(|row| picked!(row, Value::Entities(found) => found)).collect();
    let all = found.iter().flatten().flat_map(|found| found.iter());
    let columns: Vec<ArrayRef> = vec![
        strings(all.clone().map(|entity| Some(entity.label.as_str())))?,
        Arc::new(all.clone().map(|entity| Some(entity.score)).collect::<Float32Array>()),
        strings(all.clone().map(|entity| Some(entity.word.as_str())))?,
        Arc::new(all.clone().map(|entity| Some(position(entity.start))).collect::<Int64Array>()),
        Arc::new(all.map(|entity| Some(position(entity.end))).collect::<Int64Array>()),
    ];
    let values = StructArray::try_new(entity_fields(), columns, None)?;
    let offsets = offsets(found.iter().map(|found| found.map_or(0, Vec::len)))?;
    let field = item(DataType::Struct(entity_fields()));
    Ok(Arc::new(ListArray::try_new(field, offsets, Arc::new(values), nulls(&found))?))
}

fn fills(rows: &Rows<'_>) -> Result<ArrayRef> {
    let found: Vec<_> = rows.iter().map(|row| picked!(row, Value::Fills(found) => found)).collect();
    let masks = found.iter().flatten().flat_map(|masks| masks.iter().enumerate());
    let all = masks.flat_map(|(mask, fills)| fills.iter().map(move |fill| (mask, fill)));
    let number = |mask: usize| i32::try_from(mask).unwrap_or(i32::MAX);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(all.clone().map(|(mask, _)| Some(number(mask))).collect::<Int32Array>()),
        strings(all.clone().map(|(_, fill)| Some(fill.token_str.as_str())))?,
        Arc::new(all.clone().map(|(_, fill)| Some(fill.score)).collect::<Float32Array>()),
        strings(all.map(|(_, fill)| Some(fill.sequence.as_str())))?,
    ];
    let values = StructArray::try_new(fill_fields(), columns, None)?;
    let lengths = found.iter().map(|found| found.map_or(0, |masks| masks.iter().map(Vec::len).sum()));
    let field = item(DataType::Struct(fill_fields()));
    Ok(Arc::new(ListArray::try_new(field, offsets(lengths)?, Arc::new(values), nulls(&found))?))
}

fn vectors(rows: &Rows<'_>, dimensions: i32) -> Result<ArrayRef> {
    let found: Vec<_> = rows.iter().map(|row| picked!(row, Value::Vector(found) => found)).collect();
    let width = usize::try_from(dimensions).unwrap_or(0);
    let mut numbers = Vec::with_capacity(width.saturating_mul(found.len()));
    for vector in &found {
        match vector {
            Some(vector) => numbers.extend_from_slice(vector),
            None => numbers.resize(numbers.len() + width, 0.0),
        }
    }
    let values = Arc::new(Float32Array::from(numbers));
    let (field, nulls) = (item(DataType::Float32), nulls(&found));
    Ok(Arc::new(FixedSizeListArray::try_new(field, dimensions, values, nulls)?))
}
