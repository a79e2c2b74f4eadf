//! Loads the native backend for an engine.

use super::{NAME, NativeBackend, NativeOptions};
use crate::backend::{Backend, BackendFactory, LoadOptions};
use crate::error::Result;
use crate::format::WeightSource;
use crate::graph::Graph;

/// Loads models for the native backend. It is the default of [`crate::EngineOptions`].
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct NativeFactory {
    kernels: Option<String>,
}

impl NativeFactory {
    /// Uses the best kernels of this CPU, or those that the environment variable `MOBILEBERT_KERNELS` names.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forces a variant of the kernels by name, like [`NativeOptions::kernels`].
    pub fn kernels(mut self, name: impl Into<String>) -> Self {
        self.kernels = Some(name.into());
        self
    }
}

impl BackendFactory for NativeFactory {
    fn name(&self) -> &'static str {
        NAME
    }

    fn load(
        &self,
        graph: Graph,
        weights: &dyn WeightSource,
        options: &LoadOptions<'_>,
    ) -> Result<Box<dyn Backend>> {
        let native = NativeOptions {
            precision: options.precision.unwrap_or(options.stored),
            keep_f32: options.keep_f32.to_vec(),
            kernels: self.kernels.clone(),
        };
        Ok(Box::new(NativeBackend::load(graph, weights, native)?))
    }
}
