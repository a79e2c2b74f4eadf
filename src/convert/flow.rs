//! A foreign graph as dataflow, with operators of all formats under one name, and what can be said about a value by
//! looking at where it comes from.

use std::collections::HashMap;

use super::stored::{Affine, View};
use crate::error::ErrorKind;
use crate::format::{Checkpoint, ElementType};

/// Index into [`Flow::values`].
pub(super) type ValueIndex = usize;

/// How far to look along operators that only reshape, and through the arithmetic of one formula.
const FAR: usize = 32;

/// More inputs than any operator of a formula has.
const WIDE: usize = 16;

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

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Op {
    MatMul,
    /// Of int8 activations and weights: inputs, then their zero points.
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
    Gelu,
    GeluTanh,
    Mean,
    SquaredDifference,
    Softmax,
    /// Of queries, keys and values, with a scale or with 1/sqrt(head size).
    Attention {
        scale: Option<f32>,
    },
    LayerNorm {
        eps: f32,
    },
    /// Rows of the first input.
    Gather {
        axis: i64,
    },
    Concat,
    Pad,
    Slice,
    Split,
    Where,
    /// Of a value, not of what is in it.
    Shape,
    /// The same numbers in another shape or type.
    View,
    Transpose,
    /// To integers: the same numbers, rounded.
    Quantize,
    /// From integers: scale and zero point are inputs.
    Dequantize {
        axis: i64,
    },
    Other(String),
}

