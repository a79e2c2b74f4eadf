//! Recognises the forms in which exporters write a lookup, a linear, a norm and an activation. The forms of
//! an attention are in `attention.rs`.

use super::flow::{FAR, Flow, Node, Op, Origin, ValueIndex, WIDE};
use super::stored::View;
use mobilebert::graph::Activation;

/// A linear, `x * W^T + b`.
pub(super) struct Linear {
    pub(super) input: ValueIndex,
    /// The weight, of shape `[out, in]`.
    pub(super) weight: View,
    pub(super) bias: Option<View>,
}

/// A layer norm, `(x - mean) / sqrt(variance + eps) * gamma + beta`.
pub(super) struct LayerNorm {
    pub(super) input: ValueIndex,
    pub(super) eps: f32,
    /// Gamma and beta; `None` if they are folded into what follows.
    pub(super) affine: Option<[View; 2]>,
}

impl Linear {
    /// Returns true if the linear can be computed with a weight of this shape.
    pub(super) fn fits(&self, flow: &Flow, shape: &[usize]) -> bool {
        self.weight.shape() == shape || self.is_half_of(flow, shape)
    }

    /// Returns true if the linear reads activations cut off at 6 and has half the columns of this shape. The
    /// architecture has twice as many activations for them: those from 0 and, with the opposite sign, those
    /// from 6.
    pub(super) fn is_half_of(&self, flow: &Flow, shape: &[usize]) -> bool {
        let found = self.weight.shape();
        matches!((shape, found.as_slice()), (&[rows, columns], &[r, c]) if r == rows && c.checked_mul(2) == Some(columns))
            && flow.is(self.input, &Op::Relu6)
    }
}

impl Flow {
    /// Returns the table and the indices of a lookup. An int8 table may be dequantised behind the lookup.
    pub(super) fn gather(&self, mut value: ValueIndex) -> Option<(View, ValueIndex)> {
        /// The most operators between the rows of a table and what reads them.
        const FAR: usize = 8;
        let mut scales = None;
        for _ in 0..FAR {
            let node = self.node(value)?;
            match node.op {
                Op::View | Op::Quantize => value = node.input(0)?,
                Op::Dequantize { axis } => {
                    scales = Some((node.input(1)?, node.input(2), axis));
                    value = node.input(0)?;
                }
                Op::Gather { axis: 0 } => {
                    let mut table = self.matrix(node.input(0)?)?;
                    if let Some((scale, zero, axis)) = scales
                        && table.affine.is_none()
                        && self.is_integer(&table)
                    {
                        table.affine = Some(self.affine(scale, zero, axis, &table.shape)?);
                    }
                    return Some((table, node.input(1)?));
                }
                Op::MatMul | Op::Linear { .. } => return self.one_hot_product(value),
                _ => return None,
            }
        }
        None
    }

    /// Recognises a lookup that is written as the product of one-hot rows and a table. Returns the table and
    /// the indices of the ones.
    fn one_hot_product(&self, value: ValueIndex) -> Option<(View, ValueIndex)> {
        let linear = self.product(value).filter(|linear| linear.bias.is_none())?;
        let ones = self.node(linear.input).filter(|node| node.op == Op::OneHot)?;
        let table = linear.weight.transpose();
        let depth = self.scalar(ones.input(1)?)?;
        let [on, off] = match (ones.input(2)?, ones.input(3)) {
            (on, Some(off)) => [self.scalar(on)?, self.scalar(off)?],
            (both, None) => match *self.numbers(both)? {
                [off, on] => [on as f32, off as f32],
                _ => return None,
            },
        };
        let is_lookup = depth == table.shape()[0] as f32 && on == 1.0 && off == 0.0;
        is_lookup.then_some((table, ones.input(0)?))
    }

    /// Recognises a product with a constant, to which a constant may be added.
    pub(super) fn linear(&self, value: ValueIndex) -> Option<Linear> {
        let value = self.peel(value);
        if let Some(linear) = self.product(value) {
            return Some(linear);
        }
        let [a, b] = self.pair(value, &Op::Add)?;
        [(a, b), (b, a)].into_iter().find_map(|(product, bias)| {
            let linear = self.product(self.peel(product)).filter(|linear| linear.bias.is_none())?;
            let bias = self.vector(bias, linear.weight.shape()[0])?;
            Some(Linear { bias: Some(bias), ..linear })
        })
    }

