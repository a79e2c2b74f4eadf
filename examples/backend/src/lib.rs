//! A backend that is not part of the engine: it hands the graph to another backend, and notes the time of
//! each pass. A backend for a GPU or an accelerator has the same shape, with kernels of its own in
//! [`Backend::run`].
//!
//! ```
//! use mobilebert::{EngineOptions, ModelOptions, QuestionAnswering};
//! use mobilebert_example_backend::Timed;
//!
//! let timed = Timed::native();
//! let model = ModelOptions::new().engine(EngineOptions::new().backend(timed.clone()));
//! let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/qa");
//! let qa = QuestionAnswering::open_with(folder, model, Default::default())?;
//! assert_eq!(qa.answer("Who built it?", "It was built by Ada.")?.answer, "Ada");
//! assert_eq!(timed.passes().len(), 1);
//! # Ok::<(), mobilebert::Error>(())
//! ```

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mobilebert::Result;
use mobilebert::backend::native::NativeFactory;
use mobilebert::backend::{Backend, BackendFactory, LoadOptions, Precision, Request};
use mobilebert::format::WeightSource;
use mobilebert::graph::Graph;
use mobilebert::profile::OpInfo;

/// The times of passes. Clones share them.
#[derive(Debug, Clone, Default)]
struct Times(Arc<Mutex<Vec<Duration>>>);

/// Loads models on another backend and notes the times of their passes.
#[derive(Debug, Clone)]
pub struct Timed {
    inner: Arc<dyn BackendFactory>,
    times: Times,
}

impl Timed {
    /// Times the passes of the engine's own backend.
    pub fn native() -> Self {
        Self::new(NativeFactory::new())
    }

    /// Times the passes of the reference backend, candle, on the processor.
    #[cfg(feature = "candle")]
    pub fn candle() -> Self {
        use mobilebert_tools::candle::{CandleDevice, CandleFactory};
        Self::new(CandleFactory::new().device(CandleDevice::Cpu))
    }

    /// Times the passes of any backend.
    pub fn new(inner: impl BackendFactory + 'static) -> Self {
        Self { inner: Arc::new(inner), times: Times::default() }
    }

    /// Returns the times of all passes so far, in the order in which they ended.
    pub fn passes(&self) -> Vec<Duration> {
        self.times.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl BackendFactory for Timed {
    fn name(&self) -> &'static str {
        "timed"
    }

    fn load(
        &self,
        graph: Graph,
        weights: &dyn WeightSource,
        options: &LoadOptions<'_>,
    ) -> Result<Box<dyn Backend>> {
        let inner = self.inner.load(graph, weights, options)?;
        Ok(Box::new(TimedBackend { inner, times: self.times.clone() }))
    }
}

/// A loaded model whose passes are timed.
struct TimedBackend {
    inner: Box<dyn Backend>,
    times: Times,
}

impl Backend for TimedBackend {
    fn name(&self) -> &'static str {
        "timed"
    }

    fn graph(&self) -> &Graph {
        self.inner.graph()
    }

    fn precision(&self) -> Precision {
        self.inner.precision()
    }

    fn kernel(&self) -> &str {
        self.inner.kernel()
    }

    fn ops(&self) -> &[OpInfo] {
        self.inner.ops()
    }

    fn prefix(&self, graph: &Graph) -> Option<Box<dyn Backend>> {
        let inner = self.inner.prefix(graph)?;
        Some(Box::new(Self { inner, times: self.times.clone() }))
    }

    fn run(&self, request: &Request<'_>) -> Result<Vec<f32>> {
        let start = Instant::now();
        let output = self.inner.run(request)?;
        self.times.0.lock().unwrap_or_else(PoisonError::into_inner).push(start.elapsed());
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use mobilebert::{AnswerOptions, EngineOptions, ModelOptions, QuestionAnswering};

    use super::*;

    #[test]
    fn answers_are_those_of_the_backend_inside() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/qa");
        let timed = Timed::native();
        let model = ModelOptions::new().engine(EngineOptions::new().backend(timed.clone()));
        let options = AnswerOptions::with(|options| options.top_k = 3);
        let qa = QuestionAnswering::open_with(folder, model, options.clone()).unwrap();
        let native = QuestionAnswering::open_with(folder, ModelOptions::new(), options).unwrap();
        let (question, context) = ("Who built it?", "Ada built it in London. Later she wrote about it.");
        assert_eq!(qa.answers(question, context).unwrap(), native.answers(question, context).unwrap());
        assert_eq!(qa.engine().backend().name(), "timed");
        assert_eq!(timed.passes().len(), 1);
    }

    /// Another backend computes below the same pipeline, of which no line knows it.
    #[cfg(feature = "candle")]
    #[test]
    fn candle_computes_below_it() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/qa");
        let timed = Timed::candle();
        let model = ModelOptions::new().engine(EngineOptions::new().backend(timed.clone()));
        let qa = QuestionAnswering::open_with(folder, model, AnswerOptions::default()).unwrap();
        let answer = qa.answer("Who built it?", "It was built by Ada.").unwrap();
        assert_eq!(answer.answer, "Ada");
        let backend = qa.engine().backend();
        assert_eq!((backend.precision(), backend.kernel()), (Precision::F32, "candle"));
        assert_eq!(timed.passes().len(), 1);
    }
}
