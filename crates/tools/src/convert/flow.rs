//! The dataflow of a foreign graph. The operators of all formats have common names here, and values can be
//! traced back to where they come from.

use std::collections::HashSet;

use super::stored::View;
use mobilebert::format::Checkpoint;
use mobilebert::{Error, ErrorKind};

/// An index into [`Flow::values`].
pub(super) type ValueIndex = usize;

/// The number of steps to look along operators that only reshape, and through the arithmetic of one formula.
pub(super) const FAR: usize = 32;

/// A number of inputs that no operator of a formula exceeds.
pub(super) const WIDE: usize = 16;

/// What to do about a graph that computes something that this architecture does not.
const OTHER_ARCHITECTURE: &str =
    "the model is of another architecture and cannot be converted, however it is exported";

/// The most inputs of operators that are looked at to find out what a value depends on. That is many times as
/// many as any exporter computes positions or masks with.
const DEPENDENCIES: usize = 1 << 12;

/// A graph and its constants.
pub(super) struct Flow {
    pub(super) file: String,
    pub(super) checkpoint: Checkpoint,
    pub(super) values: Vec<Value>,
    pub(super) nodes: Vec<Node>,
    pub(super) outputs: Vec<ValueIndex>,
}

pub(super) struct Value {
    pub(super) name: String,
    pub(super) origin: Origin,
}

/// What the numbers of a value depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dependence {
    /// They are the same for every text.
    Nothing,
    /// They depend on an input of the model.
    Input,
    /// It cannot be told.
    Unknown,
}

/// The origin of a value.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    Input,
    Constant(View),
    /// Output `.1` of node `.0`.
    Node(usize, usize),
    /// The file has nothing that produces the value.
    Nowhere,
}

pub(super) struct Node {
    pub(super) op: Op,
    pub(super) inputs: Vec<Option<ValueIndex>>,
    /// The name of the node in the file.
    pub(super) name: String,
    pub(super) offset: usize,
}

/// The operation of a node. Shapes, permutations and the axis of a softmax are not kept because the reader
/// has no use for them.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Op {
    MatMul,
    /// The product of int8 activations and weights. Its inputs are these two, then their zero points.
    MatMulInteger,
    /// `x * W^T + b`, or `x * W + b` if the weight is transposed.
    Linear {
        transposed: bool,
    },
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Sqrt,
    Rsqrt,
    Erf,
    Tanh,
    Relu,
    /// A relu that the file does not have, but that quantising to a type without negative numbers computes.
    ImpliedRelu,
    /// The input, cut off at 0 and at 6.
    Relu6,
    Gelu,
    GeluTanh,
    Mean,
    SquaredDifference,
    Softmax,
    /// The attention of queries, keys and values, whose scores are scaled by `scale` or by 1/sqrt(head size).
    Attention {
        scale: Option<f32>,
    },
    LayerNorm {
        eps: f32,
    },
    /// The lookup of rows of the first input.
    Gather {
        axis: i64,
    },
    /// A row for each index, with a one at its place and zeros elsewhere.
    OneHot,
    Concat,
    /// The values side by side along a new dimension.
    Pack,
    Pad,
    Slice,
    Split,
    Where,
    /// The larger or the smaller of two values.
    Clip,
    /// The shape of a value, which does not depend on its numbers.
    Shape,
    /// The same numbers in another shape or type.
    View,
    Transpose,
    /// The numbers, rounded to integers.
    Quantize,
    /// The numbers that integers stand for. Scale and zero point are inputs.
    Dequantize {
        axis: i64,
    },
    Other(String),
}

impl Node {
    /// Returns an input, unless the node has none at this index.
    pub(super) fn input(&self, index: usize) -> Option<ValueIndex> {
        self.inputs.get(index).copied().flatten()
    }
}