    fn product(&self, value: ValueIndex) -> Option<Linear> {
        if let Some(linear) = self.integer_product(value) {
            return Some(linear);
        }
        let node = self.node(value)?;
        let (x, weight) = (node.input(0)?, self.matrix(node.input(1)?)?);
        let weight = match node.op {
            Op::MatMul | Op::Linear { transposed: true } => weight.transpose(),
            Op::Linear { transposed: false } => weight,
            _ => return None,
        };
        let bias = match node.input(2) {
            Some(bias) => Some(self.vector(bias, weight.shape()[0])?),
            None => None,
        };
        Some(Linear { input: self.peel(x), weight, bias })
    }

    /// Recognises `float(x_int8 * w_int8) * (x_scale * w_scale)`, which is a linear as ONNX Runtime's
    /// dynamic quantiser writes it.
    fn integer_product(&self, value: ValueIndex) -> Option<Linear> {
        /// The axis of the scales: a weight `[in, out]` has one for each output.
        const COLUMNS: i64 = 1;
        let [a, b] = self.pair(value, &Op::Mul)?;
        let (product, scales) = [(a, b), (b, a)]
            .into_iter()
            .map(|(product, scales)| (self.peel(product), scales))
            .find(|&(product, _)| self.is(product, &Op::MatMulInteger))?;
        let node = self.node(product)?;
        let [c, d] = self.pair(scales, &Op::Mul)?;
        let scale = if self.constant(c).is_some() { c } else { d };
        let mut weight = self.matrix(node.input(1)?)?;
        weight.affine = Some(self.affine(scale, node.input(3), COLUMNS, &weight.shape)?);
        Some(Linear { input: self.peel(node.input(0)?), weight: weight.transpose(), bias: None })
    }

    /// Returns the value that an activation reads.
    pub(super) fn activation(&self, value: ValueIndex, activation: Activation) -> Option<ValueIndex> {
        let value = self.peel(value);
        let one = |op: Op| self.node(value).filter(|node| node.op == op)?.input(0);
        let composed = |tanh: bool| self.gelu(value).filter(|gelu| gelu.1 == tanh).map(|gelu| gelu.0);
        let input = match activation {
            Activation::Identity => Some(value),
            Activation::Relu => one(Op::Relu).or_else(|| one(Op::ImpliedRelu)),
            Activation::Tanh => one(Op::Tanh),
            Activation::Gelu => one(Op::Gelu).or_else(|| composed(false)),
            Activation::GeluNew => one(Op::GeluTanh).or_else(|| composed(true)),
            // No exporter's graph of it has been seen, so the caller reports the activation as missing.
            Activation::Silu => None,
        };
        input.map(|input| self.peel(input))
    }

    /// Returns the value that a decomposed GELU reads, and whether it is the tanh form.
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

    /// Recognises `x * gamma + beta` over columns, which is also MobileBERT's NoNorm.
    pub(super) fn scaled(&self, value: ValueIndex, width: usize) -> Option<(ValueIndex, [View; 2])> {
        let (product, beta) = self.with_vector(value, &Op::Add, width)?;
        let (x, gamma) = self.with_vector(self.peel(product), &Op::Mul, width)?;
        Some((self.peel(x), [gamma, beta]))
    }

    /// Returns the operands of a node of which one is a constant vector.
    pub(super) fn with_vector(&self, value: ValueIndex, op: &Op, width: usize) -> Option<(ValueIndex, View)> {
        let [a, b] = self.pair(value, op)?;
        match (self.vector(a, width), self.vector(b, width)) {
            (None, Some(view)) => Some((a, view)),
            (Some(view), None) => Some((b, view)),
            _ => None,
        }
    }

    /// Recognises a layer norm over `width` columns, written as one operator or as its arithmetic.
    pub(super) fn layer_norm(&self, value: ValueIndex, width: usize) -> Option<LayerNorm> {
        if let Some(node @ Node { op: Op::LayerNorm { eps }, .. }) = self.node(value) {
            let affine = [self.vector(node.input(1)?, width)?, self.vector(node.input(2)?, width)?];
            return Some(LayerNorm { input: node.input(0)?, eps: *eps, affine: Some(affine) });
        }
        if let Some((normalized, affine)) = self.scaled(value, width)
            && let Some((input, eps)) = self.normalized(normalized)
        {
            return Some(LayerNorm { input, eps, affine: Some(affine) });
        }
        if let Some(norm) = self.batch_normalized(value, width) {
            return Some(norm);
        }
        let (input, eps) = self.normalized(value)?;
        Some(LayerNorm { input, eps, affine: None })
    }

