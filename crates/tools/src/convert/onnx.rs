//! Translates ONNX's operators to those of [`Flow`].

use std::collections::HashMap;

use super::flow::{Flow, Node, Op, Origin, Value, ValueIndex};
use super::stored::View;
use crate::foreign::onnx::{OnnxGraph, OnnxNode};
use mobilebert::format::{Checkpoint, ElementType};

pub(super) fn flow(file: &str, graph: OnnxGraph, checkpoint: Checkpoint) -> Flow {
    let mut names = Names::default();
    for (name, entry) in checkpoint.entries() {
        names.set(name, Origin::Constant(View::new(name, &entry.shape)));
    }
    for input in &graph.inputs {
        // Old files list constants among the inputs too.
        let index = names.index(input);
        if matches!(names.values[index].origin, Origin::Nowhere) {
            names.values[index].origin = Origin::Input;
        }
    }
    let mut nodes: Vec<Node> = Vec::new();
    for node in graph.nodes {
        if node.op == "Constant" {
            continue;
        }
        let input = |name: &String| (!name.is_empty()).then(|| names.index(name));
        let mut inputs: Vec<Option<ValueIndex>> = node.inputs.iter().map(input).collect();
        if clips_below_zero(&checkpoint, &node)
            && let Some(input) = inputs.first().copied().flatten()
            && let Origin::Node(producer, _) = names.values[input].origin
            && matches!(nodes.get(producer), Some(Node { op: Op::Add | Op::Linear { .. }, .. }))
        {
            // ONNX Runtime's quantiser drops a relu in front of a type that cannot hold negative numbers.
            let output = node.outputs.first().map_or("", String::as_str);
            let (name, offset) = (format!("{output} (relu)"), node.offset);
            nodes.push(Node { op: Op::Relu, inputs: vec![Some(input)], name: name.clone(), offset });
            names.set(&name, Origin::Node(nodes.len() - 1, 0));
            inputs[0] = Some(names.index(&name));
        }
        for (port, output) in node.outputs.iter().enumerate() {
            let index = names.index(output);
            if matches!(names.values[index].origin, Origin::Nowhere) {
                names.values[index].origin = Origin::Node(nodes.len(), port);
            }
        }
        let name = if node.name.is_empty() { node.outputs.first() } else { Some(&node.name) };
        let name = name.cloned().unwrap_or_default();
        nodes.push(Node { op: op(&node), inputs, name, offset: node.offset });
    }
    let outputs = graph.outputs.iter().map(|name| names.index(name)).collect();
    Flow { file: file.to_owned(), checkpoint, values: names.values, nodes, outputs }
}

/// The values by their names.
#[derive(Default)]
struct Names {
    values: Vec<Value>,
    indices: HashMap<String, ValueIndex>,
}

impl Names {
    /// Returns the value of a name. A new one comes from nowhere yet.
    fn index(&mut self, name: &str) -> ValueIndex {
        if let Some(&index) = self.indices.get(name) {
            return index;
        }
        let index = self.values.len();
        self.values.push(Value { name: name.to_owned(), origin: Origin::Nowhere });
        self.indices.insert(name.to_owned(), index);
        index
    }

    fn set(&mut self, name: &str, origin: Origin) {
        let index = self.index(name);
        self.values[index].origin = origin;
    }
}

/// Returns true if a node quantises to integers of which the smallest stands for zero.
fn clips_below_zero(checkpoint: &Checkpoint, node: &OnnxNode) -> bool {
    let Some(zero) = node.inputs.get(2).filter(|_| node.op == "QuantizeLinear") else { return false };
    let dtype = checkpoint.entry(zero).and_then(|entry| entry.dtype.clone().ok());
    let smallest = match dtype {
        Some(ElementType::U8) => 0,
        Some(ElementType::I8) => i32::from(i8::MIN),
        _ => return false,
    };
    checkpoint.integers(zero).is_ok_and(|zeros| zeros.iter().all(|&zero| zero == smallest))
}

fn op(node: &OnnxNode) -> Op {
    /// The epsilon of a LayerNormalization that gives none.
    const DEFAULT_EPS: f32 = 1e-5;
    let other = || Op::Other(node.op.clone());
    let is_own = matches!(node.domain.as_str(), "" | "ai.onnx");
    let is_microsoft = node.domain == "com.microsoft";
    if !is_own && !is_microsoft {
        return Op::Other(format!("{}.{}", node.domain, node.op));
    }
    match node.op.as_str() {
        "MatMul" => Op::MatMul,
        "MatMulInteger" => Op::MatMulInteger,
        "Gemm" => {
            let plain = node.float("alpha").unwrap_or(1.0) == 1.0
                && node.float("beta").unwrap_or(1.0) == 1.0
                && node.int("transA").unwrap_or(0) == 0;
            if plain { Op::Linear { transposed: node.int("transB").unwrap_or(0) == 0 } } else { other() }
        }
        "Add" => Op::Add,
        "Sub" => Op::Sub,
        "Mul" => Op::Mul,
        "Div" => Op::Div,
        "Pow" => Op::Pow,
        "Sqrt" => Op::Sqrt,
        "Erf" => Op::Erf,
        "Tanh" => Op::Tanh,
        "Relu" => Op::Relu,
        "Gelu" if node.text("approximate") == Some("tanh") => Op::GeluTanh,
        "Gelu" => Op::Gelu,
        "ReduceMean" => Op::Mean,
        "Softmax" => Op::Softmax,
        "Attention" if is_own => {
            let plain =
                node.int("is_causal").unwrap_or(0) == 0 && node.float("softcap").unwrap_or(0.0) == 0.0;
            if plain { Op::Attention { scale: node.float("scale") } } else { other() }
        }
        "LayerNormalization" if node.int("axis").unwrap_or(-1) == -1 => {
            Op::LayerNorm { eps: node.float("epsilon").unwrap_or(DEFAULT_EPS) }
        }
        "Gather" => Op::Gather { axis: node.int("axis").unwrap_or(0) },
        "OneHot" if matches!(node.int("axis"), None | Some(-1)) => Op::OneHot,
        "Concat" => Op::Concat,
        "Pad" => Op::Pad,
        "Slice" => Op::Slice,
        "Split" => Op::Split,
        "Where" => Op::Where,
        "Clip" | "Max" | "Min" => Op::Clip,
        "Shape" | "Size" => Op::Shape,
        "Reshape" | "Squeeze" | "Unsqueeze" | "Identity" | "Cast" | "Expand" | "Flatten" | "Dropout" => {
            Op::View
        }
        "Transpose" => Op::Transpose,
        "QuantizeLinear" | "DynamicQuantizeLinear" => Op::Quantize,
        "DequantizeLinear" => Op::Dequantize { axis: node.int("axis").unwrap_or(1) },
        _ => other(),
    }
}
