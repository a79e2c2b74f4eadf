//! Translates ONNX's operators to those of [`Flow`].

use std::collections::HashMap;

use super::flow::{Flow, Node, Op, Origin, Value, ValueIndex};
use super::fused;
use super::stored::View;
use crate::foreign::onnx::{OnnxGraph, OnnxNode};
use mobilebert::format::{Checkpoint, ElementType};

pub(super) fn flow(file: &str, graph: OnnxGraph, checkpoint: Checkpoint) -> Flow {
    let mut builder = Builder { checkpoint, values: Vec::new(), indices: HashMap::new(), nodes: Vec::new() };
    let constants: Vec<(String, View)> = builder
        .checkpoint
        .entries()
        .map(|(name, entry)| (name.to_owned(), View::new(name, &entry.shape)))
        .collect();
    for (name, view) in constants {
        let index = builder.index(&name);
        builder.values[index].origin = Origin::Constant(view);
    }
    for input in &graph.inputs {
        // Old files list constants among the inputs too.
        builder.define(input, Origin::Input);
    }
    for node in graph.nodes {
        if node.op == "Constant" {
            continue;
        }
        let input = |name: &String| (!name.is_empty()).then(|| builder.index(name));
        let mut inputs: Vec<Option<ValueIndex>> = node.inputs.iter().map(input).collect();
        if fused::lower(&mut builder, &node, &inputs).is_some() {
            continue;
        }
        if clips_below_zero(&builder.checkpoint, &node)
            && let Some(input) = inputs.first().copied().flatten()
            && matches!(builder.producer(input), Some(Node { op: Op::Add | Op::Linear { .. }, .. }))
        {
            // ONNX Runtime's quantiser drops a relu in front of a type that cannot hold negative numbers.
            let name = node.outputs.first().map_or("", String::as_str);
            inputs[0] = Some(builder.push(Op::ImpliedRelu, vec![Some(input)], name, node.offset));
        }
        let name = if node.name.is_empty() { node.outputs.first() } else { Some(&node.name) };
        let name = name.cloned().unwrap_or_default();
        builder.nodes.push(Node { op: op(&node), inputs, name, offset: node.offset });
        for (port, output) in node.outputs.iter().enumerate() {
            builder.define(output, Origin::Node(builder.nodes.len() - 1, port));
        }
    }
    let outputs = graph.outputs.iter().map(|name| builder.index(name)).collect();
    let Builder { checkpoint, values, nodes, .. } = builder;
    Flow { file: file.to_owned(), checkpoint, values, nodes, outputs }
}

/// A graph in the making, and its values by their names.
pub(super) struct Builder {
    pub(super) checkpoint: Checkpoint,
    values: Vec<Value>,
    indices: HashMap<String, ValueIndex>,
    nodes: Vec<Node>,
}

impl Builder {
    /// Returns the value of a name. A new one comes from nowhere yet.
    fn index(&mut self, name: &str) -> ValueIndex {
        if let Some(&index) = self.indices.get(name) {
            return index;
        }
        let index = self.value(name, Origin::Nowhere);
        self.indices.insert(name.to_owned(), index);
        index
    }

    /// Adds a value that no operator of the file reads by its name.
    pub(super) fn value(&mut self, name: &str, origin: Origin) -> ValueIndex {
        self.values.push(Value { name: name.to_owned(), origin });
        self.values.len() - 1
    }

    /// Says where the value of a name comes from, unless that was said before.
    fn define(&mut self, name: &str, origin: Origin) {
        let index = self.index(name);
        if matches!(self.values[index].origin, Origin::Nowhere) {
            self.values[index].origin = origin;
        }
    }

    /// Says that the value of a name is the same as another value.
    pub(super) fn alias(&mut self, name: &str, value: ValueIndex) {
        if self.indices.contains_key(name) {
            self.define(name, self.values[value].origin.clone());
        } else {
            self.indices.insert(name.to_owned(), value);
        }
    }

    /// Adds an operator with one output, and returns that.
    pub(super) fn push(
        &mut self,
        op: Op,
        inputs: Vec<Option<ValueIndex>>,
        name: &str,
        offset: usize,
    ) -> ValueIndex {
        self.nodes.push(Node { op, inputs, name: name.to_owned(), offset });
        self.value(name, Origin::Node(self.nodes.len() - 1, 0))
    }

    /// Returns the operator that produces a value, if it was read before.
    pub(super) fn producer(&self, value: ValueIndex) -> Option<&Node> {
        match self.values[value].origin {
            Origin::Node(node, _) => self.nodes.get(node),
            _ => None,
        }
    }

    /// Returns a constant, if a value is one.
    pub(super) fn constant(&self, value: ValueIndex) -> Option<&View> {
        match &self.values[value].origin {
            Origin::Constant(view) => Some(view),
            _ => None,
        }
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
    let other = || match node.domain.as_str() {
        "" | "ai.onnx" => Op::Other(node.op.clone()),
        domain => Op::Other(format!("{domain}.{}", node.op)),
    };
    let is_own = matches!(node.domain.as_str(), "" | "ai.onnx");
    let is_microsoft = node.domain == "com.microsoft";
    if !is_own && !is_microsoft {
        return other();
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
