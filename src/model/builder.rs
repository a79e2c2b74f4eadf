//! Appends nodes to a graph under the checkpoint's names.

use std::collections::HashMap;

use crate::config::ModelConfig;
use crate::graph::{Activation, Graph, Norm, NormKind, Op, ParameterId, ValueId};

/// A graph under construction, and the configuration it follows.
pub(crate) struct Builder<'c> {
    pub(crate) config: &'c ModelConfig,
    graph: Graph,
    parameters: HashMap<String, ParameterId>,
}

/// A linear and the operations that are fused behind it: `norm(activation(x W^T + b) + residual)`.
pub(crate) struct Dense<'n> {
    /// The module path of the linear, without `.weight`.
    pub(crate) name: &'n str,
    pub(crate) out: usize,
    pub(crate) activation: Activation,
    pub(crate) residual: Option<ValueId>,
    /// The module path of the norm, and its kind.
    pub(crate) norm: Option<(&'n str, NormKind)>,
    /// True if int8 checkpoints quantise the linear. Small output layers stay in f32.
    pub(crate) quantizable: bool,
}

impl<'n> Dense<'n> {
    pub(crate) fn new(name: &'n str, out: usize) -> Self {
        let activation = Activation::Identity;
        Self { name, out, activation, residual: None, norm: None, quantizable: true }
    }

    pub(crate) fn activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    pub(crate) fn residual(mut self, residual: ValueId) -> Self {
        self.residual = Some(residual);
        self
    }

    pub(crate) fn norm(mut self, name: &'n str, kind: NormKind) -> Self {
        self.norm = Some((name, kind));
        self
    }

    pub(crate) fn keep_f32(mut self) -> Self {
        self.quantizable = false;
        self
    }
}

impl<'c> Builder<'c> {
    pub(crate) fn new(config: &'c ModelConfig) -> Self {
        Self { config, graph: Graph::default(), parameters: HashMap::new() }
    }

    pub(crate) fn finish(self) -> Graph {
        self.graph
    }

    pub(crate) fn width(&self, value: ValueId) -> usize {
        self.graph.width(value)
    }

    pub(crate) fn vector(&mut self, name: String, width: usize) -> ParameterId {
        self.parameter(name, &[width], false)
    }

    pub(crate) fn table(&mut self, name: &str, rows: usize, width: usize, quantizable: bool) -> ParameterId {
        self.parameter(name.to_owned(), &[rows, width], quantizable)
    }

    pub(crate) fn norm(&mut self, name: &str, kind: NormKind, width: usize) -> Norm {
        let weight = self.vector(format!("{name}.weight"), width);
        let bias = self.vector(format!("{name}.bias"), width);
        Norm { kind, weight, bias }
    }

    pub(crate) fn linear(&mut self, input: ValueId, dense: Dense<'_>) -> ValueId {
        let Dense { name, out, activation, residual, norm, quantizable } = dense;
        let shape = [out, self.width(input)];
        let weight = self.parameter(format!("{name}.weight"), &shape, quantizable);
        let bias = self.vector(format!("{name}.bias"), out);
        let norm = norm.map(|(name, kind)| self.norm(name, kind, out));
        self.push(name, Op::Linear { input, weight, bias, activation, residual, norm }, out)
    }

    /// Adds a weight, or finds the one that already has the name (tied weights).
    fn parameter(&mut self, name: String, shape: &[usize], quantizable: bool) -> ParameterId {
        let graph = &mut self.graph;
        let id = *self
            .parameters
            .entry(name.clone())
            .or_insert_with(|| graph.add_parameter(name, shape, quantizable));
        debug_assert_eq!(graph.parameter(id).shape, shape);
        id
    }

    pub(crate) fn push(&mut self, name: &str, op: Op, width: usize) -> ValueId {
        self.graph.add_node(name, op, width)
    }
}
