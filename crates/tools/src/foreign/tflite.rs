//! A reader of LiteRT (TensorFlow Lite), a graph of operators with its constants in a FlatBuffer
//! (tflite/converter/schema/schema.fbs).

use super::flatbuffer::{Buffer, Table, Vector};
use mobilebert::Result;
use mobilebert::format::{Bytes, Checkpoint};
use mobilebert::format::{ElementType, Entry, format_error};

/// The identifier in bytes 4 to 8 of every file.
const IDENTIFIER: &[u8] = b"TFL3";

/// The most tensors, operators and inputs of operators. Lists may overlap in a hostile file, so that the
/// length of the file is no bound.
const MAX_ITEMS: usize = 1 << 20;

/// The most scales, zero points and dimensions of all tensors together, for the same reason.
const MAX_NUMBERS: usize = 1 << 24;

#[derive(Debug, Default)]
pub(crate) struct TfliteGraph {
    pub(crate) tensors: Vec<TfliteTensor>,
    pub(crate) operators: Vec<TfliteOperator>,
    pub(crate) inputs: Vec<usize>,
    pub(crate) outputs: Vec<usize>,
}

/// A value, which is a constant if the checkpoint has its [`TfliteTensor::key`].
#[derive(Debug, Default)]
pub(crate) struct TfliteTensor {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) scales: Vec<f32>,
    pub(crate) zero_points: Vec<i64>,
    /// The dimension that the scales go along.
    pub(crate) axis: usize,
    pub(crate) constant: bool,
    /// The name in the checkpoint, since names in the file need not be unique.
    pub(crate) key: String,
}

/// One operator.
#[derive(Debug)]
pub(crate) struct TfliteOperator {
    /// The number in `BuiltinOperator` of the schema.
    pub(crate) code: i32,
    pub(crate) inputs: Vec<Option<usize>>,
    pub(crate) outputs: Vec<usize>,
    /// The first four scalar options, which are all that the operators of this architecture have.
    pub(crate) options: [u8; 4],
    pub(crate) offset: usize,
}

pub(crate) fn is_tflite(head: &[u8]) -> bool {
    head.get(4..8) == Some(IDENTIFIER)
}

/// Reads the first subgraph of a model, and its constants.
pub(crate) fn read(label: &str, bytes: Bytes) -> Result<(TfliteGraph, Checkpoint)> {
    let (graph, entries) = parse(Buffer { label, bytes: &bytes })?;
    let mut checkpoint = Checkpoint::default();
    checkpoint.add(label, bytes, entries)?;
    Ok((graph, checkpoint))
}

fn parse(file: Buffer<'_>) -> Result<(TfliteGraph, Vec<(String, Entry)>)> {
    let label = file.label;
    if !is_tflite(file.bytes) {
        return Err(format_error(label, 4, "the identifier TFL3", "another one"));
    }
    let model = file.root()?;
    let subgraphs = model.vector(2, 4)?;
    if subgraphs.length == 0 {
        return Err(format_error(label, model.position, "a subgraph", "none"));
    }
    let subgraph = subgraphs.table(0)?;
    let mut budget = Budget { label, items: MAX_ITEMS, numbers: MAX_NUMBERS };
    let mut graph = TfliteGraph::default();
    let mut entries = Vec::new();
    let (tensors, buffers) = (subgraph.vector(0, 4)?, model.vector(4, 4)?);
    for i in 0..tensors.length {
        let (tensor, entry) = tensor(file, i, &tensors.table(i)?, &buffers, &mut budget)?;
        entries.extend(entry.map(|entry| (tensor.key.clone(), entry)));
        graph.tensors.push(tensor);
    }
    let indices = Indices { label, tensors: tensors.length };
    graph.inputs = indices.all(&subgraph, 1)?;
    graph.outputs = indices.all(&subgraph, 2)?;
    let codes = operator_codes(&model)?;
    let operators = subgraph.vector(3, 4)?;
    for i in 0..operators.length {
        graph.operators.push(operator(&operators.table(i)?, &codes, &indices, &mut budget)?);
    }
    Ok((graph, entries))
}

/// Reads a tensor and, if it is a constant, the place of its data.
fn tensor(
    file: Buffer<'_>,
    number: usize,
    table: &Table<'_>,
    buffers: &Vector<'_>,
    budget: &mut Budget<'_>,
) -> Result<(TfliteTensor, Option<Entry>)> {
    budget.items(1, table.position)?;
    let buffer = table.u32(2)? as usize;
    let shape = table.i32s(0)?;
    let mut tensor = TfliteTensor {
        name: table.text(3)?,
        shape: shape.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect(),
        key: format!("tensor {number}"),
        ..TfliteTensor::default()
    };
    if let Some(quantization) = table.table(4)? {
        tensor.scales = quantization.f32s(2)?;
        tensor.zero_points = quantization.i64s(3)?;
        tensor.axis = quantization.u32(6)? as usize;
    }
    let numbers = tensor.name.len() + shape.len() + tensor.scales.len() + tensor.zero_points.len();
    budget.numbers(numbers, table.position)?;
    if buffer >= buffers.length {
        let expected = format!("one of {} buffers", buffers.length);
        return Err(format_error(file.label, table.position, &expected, format!("buffer {buffer}")));
    }
    let Some(range) = data(file, &buffers.table(buffer)?)? else { return Ok((tensor, None)) };
    tensor.constant = true;
    let entry = match dtype(table.u8(1)?) {
        Ok(dtype) => Entry::new(tensor.shape.clone(), dtype, range),
        Err(other) => Entry::unreadable(tensor.shape.clone(), other, range),
    };
    Ok((tensor, Some(entry)))
}