impl Flow {
    /// Returns the node that produces a value.
    pub(super) fn node(&self, value: ValueIndex) -> Option<&Node> {
        match self.values[value].origin {
            Origin::Node(node, _) => self.nodes.get(node),
            _ => None,
        }
    }

    pub(super) fn is(&self, value: ValueIndex, op: &Op) -> bool {
        self.node(value).is_some_and(|node| node.op == *op)
    }

    /// Does the same as [`Flow::peel`], and also looks behind a relu that is only implied. The caller knows
    /// that the value cannot be negative.
    pub(super) fn peel_positive(&self, value: ValueIndex) -> ValueIndex {
        let value = self.peel(value);
        let implied = self.node(value).filter(|node| node.op == Op::ImpliedRelu);
        implied.and_then(|node| node.input(0)).map_or(value, |input| self.peel(input))
    }

    /// Returns the two operands of a node.
    pub(super) fn pair(&self, value: ValueIndex, op: &Op) -> Option<[ValueIndex; 2]> {
        let node = self.node(value).filter(|node| node.op == *op)?;
        Some([node.input(0)?, node.input(1)?])
    }

    /// Returns the value behind operators that only reshape, transpose, cast or quantise it.
    pub(super) fn peel(&self, value: ValueIndex) -> ValueIndex {
        self.peel_turning(value).0
    }

    /// Does the same as [`Flow::peel`], and tells whether rows and columns are exchanged on the way.
    pub(super) fn peel_turning(&self, mut value: ValueIndex) -> (ValueIndex, bool) {
        let mut turned = false;
        for _ in 0..FAR {
            let Some(node) = self.node(value) else { break };
            let Some(input) = node.input(0) else { break };
            let looked_up = matches!(self.node(input), Some(Node { op: Op::Gather { .. }, .. }));
            match node.op {
                // This is the scale of an int8 table that rows were looked up in.
                Op::Dequantize { .. } if looked_up => break,
                Op::View | Op::Quantize | Op::Dequantize { .. } => {}
                Op::Transpose => turned ^= self.exchanges(node),
                _ => break,
            }
            value = input;
        }
        (value, turned)
    }

    /// Returns true if a transposition exchanges the last two dimensions.
    fn exchanges(&self, node: &Node) -> bool {
        let order = node.input(1).and_then(|order| self.numbers(order)).unwrap_or_default();
        let rank = order.len() as f64;
        matches!(order.as_slice(), [.., a, b] if (*a, *b) == (rank - 1.0, rank - 2.0))
    }

    /// Does the same as [`Flow::peel`], and also looks behind operators that keep a part of the value.
    pub(super) fn peel_parts(&self, mut value: ValueIndex) -> ValueIndex {
        for _ in 0..FAR {
            value = self.peel(value);
            let part = self.node(value).filter(|node| matches!(node.op, Op::Slice | Op::Split));
            let Some(whole) = part.and_then(|node| node.input(0)) else { break };
            value = whole;
        }
        value
    }

    /// Returns the logits behind an output, which may be a part of them or their softmax.
    pub(super) fn logits(&self, output: ValueIndex) -> ValueIndex {
        let value = self.peel_parts(output);
        match self.node(value) {
            Some(Node { op: Op::Softmax, inputs, .. }) => {
                inputs.first().copied().flatten().map_or(value, |logits| self.peel(logits))
            }
            _ => value,
        }
    }

    /// Returns true if a value is the same for every text, because it is made of constants and of shapes.
    pub(super) fn is_static(&self, value: ValueIndex) -> bool {
        self.dependence(value) == Dependence::Nothing
    }

    /// Returns true if the numbers of an input of the model take part in the computation of a value.
    pub(super) fn is_of_input(&self, value: ValueIndex) -> bool {
        self.dependence(value) == Dependence::Input
    }

