//! Backends that share packed weights.

use std::sync::Arc;

use super::scratch::Scratch;
use super::{NativeBackend, ops, plan_for};
use crate::graph::Graph;

impl NativeBackend {
    /// A backend for the first nodes of this one's graph, such as an encoder without its head. It shares the
    /// weights and has a plan and scratch memory of its own. `None` if `graph` is not the beginning of this
    /// one's graph, or if its weights would be packed differently.
    pub fn share(&self, graph: &Graph) -> Option<Self> {
        // This makes values and parameters have the same ids in both graphs.
        let begins = self.graph.nodes.starts_with(&graph.nodes)
            && self.graph.parameters.starts_with(&graph.parameters);
        let plan = begins.then(|| plan_for(graph, &self.options, false).ok()).flatten()?;
        let packed_so = self.plan.int8.starts_with(&plan.int8)
            && self.plan.bf16.starts_with(&plan.bf16)
            && self.plan.f32.starts_with(&plan.f32);
        packed_so.then(|| Self {
            graph: graph.clone(),
            ops: ops::ops(graph, &plan, &self.weights, self.kernels.isa()),
            plan,
            weights: Arc::clone(&self.weights),
            kernels: self.kernels,
            options: self.options.clone(),
            widest: self.widest,
            scratch: Scratch::new(),
        })
    }
}