fn operator(
    table: &Table<'_>,
    codes: &[i32],
    indices: &Indices<'_>,
    budget: &mut Budget<'_>,
) -> Result<TfliteOperator> {
    let inputs = table.i32s(1)?;
    budget.items(1 + inputs.len(), table.position)?;
    // -1 stands for an input that is left out.
    let input =
        |&value: &i32| if value == -1 { Ok(None) } else { indices.one(value, table.position).map(Some) };
    let outputs = indices.all(table, 2)?;
    budget.items(outputs.len(), table.position)?;
    let code = table.u32(0)? as usize;
    let Some(&code) = codes.get(code) else {
        let expected = format!("one of {} operator codes", codes.len());
        return Err(format_error(indices.label, table.position, &expected, format!("{code}")));
    };
    let mut options = [0; 4];
    if let Some(table) = table.table(4)? {
        for (field, option) in options.iter_mut().enumerate() {
            *option = table.u8(field)?;
        }
    }
    let inputs = inputs.iter().map(input).collect::<Result<_>>()?;
    Ok(TfliteOperator { code, inputs, outputs, options, offset: table.position })
}

/// A reader of indices of tensors, which checks them.
struct Indices<'l> {
    label: &'l str,
    tensors: usize,
}

impl Indices<'_> {
    fn one(&self, value: i32, at: usize) -> Result<usize> {
        match usize::try_from(value) {
            Ok(index) if index < self.tensors => Ok(index),
            _ => {
                let expected = format!("one of {} tensors", self.tensors);
                Err(format_error(self.label, at, &expected, format!("{value}")))
            }
        }
    }

    fn all(&self, table: &Table<'_>, field: usize) -> Result<Vec<usize>> {
        table.i32s(field)?.into_iter().map(|value| self.one(value, table.position)).collect()
    }
}

fn operator_codes(model: &Table<'_>) -> Result<Vec<i32>> {
    /// The most codes that are read, which is more than there are operators.
    const MAX_CODES: usize = 4096;
    let codes = model.vector(1, 4)?;
    let code = |i| {
        let table = codes.table(i)?;
        // Files from before there were more than 127 operators have only the first field.
        Ok((table.u32(3)? as i32).max(i32::from(table.u8(0)?)))
    };
    (0..codes.length.min(MAX_CODES)).map(code).collect()
}

/// Returns the place of a buffer's bytes, or `None` for the empty buffer of values that are computed.
fn data(file: Buffer<'_>, buffer: &Table<'_>) -> Result<Option<std::ops::Range<usize>>> {
    let here = buffer.vector(0, 1)?;
    if here.length > 0 {
        return Ok(Some(here.start..here.start + here.length));
    }
    // Files beyond 2 GB keep the data behind the FlatBuffer. Offsets 0 and 1 mean that there is none.
    let (start, length) = (buffer.u64(1)?, buffer.u64(2)?);
    if start <= 1 || length == 0 {
        return Ok(None);
    }
    let range = || {
        let start = usize::try_from(start).ok()?;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        (end <= file.bytes.len()).then_some(start..end)
    };
    match range() {
        Some(range) => Ok(Some(range)),
        None => {
            let found = format!("{length} bytes at {start}");
            Err(format_error(file.label, buffer.position, "a buffer inside the file", found))
        }
    }
}

/// The numbers of things that may still be read.
struct Budget<'l> {
    label: &'l str,
    items: usize,
    numbers: usize,
}

impl Budget<'_> {
    fn items(&mut self, count: usize, at: usize) -> Result<()> {
        match self.items.checked_sub(count) {
            Some(left) => self.items = left,
            None => return Err(self.exceeded(at)),
        }
        Ok(())
    }

    fn numbers(&mut self, count: usize, at: usize) -> Result<()> {
        match self.numbers.checked_sub(count) {
            Some(left) => self.numbers = left,
            None => return Err(self.exceeded(at)),
        }
        Ok(())
    }

    fn exceeded(&self, at: usize) -> mobilebert::Error {
        let expected = format!("at most {MAX_ITEMS} tensors, operators and inputs and {MAX_NUMBERS} numbers");
        format_error(self.label, at, &expected, "more")
    }
}

/// Returns the type of a number of TensorType.
fn dtype(number: u8) -> Result<ElementType, String> {
    match number {
        0 => Ok(ElementType::F32),
        1 => Ok(ElementType::F16),
        2 => Ok(ElementType::I32),
        3 => Ok(ElementType::U8),
        4 => Ok(ElementType::I64),
        9 => Ok(ElementType::I8),
        10 => Ok(ElementType::F64),
        18 => Ok(ElementType::Bf16),
        6 => Err("BOOL".to_owned()),
        17 => Err("INT4".to_owned()),
        other => Err(format!("tensor type {other}")),
    }
}
