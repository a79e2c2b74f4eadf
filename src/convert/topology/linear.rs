//! Linears of the architecture, with the activation, the residual and the norm that belong to them.

use super::{Matcher, same};
use crate::convert::attention;
use crate::convert::flow::{Op, ValueIndex};
use crate::convert::formulas::Linear;
use crate::convert::stored::Stored;
use crate::error::Result;
use crate::graph::{self, Norm, NormKind, ParameterId, ValueId};

impl Matcher<'_> {
    pub(super) fn linear(&mut self, index: usize, mut value: ValueIndex) -> Result<()> {
        let node = &self.graph.nodes[index];
        let graph::Op::Linear { input, weight, bias, activation, residual, norm } = node.op else {
            return Ok(());
        };
        if let Some(norm) = norm {
            value = self.norm(value, norm, node.width, residual.is_none())?;
        }
        if let Some(residual) = residual {
            let Some(terms) = self.flow.pair(value, &Op::Add) else {
                return self.fail(&node.name, value, "the sum of a linear and its residual");
            };
            let [linear, rest] = self.linear_first(terms, ValueId(index), residual);
            self.bind(residual, rest)?;
            value = linear;
        }
        let Some(value) = self.flow.activation(value, activation) else {
            return self.fail(&node.name, self.flow.peel(value), &format!("the activation {activation:?}"));
        };
        let shape = &self.graph.parameter(weight).shape;
        let linear = self.linear_of(&format!("{}.weight", node.name), value, shape)?;
        self.bind_linear(input, linear, weight, bias)
    }

    /// The two terms of a sum in order: our linear, then its residual.
    fn linear_first(&self, terms: [ValueIndex; 2], ours: ValueId, residual: ValueId) -> [ValueIndex; 2] {
        let [a, b] = terms.map(|term| self.flow.peel(term));
        let is_linear = |x| self.could_be(ours, x, true) && !self.could_be(residual, x, false);
        match self.bound[residual.0] {
            Some(bound) if bound == a => [b, a],
            Some(bound) if bound == b => [a, b],
            _ if is_linear(a) => [a, b],
            _ if is_linear(b) => [b, a],
            // None or both: the one that is a linear at all, for what follows to check.
            _ if self.flow.linear(a).is_some() => [a, b],
            _ => [b, a],
        }
    }

    /// Whether their value could be ours, by what is right behind it. `bare`: a linear of ours without what follows it.
    fn could_be(&self, ours: ValueId, theirs: ValueIndex, bare: bool) -> bool {
        let theirs = self.flow.peel(theirs);
        let node = &self.graph.nodes[ours.0];
        let is_normed = |norm: Norm| match norm.kind {
            NormKind::NoNorm => self.flow.scaled(theirs, node.width).is_some(),
            NormKind::LayerNorm { .. } => self.flow.layer_norm(theirs, node.width).is_some(),
        };
        match node.op {
            graph::Op::Linear { input, weight, activation, residual, norm, .. } => {
                if let Some(norm) = norm.filter(|_| !bare) {
                    let is_normed = is_normed(norm);
                    // Without a residual it may be folded into the linear.
                    if is_normed || residual.is_some() {
                        return is_normed;
                    }
                }
                let linear = self.flow.activation(theirs, activation).and_then(|x| self.flow.linear(x));
                let Some(linear) = linear else { return false };
                let of_attention = matches!(self.graph.nodes[input.0].op, graph::Op::Attention { .. });
                linear.weight.shape() == self.graph.parameter(weight).shape
                    && attention::read(self.flow, linear.input).is_ok() == of_attention
            }
            graph::Op::PositionAndType { norm, .. } => is_normed(norm),
            _ => true,
        }
    }

    /// The linear that computes `value`, whose weight has to have a shape.
    pub(super) fn linear_of(&self, module: &str, value: ValueIndex, shape: &[usize]) -> Result<Linear> {
        let expected = || format!("a linear with a constant weight of shape {shape:?} (or its transpose)");
        match self.flow.linear(value) {
            Some(linear) if linear.weight.shape() == shape => Ok(linear),
            Some(linear) => {
                let found = format!("one of shape {:?}", linear.weight.shape());
                Err(self.flow.mismatch_of(module, value, &expected(), &found))
            }
            None => self.fail(module, value, &expected()),
        }
    }

    /// The input of a linear may be a norm whose gamma and beta the exporter has multiplied into the weights.
    fn bind_linear(
        &mut self,
        input: ValueId,
        linear: Linear,
        weight: ParameterId,
        bias: ParameterId,
    ) -> Result<()> {
        let width = self.graph.width(input);
        let other = self.bound[input.0].filter(|&bound| bound != linear.input);
        let norm = other.and_then(|bound| self.flow.scaled(bound, width));
        if let Some((x, [gamma, beta])) = norm
            && x == linear.input
        {
            self.note_folded(self.name(input));
            let name = self.graph.parameter(weight).name.clone();
            let unfolded = Stored::Unfolded { weight: linear.weight.clone(), gamma: gamma.clone(), name };
            self.set(weight, unfolded)?;
            let unfolded = Stored::UnfoldedBias { bias: linear.bias, weight: linear.weight, gamma, beta };
            return self.set(bias, unfolded);
        }
        self.bind(input, linear.input)?;
        self.set(weight, Stored::Tensor(linear.weight))?;
        self.set(bias, linear.bias.map_or(Stored::Fill(0.0), Stored::Tensor))
    }

    /// Passes a norm and keeps its gamma and beta.
    pub(super) fn norm(
        &mut self,
        value: ValueIndex,
        norm: Norm,
        width: usize,
        may_be_folded: bool,
    ) -> Result<ValueIndex> {
        let module = self.graph.parameter(norm.weight).name.trim_end_matches(".weight");
        let (input, affine) = match norm.kind {
            NormKind::NoNorm => match self.flow.scaled(value, width) {
                Some((input, affine)) => (input, Some(affine)),
                None if may_be_folded => (value, None),
                None => return self.fail(module, value, &format!("x * gamma + beta over {width} columns")),
            },
            NormKind::LayerNorm { eps } => match self.flow.layer_norm(value, width) {
                Some(found) if same(found.eps, eps) => (found.input, found.affine),
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

    /// One note for the same module of all layers.
    fn note_folded(&mut self, module: &str) {
        let parts = module.split('.').map(|part| if part.parse::<u32>().is_ok() { "*" } else { part });
        let module = parts.collect::<Vec<_>>().join(".");
        self.note(format!(
            "the exporter has folded the norm of {module} into a linear; its weights are equal only as a product"
        ));
    }
}