impl Flow {
    /// What produces a value.
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
        match self.node(value) {
            Some(Node { op: found, inputs, .. }) if found == op => match inputs.as_slice() {
                [Some(a), Some(b), ..] => Some([*a, *b]),
                _ => None,
            },
            _ => None,
        }
    }

    /// The value behind operators that only reshape, transpose, cast or quantise it.
    pub(super) fn peel(&self, mut value: ValueIndex) -> ValueIndex {
        for _ in 0..FAR {
            match self.node(value) {
                Some(Node {
                    op: Op::View | Op::Transpose | Op::Quantize | Op::Dequantize { .. },
                    inputs,
                    ..
                }) => {
                    match inputs.first() {
                        // The scale of an int8 table that rows were looked up in.
                        Some(Some(input))
                            if matches!(self.node(*input), Some(Node { op: Op::Gather { .. }, .. }))
                                && self.is_dequantized(value) =>
                        {
                            return value;
                        }
                        Some(Some(input)) => value = *input,
                        _ => return value,
                    }
                }
                _ => return value,
            }
        }
        value
    }

    fn is_dequantized(&self, value: ValueIndex) -> bool {
        matches!(self.node(value), Some(Node { op: Op::Dequantize { .. }, .. }))
    }

    /// As [`Flow::peel`], and behind operators that keep a part of it.
    pub(super) fn peel_parts(&self, mut value: ValueIndex) -> ValueIndex {
        for _ in 0..FAR {
            value = self.peel(value);
            match self.node(value) {
                Some(Node { op: Op::Slice | Op::Split, inputs, .. }) => match inputs.first() {
                    Some(Some(input)) => value = *input,
                    _ => return value,
                },
                _ => return value,
            }
        }
        value
    }

    /// A constant, also behind operators that an exporter might have computed itself.
    pub(super) fn constant(&self, value: ValueIndex) -> Option<View> {
        self.constant_within(value, FAR)
    }

    fn constant_within(&self, value: ValueIndex, depth: usize) -> Option<View> {
        if let Origin::Constant(view) = &self.values[value].origin {
            return Some(view.clone());
        }
        let node = self.node(value)?;
        let input = (*node.inputs.first()?)?;
        let depth = depth.checked_sub(1)?;
        match node.op {
            Op::View | Op::Quantize => self.constant_within(input, depth),
            Op::Transpose => {
                let view = self.constant_within(input, depth)?;
                (view.shape.len() == 2).then(|| view.transpose())
            }
            Op::Dequantize { axis } => {
                if self.is(input, &Op::Quantize) {
                    return self.constant_within(input, depth);
                }
                let mut view = self.constant_within(input, depth)?;
                let scale = (*node.inputs.get(1)?)?;
                view.affine =
                    Some(self.affine(scale, node.inputs.get(2).copied().flatten(), axis, &view.shape)?);
                Some(view)
            }
            _ => None,
        }
    }

    /// Scales and zero points of a tensor of the given shape.
    pub(super) fn affine(
        &self,
        scale: ValueIndex,
        zero: Option<ValueIndex>,
        axis: i64,
        shape: &[usize],
    ) -> Option<Affine> {
        let scales = self.numbers(scale)?.into_iter().map(|n| n as f32).collect();
        let zeros = match zero {
            Some(zero) => self.numbers(zero)?.into_iter().map(|n| n as i32).collect(),
            None => Vec::new(),
        };
        let axis = if axis < 0 { axis + shape.len() as i64 } else { axis };
        let affine = Affine { scales, zeros, axis: usize::try_from(axis).unwrap_or(0) };
        affine.fits(shape).then_some(affine)
    }

    /// A constant of `width` numbers, one for each column.
    pub(super) fn vector(&self, value: ValueIndex, width: usize) -> Option<View> {
        let mut view = self.constant(value)?;
        let elements = view.shape.iter().product::<usize>();
        if elements != width || view.shape.last() != Some(&width) {
            return None;
        }
        let affine_axis = view.shape.len() - 1;
        if let Some(affine) = &mut view.affine {
            if affine.scales.len() > 1 && affine.axis != affine_axis {
                return None;
            }
            affine.axis = 0;
        }
        view.shape = vec![width];
        Some(view)
    }

    /// A constant matrix, without dimensions of size 1 in front.
    pub(super) fn matrix(&self, value: ValueIndex) -> Option<View> {
        let mut view = self.constant(value)?;
        while view.shape.len() > 2 && view.shape[0] == 1 {
            view.shape.remove(0);
            if let Some(affine) = &mut view.affine {
                affine.axis = affine.axis.saturating_sub(1);
            }
        }
        (view.shape.len() == 2).then_some(view)
    }

    /// A constant of one number.
    pub(super) fn scalar(&self, value: ValueIndex) -> Option<f32> {
        let view = self.constant(value)?;
        if view.shape.iter().product::<usize>() != 1 {
            return None;
        }
        match &view.affine {
            Some(_) => view.read(&self.checkpoint).ok()?.first().copied(),
            None => self.checkpoint.numbers(&view.name).ok()?.first().map(|&n| n as f32),
        }
    }

    /// A small constant's numbers, as stored.
    pub(super) fn numbers(&self, value: ValueIndex) -> Option<Vec<f64>> {
        let view = self.constant(value)?;
        self.checkpoint.numbers(&view.name).ok()
    }

    /// Whether a value is the same for every text: made of constants and of shapes.
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

    /// Whether a value is an input of the model, perhaps in another shape or type.
    pub(super) fn is_input(&self, value: ValueIndex) -> bool {
        matches!(self.values[self.peel(value)].origin, Origin::Input)
    }

    /// `x * gamma + beta` over columns.
    pub(super) fn scaled(&self, value: ValueIndex, width: usize) -> Option<(ValueIndex, View, View)> {
        let (product, beta) = self.with_vector(value, &Op::Add, width)?;
        let (x, gamma) = self.with_vector(self.peel(product), &Op::Mul, width)?;
        Some((self.peel(x), gamma, beta))
    }

    /// The operands of a node of which one is a constant vector.
    pub(super) fn with_vector(&self, value: ValueIndex, op: &Op, width: usize) -> Option<(ValueIndex, View)> {
        let [a, b] = self.pair(value, op)?;
        match (self.vector(a, width), self.vector(b, width)) {
            (None, Some(view)) => Some((a, view)),
            (Some(view), None) => Some((b, view)),
            _ => None,
        }
    }

    /// What a layer norm without gamma and beta reads, and its epsilon: `value` is arithmetic on one value and contains its
    /// mean and a root.
    pub(super) fn normalized(&self, value: ValueIndex) -> Option<(ValueIndex, f32)> {
        let formula = self.formula(value, None)?;
        let mean_of = |&node: &usize| match &self.nodes[node] {
            Node { op: Op::Mean, inputs, .. } => inputs.first().copied().flatten().map(|v| self.peel(v)),
            _ => None,
        };
        // Of the two means, the variance's is over squares.
        let is_square = |value: ValueIndex| {
            let node = self.node(value);
            node.is_some_and(|n| match n.op {
                Op::SquaredDifference | Op::Pow => true,
                Op::Mul => n.inputs.first() == n.inputs.get(1),
                _ => false,
            })
        };
        let x = formula.iter().filter_map(mean_of).find(|&x| !is_square(x))?;
        let formula = self.formula(value, Some(x))?;
        let eps = formula.iter().find_map(|&node| match &self.nodes[node] {
            Node { op: Op::Sqrt | Op::Rsqrt, inputs, .. } => {
                let [a, b] = self.pair(self.peel((*inputs.first()?)?), &Op::Add)?;
                self.scalar(a).or_else(|| self.scalar(b))
            }
            _ => None,
        })?;
        Some((x, eps))
    }

    /// What a decomposed GELU reads, and whether it is the tanh form.
    pub(super) fn gelu(&self, value: ValueIndex) -> Option<(ValueIndex, bool)> {
        let [a, b] = self.pair(value, &Op::Mul)?;
        // The formula's own input is an operand of a product somewhere at its top.
        let mut candidates = vec![a, b];
        candidates.extend(self.pair(self.peel(a), &Op::Mul).into_iter().flatten());
        candidates.extend(self.pair(self.peel(b), &Op::Mul).into_iter().flatten());
        candidates.into_iter().map(|x| self.peel(x)).find_map(|x| {
            let formula = self.formula(value, Some(x))?;
            let has = |op: &Op| formula.iter().any(|&node| self.nodes[node].op == *op);
            match (has(&Op::Erf), has(&Op::Tanh)) {
                (true, false) => Some((x, false)),
                (false, true) => Some((x, true)),
                _ => None,
            }
        })
    }

    /// The nodes of an element-wise formula (means included) whose other leaves are single numbers: down to `leaf`, which
    /// has to be the only value it is about, or as far as the arithmetic goes.
    fn formula(&self, value: ValueIndex, leaf: Option<ValueIndex>) -> Option<Vec<usize>> {
        let mut nodes = Vec::new();
        let mut stack = vec![value];
        while let Some(value) = stack.pop() {
            if leaf == Some(value) || self.scalar(value).is_some() {
                continue;
            }
            let Origin::Node(index, _) = self.values[value].origin else {
                if leaf.is_some() {
                    return None;
                }
                continue;
            };
            let node = &self.nodes[index];
            let arithmetic = matches!(
                node.op,
                Op::Add
                    | Op::Sub
                    | Op::Mul
                    | Op::Div
                    | Op::Pow
                    | Op::Sqrt
                    | Op::Rsqrt
                    | Op::Erf
                    | Op::Tanh
                    | Op::SquaredDifference
            );
            match node.op {
                _ if nodes.contains(&index) => {}
                _ if arithmetic => {
                    nodes.push(index);
                    stack.extend(node.inputs.iter().take(WIDE).flatten());
                }
                Op::Mean | Op::View | Op::Quantize | Op::Dequantize { .. } => {
                    nodes.push(index);
                    stack.extend(node.inputs.first().copied().flatten());
                }
                _ if leaf.is_some() => return None,
                _ => {}
            }
            if nodes.len() > FAR {
                return if leaf.is_some() { None } else { Some(nodes) };
            }
        }
        Some(nodes)
    }

    /// An error at a value: what the module asks for there and what the file has.
    pub(super) fn mismatch(&self, module: &str, value: ValueIndex, expected: &str) -> crate::Error {
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
    ) -> crate::Error {
        let place = match self.node(value) {
            Some(node) => format!("node `{}` at byte {}", node.name, node.offset),
            None => format!("value `{}`", self.values[value].name),
        };
        ErrorKind::Conversion {
            file: self.file.clone(),
            place: place.into(),
            module: module.into(),
            expected: expected.to_owned(),
            found: found.to_owned(),
            hint: "check the configuration (--config FILE), or export the model again from Hugging Face's \
                   implementation with attn_implementation=\"eager\""
                .into(),
        }
        .into()
    }

    /// Whether a constant holds integers.
    pub(super) fn is_integer(&self, view: &View) -> bool {
        let dtype = self.checkpoint.entry(&view.name).and_then(|entry| entry.dtype.clone().ok());
        matches!(dtype, Some(ElementType::I8 | ElementType::U8 | ElementType::I32))
    }
}

/// Values by name, for formats that name them.
#[derive(Default)]
pub(super) struct Names {
    pub(super) values: Vec<Value>,
    indices: HashMap<String, ValueIndex>,
}

impl Names {
    /// The value of a name; one that is new comes from nowhere yet.
    pub(super) fn index(&mut self, name: &str) -> ValueIndex {
        if let Some(&index) = self.indices.get(name) {
            return index;
        }
        self.values.push(Value { name: name.to_owned(), origin: Origin::Nowhere });
        self.indices.insert(name.to_owned(), self.values.len() - 1);
        self.values.len() - 1
    }

    pub(super) fn set(&mut self, name: &str, origin: Origin) {
        let index = self.index(name);
        self.values[index].origin = origin;
    }
}