    /// Recognises a layer norm as TensorFlow's `batch_normalization` writes it, which is
    /// `x * scale + (beta - mean * scale)` with `scale = gamma / sqrt(variance + eps)`.
    pub(super) fn batch_normalized(&self, value: ValueIndex, width: usize) -> Option<LayerNorm> {
        let [a, b] = self.pair(value, &Op::Add)?.map(|term| self.peel(term));
        let (product, shift) = if self.is(a, &Op::Mul) { (a, b) } else { (b, a) };
        let [beta, offset] = self.pair(shift, &Op::Sub)?;
        let beta = self.vector(beta, width)?;
        let factors = |product| Some(self.pair(product, &Op::Mul)?.map(|factor| self.peel(factor)));
        let [[a, b], [c, d]] = [factors(product)?, factors(self.peel(offset))?];
        let (scale, x, mean) = match () {
            () if b == d => (b, a, c),
            () if b == c => (b, a, d),
            () if a == d => (a, b, c),
            () if a == c => (a, b, d),
            () => return None,
        };
        let (root, gamma) = self.with_vector(scale, &Op::Mul, width)?;
        let mean_of = self.node(mean).filter(|node| node.op == Op::Mean)?.input(0)?;
        let root = self.node(self.peel(root)).filter(|node| node.op == Op::Rsqrt)?.input(0)?;
        let [a, b] = self.pair(self.peel(root), &Op::Add)?;
        let (variance, eps) = match (self.scalar(a), self.scalar(b)) {
            (None, Some(eps)) => (a, eps),
            (Some(eps), None) => (b, eps),
            _ => return None,
        };
        let is_about_x = self.is(self.peel(variance), &Op::Mean) && self.formula(variance, Some(x)).is_some();
        (self.peel(mean_of) == x && is_about_x).then_some(LayerNorm {
            input: x,
            eps,
            affine: Some([gamma, beta]),
        })
    }

    /// Returns the value that a layer norm without gamma and beta reads, and its epsilon. `value` has to be
    /// arithmetic on one value, with a mean of it and a root.
    pub(super) fn normalized(&self, value: ValueIndex) -> Option<(ValueIndex, f32)> {
        // There are two means, and the one of the variance is taken over squares.
        let is_square = |value: ValueIndex| {
            self.node(value).is_some_and(|node| match node.op {
                Op::SquaredDifference | Op::Pow => true,
                Op::Mul => node.input(0) == node.input(1),
                _ => false,
            })
        };
        let mean_of = |&node: &usize| {
            let mean = Some(&self.nodes[node]).filter(|node| node.op == Op::Mean)?;
            Some(self.peel(mean.input(0)?)).filter(|&x| !is_square(x))
        };
        let x = self.formula(value, None)?.iter().find_map(mean_of)?;
        let formula = self.formula(value, Some(x))?;
        let root = formula.iter().find_map(|&node| {
            let node = &self.nodes[node];
            matches!(node.op, Op::Sqrt | Op::Rsqrt).then(|| node.input(0)).flatten()
        })?;
        let [a, b] = self.pair(self.peel_positive(root), &Op::Add)?;
        let eps = self.scalar(a).or_else(|| self.scalar(b))?;
        Some((x, eps))
    }

    /// Returns the nodes of an element-wise formula, in which means are allowed and all other leaves are
    /// single numbers. With a `leaf`, the formula may depend on that value only; without one, it is followed
    /// as far as the arithmetic goes.
    fn formula(&self, value: ValueIndex, leaf: Option<ValueIndex>) -> Option<Vec<usize>> {
        /// The most operators of a formula. Each may be quantised and dequantised.
        const LONG: usize = 3 * FAR;
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
            match node.op {
                _ if nodes.contains(&index) => {}
                Op::Add
                | Op::Sub
                | Op::Mul
                | Op::Div
                | Op::Pow
                | Op::Sqrt
                | Op::Rsqrt
                | Op::Erf
                | Op::Tanh
                | Op::SquaredDifference => {
                    nodes.push(index);
                    stack.extend(node.inputs.iter().take(WIDE).flatten());
                }
                Op::Mean | Op::View | Op::Quantize | Op::Dequantize { .. } => {
                    nodes.push(index);
                    stack.extend(node.input(0));
                }
                // No exporter writes a relu into a formula. Sums like 1 + erf(x) and variance + epsilon are
                // never negative, so that their zero point is the smallest integer.
                Op::ImpliedRelu => {
                    nodes.push(index);
                    stack.extend(node.input(0));
                }
                _ if leaf.is_some() => return None,
                _ => {}
            }
            if nodes.len() > LONG {
                return if leaf.is_some() { None } else { Some(nodes) };
            }
        }
        Some(nodes)
    }
}