    fn dependence(&self, value: ValueIndex) -> Dependence {
        let (mut seen, mut stack) = (HashSet::from([value]), vec![value]);
        let mut steps = 0;
        let mut found = Dependence::Nothing;
        while let Some(value) = stack.pop() {
            match self.values[value].origin {
                Origin::Constant(_) => {}
                Origin::Input => return Dependence::Input,
                Origin::Nowhere => found = Dependence::Unknown,
                Origin::Node(node, _) => {
                    // The numbers of a value have no part in its shape.
                    let node = &self.nodes[node];
                    let inputs = if node.op == Op::Shape { &[][..] } else { node.inputs.as_slice() };
                    steps += inputs.len();
                    if steps > DEPENDENCIES {
                        return Dependence::Unknown;
                    }
                    stack.extend(inputs.iter().flatten().copied().filter(|&input| seen.insert(input)));
                }
            }
        }
        found
    }

    /// Returns true if a value is an input of the model, perhaps in another shape or type.
    pub(super) fn is_input(&self, value: ValueIndex) -> bool {
        matches!(self.values[self.peel(value)].origin, Origin::Input)
    }

    /// Returns an error at a value, with what the module needs there and what the file has.
    pub(super) fn mismatch(&self, module: &str, value: ValueIndex, expected: &str) -> Error {
        self.mismatch_of(module, value, expected, &self.found(value))
    }

    /// Returns an error at a value that only models of other architectures compute.
    pub(super) fn other_architecture(&self, module: &str, value: ValueIndex, expected: &str) -> Error {
        self.error(self.place(value), module, expected, &self.found(value), OTHER_ARCHITECTURE)
    }

    fn found(&self, value: ValueIndex) -> String {
        match (self.node(value), &self.values[value].origin) {
            (Some(Node { op: Op::Other(op), .. }), _) => format!("the operator {op}"),
            (Some(node), _) => format!("{:?}", node.op),
            (None, Origin::Constant(view)) => format!("a constant of shape {:?}", view.shape()),
            (None, Origin::Input) => "an input of the model".to_owned(),
            (None, _) => "nothing that produces it".to_owned(),
        }
    }

    fn place(&self, value: ValueIndex) -> String {
        match self.node(value) {
            Some(node) => format!("node `{}` at byte {}", node.name, node.offset),
            None => format!("value `{}`", self.values[value].name),
        }
    }

    /// Does the same as [`Flow::mismatch`], with a more precise description of what was found.
    pub(super) fn mismatch_of(&self, module: &str, value: ValueIndex, expected: &str, found: &str) -> Error {
        self.error(self.place(value), module, expected, found, hint_at(module))
    }

    /// Returns an error about the whole graph, which lacks what the module needs.
    pub(super) fn missing(&self, module: &str, expected: &str) -> Error {
        let hint = "place the model's config.json beside the file, or pass --config FILE; if the graph is of another \
                    architecture, it cannot be converted";
        self.error("the graph".to_owned(), module, expected, "none", hint)
    }

    pub(super) fn error(
        &self,
        place: String,
        module: &str,
        expected: &str,
        found: &str,
        hint: &'static str,
    ) -> Error {
        ErrorKind::Conversion {
            file: self.file.clone(),
            place: place.into(),
            module: module.into(),
            expected: expected.to_owned(),
            found: found.to_owned(),
            hint: hint.into(),
        }
        .into()
    }
}

/// Returns true for the errors of [`Flow::other_architecture`].
pub(super) fn is_of_other_architecture(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Conversion { hint, .. } if **hint == *OTHER_ARCHITECTURE)
}

/// Returns a hint for a module where the graph differs. Exporters may write attention in different ways, so
/// another exporter can help only there.
fn hint_at(module: &str) -> &'static str {
    if module.contains("attention.self") {
        "check the configuration (--config FILE), or export the model again from Hugging Face's implementation with \
         attn_implementation=\"eager\""
    } else {
        "check the configuration (--config FILE); if the graph is not that of Hugging Face's implementation, it \
         cannot be converted"
    }
}
