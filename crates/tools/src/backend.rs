//! The backends that this build has, by name.

use mobilebert::backend::native::NativeFactory;
use mobilebert::backend::{Backend, BackendFactory, LoadOptions};
use mobilebert::format::WeightSource;
use mobilebert::graph::Graph;
use mobilebert::{Error, Result};

/// A backend of this build, chosen by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum BackendKind {
    /// The engine's own kernels on the CPU, int8 or f32.
    #[default]
    Native,
    /// Candle: the f32 reference, on the CPU or (features `cuda`, `metal`) a GPU.
    Candle,
}

impl std::str::FromStr for BackendKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "native" => Ok(BackendKind::Native),
            "candle" => Ok(BackendKind::Candle),
            other => Err(Error::option("backend", "`native` or `candle`", format!("`{other}`"))),
        }
    }
}

impl BackendFactory for BackendKind {
    fn name(&self) -> &'static str {
        match self {
            BackendKind::Native => "native",
            BackendKind::Candle => "candle",
        }
    }

    fn load(
        &self,
        graph: Graph,
        weights: &dyn WeightSource,
        options: &LoadOptions<'_>,
    ) -> Result<Box<dyn Backend>> {
        match self {
            BackendKind::Native => NativeFactory::new().load(graph, weights, options),
            #[cfg(feature = "candle")]
            BackendKind::Candle => crate::candle::CandleFactory::new().load(graph, weights, options),
            #[cfg(not(feature = "candle"))]
            BackendKind::Candle => Err(mobilebert::ErrorKind::NotBuilt {
                what: "the candle backend".to_owned(),
                feature: "candle",
            }
            .into()),
        }
    }
}
