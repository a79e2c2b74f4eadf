//! A foreign graph as dataflow, with operators of all formats under one name, and the ways to walk it from a
//! value to where it comes from.

use super::stored::View;
use mobilebert::ErrorKind;
use mobilebert::format::Checkpoint;

/// Index into [`Flow::values`].
pub(super) type ValueIndex = usize;

/// How far to look along operators that only reshape, and through the arithmetic of one formula.
pub(super) const FAR: usize = 32;

/// More inputs than any operator of a formula has.
pub(super) const WIDE: usize = 16;

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

/// Where a value comes from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    Input,
    Constant(View),
    /// Output `.1` of a node.
    Node(usize, usize),
    /// Nothing in the file produces it.
    Nowhere,
}

pub(super) struct Node {
    pub(super) op: Op,
    pub(super) inputs: Vec<Option<ValueIndex>>,
    /// Its name and place in the file.
    pub(super) name: String,
    pub(super) offset: usize,
}

/// What a node computes. Shapes, permutations and the axis of a softmax are not kept: the reader has no use
/// for them.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Op {
    MatMul,
    /// The product of int8 activations and weights. Its inputs are the two, then their zero points.
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
    /// The input, cut off at 0 and at 6.
    Relu6,
    Gelu,
    GeluTanh,
    Mean,
    SquaredDifference,
    Softmax,
    /// Attention of queries, keys and values, whose scores are scaled by `scale` or by 1/sqrt(head size).
    Attention {
        scale: Option<f32>,
    },
    LayerNorm {
        eps: f32,
    },
    /// Looks up rows of the first input.
    Gather {
        axis: i64,
    },
    /// Turns each index into a row of zeros with a one at its place.
    OneHot,
    Concat,
    /// Puts values side by side along a new dimension.
    Pack,
    Pad,
    Slice,
    Split,
    Where,
    /// The larger or the smaller of two.
    Clip,
    /// The shape of a value, which does not depend on its numbers.
    Shape,
    /// The same numbers in another shape or type.
    View,
    Transpose,
    /// Rounds numbers to integers.
    Quantize,
    /// Turns integers into numbers. Scale and zero point are inputs.
    Dequantize {
        axis: i64,
    },
    Other(String),
}

impl Node {
    /// An input, unless the node has none there.
    pub(super) fn input(&self, index: usize) -> Option<ValueIndex> {
        self.inputs.get(index).copied().flatten()
    }
}

impl Flow {
    /// Returns what produces a value.
    pub(super) fn node(&self, value: ValueIndex) -> Option<&Node> {
        match self.values[value].origin {
            Origin::Node(node, _) => self.nodes.get(node),
            _ => None,
        }
    }

    pub(super) fn is(&self, value: ValueIndex, op: &Op) -> bool {
        self.node(value).is_some_and(|node| node.op == *op)
    }

    /// The operands of a node of two.
    pub(super) fn pair(&self, value: ValueIndex, op: &Op) -> Option<[ValueIndex; 2]> {
        let node = self.node(value).filter(|node| node.op == *op)?;
        Some([node.input(0)?, node.input(1)?])
    }

    /// The value behind operators that only reshape, transpose, cast or quantise it.
    pub(super) fn peel(&self, value: ValueIndex) -> ValueIndex {
        self.peel_turning(value).0
    }

    /// The same, and whether rows and columns are exchanged on the way.
    pub(super) fn peel_turning(&self, mut value: ValueIndex) -> (ValueIndex, bool) {
        let mut turned = false;
        for _ in 0..FAR {
            let Some(node) = self.node(value) else { break };
            let Some(input) = node.input(0) else { break };
            let looked_up = matches!(self.node(input), Some(Node { op: Op::Gather { .. }, .. }));
            match node.op {
                // The scale of an int8 table that rows were looked up in.
                Op::Dequantize { .. } if looked_up => break,
                Op::View | Op::Quantize | Op::Dequantize { .. } => {}
                Op::Transpose => turned ^= self.exchanges(node),
                _ => break,
            }
            value = input;
        }
        (value, turned)
    }

