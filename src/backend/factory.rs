//! MODEL -> BACKEND: how an engine loads the backend that its caller chose.

use std::fmt::Debug;
use std::sync::Arc;

use super::{Backend, Precision};
use crate::error::Result;
use crate::format::WeightSource;
use crate::graph::Graph;

/// Loads models for one kind of [`Backend`]. Implement it to run models on a backend from another crate, and
/// give it to [`crate::EngineOptions::backend`].
///
/// ```
/// use mobilebert::backend::{Backend, BackendFactory, LoadOptions, Request};
/// use mobilebert::format::WeightSource;
/// use mobilebert::graph::Graph;
/// use mobilebert::model::{self, synthetic::Synthetic};
/// use mobilebert::{Batch, Engine, EngineOptions, Head, ModelConfig, Result};
///
/// /// Answers 1 whatever the tokens are.
/// #[derive(Debug)]
/// struct Ones;
///
/// struct OnesBackend(Graph);
///
/// impl BackendFactory for Ones {
///     fn name(&self) -> &'static str {
///         "ones"
///     }
///
///     fn load(&self, graph: Graph, _: &dyn WeightSource, _: &LoadOptions<'_>) -> Result<Box<dyn Backend>> {
///         Ok(Box::new(OnesBackend(graph)))
///     }
/// }
///
/// impl Backend for OnesBackend {
///     fn name(&self) -> &'static str {
///         "ones"
///     }
///
///     fn graph(&self) -> &Graph {
///         &self.0
///     }
///
///     fn kernel(&self) -> &str {
///         "none"
///     }
///
///     fn run(&self, request: &Request<'_>) -> Result<Vec<f32>> {
///         Ok(vec![1.0; request.output_rows(&self.0) * self.0.width(self.0.output())])
///     }
/// }
///
/// let config = ModelConfig::from_json(r#"{"model_type": "mobilebert", "num_hidden_layers": 2}"#)?;
/// let graph = model::build(&config, Head::QuestionAnswering);
/// let weights = Synthetic::new(&graph);
/// let engine = Engine::from_weights(config, graph, &weights, EngineOptions::new().backend(Ones))?;
/// let logits = engine.forward(&Batch::single(&[101, 7592, 102], &[0, 0, 0])?)?;
/// assert_eq!(logits.values(), [1.0; 6]);
/// # Ok::<(), mobilebert::Error>(())
/// ```
pub trait BackendFactory: Send + Sync + Debug {
    /// The name of its backends, as in [`Backend::name`].
    fn name(&self) -> &'static str;

    /// Makes a backend that runs `graph` with these weights.
    ///
    /// # Errors
    /// The errors of the weight source, [`crate::ErrorKind::Option`] for an option that the backend does not
    /// support, and [`crate::ErrorKind::Backend`] if the library or the device that it runs on fails.
    fn load(
        &self,
        graph: Graph,
        weights: &dyn WeightSource,
        options: &LoadOptions<'_>,
    ) -> Result<Box<dyn Backend>>;
}

/// The options that an engine passes to the backend that it loads.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct LoadOptions<'a> {
    /// The precision that the caller asked for. `None` leaves the choice to the backend, which may follow
    /// `stored`.
    pub precision: Option<Precision>,
    /// The precision that the stored weights are meant for: int8 if the model is quantised, else f32.
    pub stored: Precision,
    /// Nodes whose name begins with one of these prefixes stay in f32. The model and the caller both add to
    /// the list.
    pub keep_f32: &'a [String],
}

impl Default for LoadOptions<'_> {
    /// Weights stored in f32, no requested precision, and nothing to keep in f32.
    fn default() -> Self {
        Self { precision: None, stored: Precision::F32, keep_f32: &[] }
    }
}

impl<F: BackendFactory + ?Sized> BackendFactory for Arc<F> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn load(
        &self,
        graph: Graph,
        weights: &dyn WeightSource,
        options: &LoadOptions<'_>,
    ) -> Result<Box<dyn Backend>> {
        (**self).load(graph, weights, options)
    }
}
