//! A reader of ONNX, a graph of operators with its constants in protocol buffers (onnx/onnx.proto).

use std::path::Path;

use super::protobuf::{Message, Value};
use mobilebert::format::is_plain_file_name;
use mobilebert::format::{Bytes, Checkpoint};
use mobilebert::format::{ElementType, Entry, format_error};
use mobilebert::{ErrorKind, Result};

/// The most nodes, inputs, attributes, tensors and dimensions. This is more than any model of this
/// architecture has, and few enough for memory.
const MAX_ITEMS: usize = 1 << 21;

/// The most numbers that are stored one by one instead of as raw bytes, such as shapes and zero points.
const MAX_NUMBERS: usize = 1 << 20;

/// A graph without its subgraphs, which models of this architecture do not need.
#[derive(Debug, Default)]
pub(crate) struct OnnxGraph {
    pub(crate) nodes: Vec<OnnxNode>,
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
}

/// One operator.
#[derive(Debug, Default)]
pub(crate) struct OnnxNode {
    pub(crate) name: String,
    pub(crate) op: String,
    pub(crate) domain: String,
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
    pub(crate) attributes: Vec<(String, Attribute)>,
    /// The offset of the operator in the file.
    pub(crate) offset: usize,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Attribute {
    Float(f32),
    Int(i64),
    Text(String),
    /// A tensor, which the checkpoint has under the name of the node's first output.
    Tensor,
    Other,
}

impl OnnxNode {
    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        self.attributes.iter().find_map(|(n, value)| match value {
            Attribute::Int(value) if n == name => Some(*value),
            _ => None,
        })
    }

    pub(crate) fn float(&self, name: &str) -> Option<f32> {
        self.attributes.iter().find_map(|(n, value)| match value {
            Attribute::Float(value) if n == name => Some(*value),
            _ => None,
        })
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find_map(|(n, value)| match value {
            Attribute::Text(value) if n == name => Some(value.as_str()),
            _ => None,
        })
    }
}

/// Returns true if a file begins like a model, with the version of the format and then the name of the
/// program that wrote it.
pub(crate) fn is_onnx(head: &[u8]) -> bool {
    matches!(head, [0x08, 1..=32, 0x12, ..] | [0x08, 1..=32, 0x3a, ..] | [0x08, 1..=32, 0x42, ..])
}

/// Reads the graph of a model, and its constants by the names of the values. Weights that lie outside the
/// file are looked for in `folder`.
pub(crate) fn read(label: &str, bytes: Bytes, folder: Option<&Path>) -> Result<(OnnxGraph, Checkpoint)> {
    let mut reader = Reader { label, items: 0, tensors: Vec::new() };
    let mut graph = OnnxGraph::default();
    let mut found = false;
    let model = Message::new(label, &bytes, 0);
    model.fields(|field, value| {
        match field {
            7 => {
                graph = reader.graph(model.message(value)?)?;
                found = true;
            }
            25 => {
                let at = model.message(value)?.start;
                let expected = "a graph without functions of its own; export with inlined functions";
                return Err(format_error(label, at, expected, "a function"));
            }
            _ => {}
        }
        Ok(())
    })?;
    if !found {
        return Err(format_error(label, 0, "an ONNX model with a graph", "none"));
    }
    let tensors = reader.tensors;
    let mut checkpoint = Checkpoint::default();
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for Tensor { name, entry, data } in tensors {
        match data {
            Data::Here => inside.push((name, entry)),
            Data::Decoded(bytes) => {
                checkpoint.add(&format!("{label}, `{name}`"), Bytes::Owned(bytes), vec![(name, entry)])?;
            }
            Data::Outside(file) => outside.push((file, name, entry)),
        }
    }
    checkpoint.add(label, bytes, inside)?;
    outside.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    for group in outside.chunk_by(|(a, ..), (b, ..)| a == b) {
        let file = &group[0].0;
        let Some(folder) = folder.filter(|_| is_plain_file_name(file)) else {
            return Err(format_error(
                label,
                0,
                "weights in a plain file beside the model",
                format!("{file:?}"),
            ));
        };
        let path = folder.join(file);
        if !path.is_file() {
            let hint = format!("{label} keeps its weights there; fetch it too");
            return Err(
                ErrorKind::MissingFile { folder: folder.into(), expected: vec![file.clone()], hint }.into()
            );
        }
        let mut entries = Vec::new();
        let mapped = Bytes::map(&path)?;
        for (_, name, entry) in group {
            entries.push((name.clone(), entry.clone().up_to(mapped.len())));
        }
        checkpoint.add(&path.display().to_string(), mapped, entries)?;
    }
    Ok((graph, checkpoint))
}

/// Returns the name under which the number that a `ConstantOfShape` repeats is kept. `output` is the node's
/// output. A node without such a tensor repeats zero.
pub(crate) fn fill_name(output: &str) -> String {
    format!("{output} (fill)")
}

struct Tensor {
    name: String,
    entry: Entry,
    data: Data,
}

/// The place of a tensor's bytes.
enum Data {
    Here,
    Decoded(Vec<u8>),
    Outside(String),
}

