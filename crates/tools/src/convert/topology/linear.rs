//! Matches linears of the architecture, with the activation, the residual and the norm that belong to them.

use super::{Matcher, same};
use crate::convert::attention;
use crate::convert::flow::{Op, ValueIndex};
use crate::convert::formulas::Linear;
use crate::convert::stored::Stored;
use mobilebert::Result;
use mobilebert::graph::{self, Activation, Norm, NormKind, ParameterId, ValueId};

/// The value at which relu6 cuts activations off.
const CUT: f32 = 6.0;

/// The numbers that converters to f16 write for an epsilon too small for it: its smallest number and twice
/// that.
const SMALLEST: [f32; 2] = [1.0 / (1 << 24) as f32, 1.0 / (1 << 23) as f32];

impl Matcher<'_> {
    pub(super) fn linear(&mut self, index: usize, mut value: ValueIndex) -> Result<()> {
        let node = &self.graph.nodes[index];
        let graph::Op::Linear { input, weight, bias, activation, residual, norm } = node.op else {
            return Ok(());
        };
        if let Some(norm) = norm {
            value = self.norm(value, norm, node.width)?;
        }
        if let Some(residual) = residual {
            let Some(terms) = self.flow.pair(value, &Op::Add) else {
                return self.fail(&node.name, value, "the sum of a linear and its residual");
            };
            let [linear, rest] = self.linear_first(terms, ValueId(index), residual);
            self.bind(residual, rest)?;
            value = linear;
        }
        let is_cut = activation == Activation::Relu && self.flow.is(self.flow.peel(value), &Op::Relu6);
        let input_of_relu6 =
            || self.flow.node(self.flow.peel(value))?.input(0).map(|input| self.flow.peel(input));
        let behind = if is_cut { input_of_relu6() } else { self.flow.activation(value, activation) };
        let Some(value) = behind else {
            return self.fail(&node.name, self.flow.peel(value), &format!("the activation {activation:?}"));
        };
        let mut shape = self.graph.parameter(weight).shape.clone();
        if is_cut {
            shape[0] /= 2;
        }
        let linear = self.linear_of(&format!("{}.weight", node.name), value, &shape)?;
        let mirrored = linear.is_half_of(self.flow, &shape).then(|| linear.weight.shape()[1]);
        let [mut w, mut b] = self.bind_linear(input, linear, weight)?;
        if let Some(factor) = self.query_factors[index] {
            [w, b] = [w, b].map(|of| Stored::Scaled { of: Box::new(of), factor });
        }
        if let Some(columns) = mirrored {
            w = Stored::Mirrored { of: Box::new(w), columns };
        }
        if is_cut {
            self.note(format!(
                "the graph cuts activations off at {CUT} (relu6); the same is computed as relu(x) - relu(x - {CUT}), \
                 which doubles intermediate_size"
            ));
            w = Stored::Twice { of: Box::new(w), less: 0.0 };
            b = Stored::Twice { of: Box::new(b), less: CUT };
        }
        self.set(weight, w)?;
        self.set(bias, b)
    }

    /// Returns the two terms of a sum in order: the one that matches the linear `ours`, then its residual.
    fn linear_first(&self, terms: [ValueIndex; 2], ours: ValueId, residual: ValueId) -> [ValueIndex; 2] {
        let [a, b] = terms.map(|term| self.flow.peel(term));
        let is_linear = |x| self.could_be(ours, x, true) && !self.could_be(residual, x, false);
        match self.bound[residual.0] {
            Some(bound) if bound == a => [b, a],
            Some(bound) if bound == b => [a, b],
            _ if is_linear(a) => [a, b],
            _ if is_linear(b) => [b, a],
            // If none or both fit, the term that is a linear at all comes first, and what follows checks it.
            _ if self.flow.linear(a).is_some() => [a, b],
            _ => [b, a],
        }
    }

    /// Returns true if the foreign value `theirs` could be our value `ours`, judged by the operators directly
    /// behind it. With `bare`, `ours` is a linear that is taken without its residual and its norm.
    fn could_be(&self, ours: ValueId, theirs: ValueIndex, bare: bool) -> bool {
        let theirs = self.flow.peel(theirs);
        let node = &self.graph.nodes[ours.0];
        let is_normed = |norm: Norm| match norm.kind {
            NormKind::NoNorm => {
                self.flow.scaled(theirs, node.width).is_some()
                    || self.flow.with_vector(theirs, &Op::Mul, node.width).is_some()
            }
            NormKind::LayerNorm { .. } => self.flow.layer_norm(theirs, node.width).is_some(),
        };
        match node.op {
            graph::Op::Linear { input, weight, activation, residual, norm, .. } => {
                if let Some(norm) = norm.filter(|_| !bare) {
                    let is_normed = is_normed(norm);
                    // A norm without a residual may be folded into the linear.
                    if is_normed || residual.is_some() {
                        return is_normed;
                    }
                }
                let linear = self.flow.activation(theirs, activation).and_then(|x| self.flow.linear(x));
                let Some(linear) = linear else { return false };
                let of_attention = matches!(self.graph.nodes[input.0].op, graph::Op::Attention { .. });
                linear.fits(self.flow, &self.graph.parameter(weight).shape)
                    && attention::read(self.flow, linear.input).is_ok() == of_attention
            }
            graph::Op::PositionAndType { norm, .. } => is_normed(norm),
            _ => true,
        }
    }

    /// Returns the linear that computes `value`, and checks that its weight has the given shape.
    pub(super) fn linear_of(&self, module: &str, value: ValueIndex, shape: &[usize]) -> Result<Linear> {
        let expected = || format!("a linear with a constant weight of shape {shape:?} (or its transpose)");
        match self.flow.linear(value) {
            Some(linear) if linear.fits(self.flow, shape) => Ok(linear),
            Some(linear) => {
                let found = format!("one of shape {:?}", linear.weight.shape());
                Err(self.flow.mismatch_of(module, value, &expected(), &found))
            }
            None => self.fail(module, value, &expected()),
        }
    }

    /// Binds the input of a linear and returns how its weight and bias are stored. The input may be a norm
    /// whose gamma and beta the exporter has multiplied into the weights.
    fn bind_linear(&mut self, input: ValueId, linear: Linear, weight: ParameterId) -> Result<[Stored; 2]> {
        let width = self.graph.width(input);
        if let Some(bound) = self.bound[input.0].filter(|&bound| bound != linear.input)
            && let Some((product, beta)) = self.flow.with_vector(bound, &Op::Add, width)
        {
            let product = self.flow.peel(product);
            let scaled = self.flow.with_vector(product, &Op::Mul, width);
            let gamma = scaled.filter(|&(x, _)| self.flow.peel(x) == linear.input).map(|(_, gamma)| gamma);
            if gamma.is_some() || product == linear.input {
                self.note_folded(self.name(input));
                let name = self.graph.parameter(weight).name.clone();
                let stored = match gamma.clone() {
                    Some(gamma) => Stored::Unfolded { weight: linear.weight.clone(), gamma, name },
                    None => Stored::Tensor(linear.weight.clone()),
                };
                let bias = Stored::UnfoldedBias { bias: linear.bias, weight: linear.weight, gamma, beta };
                return Ok([stored, bias]);
            }
        }
        self.bind(input, linear.input)?;
        Ok([Stored::Tensor(linear.weight), linear.bias.map_or(Stored::Fill(0.0), Stored::Tensor)])
    }

    /// Steps behind a norm and keeps its gamma and beta.
    pub(super) fn norm(&mut self, value: ValueIndex, norm: Norm, width: usize) -> Result<ValueIndex> {
        let module = self.graph.parameter(norm.weight).name.trim_end_matches(".weight");
        let (input, affine) = match norm.kind {
            NormKind::NoNorm => match self.flow.scaled(value, width) {
                Some((input, affine)) => (input, Some(affine)),
                None => return self.folded_norm(value, norm, width),
            },
            NormKind::LayerNorm { eps } => match self.flow.layer_norm(value, width) {
                Some(found) if same(found.eps, eps) => (found.input, found.affine),
                Some(found) if eps < found.eps && SMALLEST.contains(&found.eps) => {
                    self.note(format!(
                        "the graph has {:e} for the norms' epsilon {eps:e}, which f16 cannot hold",
                        found.eps
                    ));
                    (found.input, found.affine)
                }
                Some(found) => {
                    let expected = format!("a layer norm with epsilon {eps}, not {}", found.eps);
                    return self.fail(module, value, &expected);
                }
                None => return self.fail(module, value, &format!("a layer norm over {width} columns")),
            },
        };
        let (gamma, beta) = match affine {
            Some([gamma, beta]) => (Stored::Tensor(gamma), Stored::Tensor(beta)),
            None => {
                self.note_folded(module);
                (Stored::Fill(1.0), Stored::Fill(0.0))
            }
        };
        self.set(norm.weight, gamma)?;
        self.set(norm.bias, beta)?;
        Ok(self.flow.peel(input))
    }

    /// Steps behind a NoNorm that is missing or has only its gamma. The rest of it was folded into the linear
    /// before it, or into everything that reads it. A reader of the norm itself would have bound it by now.
    fn folded_norm(&mut self, value: ValueIndex, norm: Norm, width: usize) -> Result<ValueIndex> {
        let module = self.graph.parameter(norm.weight).name.trim_end_matches(".weight");
        let is_linear =
            |value: ValueIndex| self.flow.linear(value).is_some_and(|l| l.weight.shape()[0] == width);
        let terms = self.flow.pair(self.flow.peel(value), &Op::Add);
        let (input, gamma) = match self.flow.with_vector(value, &Op::Mul, width) {
            Some((input, gamma)) => (self.flow.peel(input), Stored::Tensor(gamma)),
            None if is_linear(value) || terms.is_some_and(|terms| terms.into_iter().any(is_linear)) => {
                (self.flow.peel(value), Stored::Fill(1.0))
            }
            None => return self.fail(module, value, &format!("x * gamma + beta over {width} columns")),
        };
        self.note_folded(module);
        self.set(norm.weight, gamma)?;
        self.set(norm.bias, Stored::Fill(0.0))?;
        Ok(input)
    }

    /// Adds one note for the same module of all layers.
    fn note_folded(&mut self, module: &str) {
        let parts = module.split('.').map(|part| if part.parse::<u32>().is_ok() { "*" } else { part });
        let module = parts.collect::<Vec<_>>().join(".");
        self.note(format!(
            "the exporter has folded the norm of {module} into a linear; its weights are equal only as a product"
        ));
    }
}