    /// Tells whether a transposition puts the last dimension before the one that was before it.
    fn exchanges(&self, node: &Node) -> bool {
        let order = node.input(1).and_then(|order| self.numbers(order)).unwrap_or_default();
        let rank = order.len() as f64;
        matches!(order.as_slice(), [.., a, b] if (*a, *b) == (rank - 1.0, rank - 2.0))
    }

    /// As [`Flow::peel`], and behind operators that keep a part of it.
    pub(super) fn peel_parts(&self, mut value: ValueIndex) -> ValueIndex {
        for _ in 0..FAR {
            value = self.peel(value);
            let part = self.node(value).filter(|node| matches!(node.op, Op::Slice | Op::Split));
            let Some(whole) = part.and_then(|node| node.input(0)) else { break };
            value = whole;
        }
        value
    }

    /// The logits behind an output, which may be one of their parts or their softmax.
    pub(super) fn logits(&self, output: ValueIndex) -> ValueIndex {
        let value = self.peel_parts(output);
        match self.node(value) {
            Some(Node { op: Op::Softmax, inputs, .. }) => {
                inputs.first().copied().flatten().map_or(value, |logits| self.peel(logits))
            }
            _ => value,
        }
    }

    /// Tells whether a value is the same for every text: made of constants and of shapes.
    pub(super) fn is_static(&self, value: ValueIndex) -> bool {
        let mut stack = vec![value];
        let mut steps = 0;
        while let Some(value) = stack.pop() {
            steps += 1;
            if steps > FAR * FAR {
                return false;
            }
            match &self.values[value].origin {
                Origin::Constant(_) => {}
                Origin::Input | Origin::Nowhere => return false,
                Origin::Node(node, _) => {
                    let node = &self.nodes[*node];
                    if node.inputs.len() > WIDE {
                        return false;
                    }
                    if node.op != Op::Shape {
                        stack.extend(node.inputs.iter().flatten());
                    }
                }
            }
        }
        true
    }

    /// Tells whether a value is an input of the model, perhaps in another shape or type.
    pub(super) fn is_input(&self, value: ValueIndex) -> bool {
        matches!(self.values[self.peel(value)].origin, Origin::Input)
    }

    /// An error at a value: what the module asks for there and what the file has.
    pub(super) fn mismatch(&self, module: &str, value: ValueIndex, expected: &str) -> mobilebert::Error {
        let found = match (self.node(value), &self.values[value].origin) {
            (Some(Node { op: Op::Other(op), .. }), _) => format!("the operator {op}"),
            (Some(node), _) => format!("{:?}", node.op),
            (None, Origin::Constant(view)) => format!("a constant of shape {:?}", view.shape()),
            (None, Origin::Input) => "an input of the model".to_owned(),
            (None, _) => "nothing that produces it".to_owned(),
        };
        self.mismatch_of(module, value, expected, &found)
    }

    /// The same, for something found that says more than the operator.
    pub(super) fn mismatch_of(
        &self,
        module: &str,
        value: ValueIndex,
        expected: &str,
        found: &str,
    ) -> mobilebert::Error {
        let place = match self.node(value) {
            Some(node) => format!("node `{}` at byte {}", node.name, node.offset),
            None => format!("value `{}`", self.values[value].name),
        };
        self.error(place, module, expected, found, hint_at(module))
    }

    /// An error about the whole graph: what the module needs is not in it.
    pub(super) fn missing(&self, module: &str, expected: &str) -> mobilebert::Error {
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
    ) -> mobilebert::Error {
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

/// Returns what to try where a graph differs. How attention is written down is up to the exporter; nothing
/// else is.
fn hint_at(module: &str) -> &'static str {
    if module.contains("attention.self") {
        "check the configuration (--config FILE), or export the model again from Hugging Face's implementation with \
         attn_implementation=\"eager\""
    } else {
        "check the configuration (--config FILE); if the graph is not that of Hugging Face's implementation, it cannot be \
         converted"
    }
}