struct Reader<'l> {
    label: &'l str,
    items: usize,
    tensors: Vec<Tensor>,
}

impl Reader<'_> {
    fn count(&mut self, at: usize) -> Result<()> {
        self.items += 1;
        if self.items > MAX_ITEMS {
            let expected = format!("at most {MAX_ITEMS} nodes, inputs, attributes and tensors");
            return Err(format_error(self.label, at, &expected, "more"));
        }
        Ok(())
    }

    fn graph(&mut self, message: Message<'_>) -> Result<OnnxGraph> {
        let mut graph = OnnxGraph::default();
        message.fields(|field, value| {
            match field {
                1 => {
                    let node = self.node(message.message(value)?)?;
                    graph.nodes.push(node);
                }
                5 => {
                    let tensor = message.message(value)?;
                    self.tensor(tensor, None)?;
                }
                11 | 12 => {
                    let value = message.message(value)?;
                    self.count(value.start)?;
                    let name = name(value)?;
                    if field == 11 { graph.inputs.push(name) } else { graph.outputs.push(name) }
                }
                15 => {
                    let at = message.message(value)?.start;
                    return Err(format_error(message.label, at, "dense constants", "a sparse one"));
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(graph)
    }

    fn node(&mut self, message: Message<'_>) -> Result<OnnxNode> {
        self.count(message.start)?;
        let mut node = OnnxNode { offset: message.start, ..OnnxNode::default() };
        let mut attributes = Vec::new();
        message.fields(|field, value| {
            if matches!(field, 1..=5 | 7) {
                let part = message.message(value)?;
                self.count(part.start)?;
                match field {
                    1 => node.inputs.push(part.text()?.to_owned()),
                    2 => node.outputs.push(part.text()?.to_owned()),
                    3 => node.name = part.text()?.to_owned(),
                    4 => node.op = part.text()?.to_owned(),
                    7 => node.domain = part.text()?.to_owned(),
                    _ => attributes.push(part),
                }
            }
            Ok(())
        })?;
        let output = node.outputs.first().cloned();
        for attribute in attributes {
            let attribute = self.attribute(attribute, &node.op, output.as_deref())?;
            node.attributes.push(attribute);
        }
        Ok(node)
    }

    fn attribute(
        &mut self,
        message: Message<'_>,
        op: &str,
        output: Option<&str>,
    ) -> Result<(String, Attribute)> {
        let mut name = String::new();
        let mut found = Attribute::Other;
        let (mut integers, mut floats) = (Vec::new(), Vec::new());
        message.fields(|field, value| {
            match (field, value) {
                (7, Value::Fixed32(bits)) if op == "Constant" => floats.extend(bits),
                (7, Value::Bytes(packed)) if op == "Constant" => floats.extend(packed.bytes),
                (8, _) if op == "Constant" => message.numbers(value, &mut integers)?,
                (1, _) => name = message.message(value)?.text()?.to_owned(),
                (2, Value::Fixed32(bits)) => found = Attribute::Float(f32::from_le_bytes(bits)),
                (3, _) => found = Attribute::Int(message.number(value)? as i64),
                (4, _) => {
                    let text = message.message(value)?.text();
                    found = text.map_or(Attribute::Other, |text| Attribute::Text(text.to_owned()));
                }
                (5, _) if matches!(op, "Constant" | "ConstantOfShape") => {
                    let tensor = message.message(value)?;
                    if let Some(output) = output {
                        let name = if op == "Constant" { output.to_owned() } else { fill_name(output) };
                        self.tensor(tensor, Some(&name))?;
                        found = Attribute::Tensor;
                    }
                }
                _ => {}
            }
            if integers.len() > MAX_NUMBERS || floats.len() / size_of::<f32>() > MAX_NUMBERS {
                let expected = format!("at most {MAX_NUMBERS} numbers in an attribute");
                return Err(format_error(message.label, message.start, &expected, "more"));
            }
            Ok(())
        })?;
        if let ("Constant", Some(output)) = (op, output) {
            self.number_constant(message, output, &name, &found, (&integers, floats))?;
        }
        Ok((name, found))
    }

    /// Keeps a constant that is not a tensor but a number or a list of numbers.
    fn number_constant(
        &mut self,
        message: Message<'_>,
        output: &str,
        attribute: &str,
        single: &Attribute,
        (integers, floats): (&[u64], Vec<u8>),
    ) -> Result<()> {
        let (dtype, shape, bytes) = match (attribute, single) {
            ("value_int", Attribute::Int(number)) => {
                (ElementType::I64, Vec::new(), number.to_le_bytes().to_vec())
            }
            ("value_float", Attribute::Float(number)) => {
                (ElementType::F32, Vec::new(), number.to_le_bytes().to_vec())
            }
            ("value_ints", _) => {
                (ElementType::I64, vec![integers.len()], le_bytes(integers, Some(ElementType::I64)))
            }
            ("value_floats", _) => (ElementType::F32, vec![floats.len() / 4], floats),
            _ => return Ok(()),
        };
        self.count(message.start)?;
        let entry = Entry::new(shape, dtype, 0..bytes.len());
        self.tensors.push(Tensor { name: output.to_owned(), entry, data: Data::Decoded(bytes) });
        Ok(())
    }

    /// Keeps a constant. A constant in an attribute gets the `name` of the value that it becomes.
    fn tensor(&mut self, message: Message<'_>, name: Option<&str>) -> Result<()> {
        self.count(message.start)?;
        let mut numbers = Vec::new();
        let (mut dims, mut data_type, mut own_name) = (Vec::new(), 0, String::new());
        let (mut raw, mut decoded, mut outside) = (None, None, External::default());
        message.fields(|field, value| {
            match field {
                1 => message.numbers(value, &mut dims)?,
                2 => data_type = message.number(value)?,
                // Packed little-endian numbers are the same as raw bytes.
                4 | 10 => match value {
                    Value::Bytes(bytes) => raw = Some(bytes),
                    Value::Fixed32(bits) => decoded.get_or_insert_with(Vec::new).extend(bits),
                    _ => {}
                },
                5 | 7 => message.numbers(value, &mut numbers)?,
                8 => own_name = message.message(value)?.text()?.to_owned(),
                9 => raw = Some(message.message(value)?),
                13 => outside.add(message.message(value)?)?,
                14 => outside.used = message.number(value)? == 1,
                _ => {}
            }
            if numbers.len() > MAX_NUMBERS || dims.len() > 64 {
                let expected = format!("at most 64 dimensions and {MAX_NUMBERS} numbers that are not raw");
                return Err(format_error(message.label, message.start, &expected, "more"));
            }
            Ok(())
        })?;
        let name = name.map_or(own_name, str::to_owned);
        let shape: Vec<usize> = dims.iter().map(|&d| usize::try_from(d).unwrap_or(usize::MAX)).collect();
        let dtype = dtype(data_type);
        let length = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let length = length.and_then(|n| n.checked_mul(dtype.as_ref().map_or(0, |d| d.size())));
        let (range, data) = if outside.used {
            let start = usize::try_from(outside.offset).unwrap_or(usize::MAX);
            let end = start.saturating_add(length.unwrap_or(usize::MAX));
            (start..end, Data::Outside(outside.location))
        } else if let Some(raw) = raw {
            (raw.start..raw.start + raw.bytes.len(), Data::Here)
        } else if let Some(decoded) = decoded {
            (0..decoded.len(), Data::Decoded(decoded))
        } else {
            let bytes = le_bytes(&numbers, dtype.as_ref().ok().copied());
            (0..bytes.len(), Data::Decoded(bytes))
        };
        let entry = match dtype {
            Ok(dtype) => Entry::new(shape, dtype, range),
            Err(other) => Entry::unreadable(shape, other, range),
        };
        self.tensors.push(Tensor { name, entry, data });
        Ok(())
    }
}

/// Returns numbers that stand one by one in the message as raw data holds them; halves stand as their bits.
fn le_bytes(numbers: &[u64], dtype: Option<ElementType>) -> Vec<u8> {
    match dtype {
        Some(ElementType::I8 | ElementType::U8) => numbers.iter().map(|&n| n as u8).collect(),
        Some(ElementType::F16 | ElementType::Bf16) => {
            numbers.iter().flat_map(|&n| (n as u16).to_le_bytes()).collect()
        }
        Some(ElementType::I32) => numbers.iter().flat_map(|&n| (n as u32).to_le_bytes()).collect(),
        Some(ElementType::I64) => numbers.iter().flat_map(|&n| n.to_le_bytes()).collect(),
        _ => Vec::new(),
    }
}

/// The place of a tensor in another file.
#[derive(Default)]
struct External {
    used: bool,
    location: String,
    offset: u64,
}

impl External {
    fn add(&mut self, message: Message<'_>) -> Result<()> {
        let (mut key, mut content) = ("", "");
        message.fields(|field, value| {
            match field {
                1 => key = message.message(value)?.text()?,
                2 => content = message.message(value)?.text()?,
                _ => {}
            }
            Ok(())
        })?;
        match key {
            "location" => self.location = content.to_owned(),
            "offset" => {
                self.offset = content.parse().map_err(|_| {
                    format_error(message.label, message.start, "an offset", format!("{content:?}"))
                })?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Reads the name in a ValueInfoProto.
fn name(message: Message<'_>) -> Result<String> {
    let mut name = String::new();
    message.fields(|field, value| {
        if field == 1 {
            name = message.message(value)?.text()?.to_owned();
        }
        Ok(())
    })?;
    Ok(name)
}

/// Returns the type of a number of TensorProto.DataType.
fn dtype(number: u64) -> Result<ElementType, String> {
    match number {
        1 => Ok(ElementType::F32),
        2 => Ok(ElementType::U8),
        3 => Ok(ElementType::I8),
        6 => Ok(ElementType::I32),
        7 => Ok(ElementType::I64),
        10 => Ok(ElementType::F16),
        11 => Ok(ElementType::F64),
        16 => Ok(ElementType::Bf16),
        9 => Err("BOOL".to_owned()),
        other => Err(format!("data type {other}")),
    }
}
