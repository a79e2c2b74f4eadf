//! The weights that are trained.

use candle_core::{Device, Result, Var};

use crate::candle::backend_error;
use mobilebert::format::{self, WeightSource};
use mobilebert::graph::{Graph, ParameterId};

/// One variable for each parameter of a graph.
pub(super) struct Parameters {
    pub(super) graph: Graph,
    pub(super) vars: Vec<Var>,
    pub(super) device: Device,
}

impl Parameters {
    /// Reads all weights as f32.
    pub(super) fn load(graph: Graph, weights: &dyn WeightSource, device: Device) -> mobilebert::Result<Self> {
        let vars = graph.parameters.iter().enumerate().map(|(i, parameter)| {
            let values = weights.tensor(ParameterId(i))?.into_f32().into_owned();
            Var::from_vec(values, parameter.shape.as_slice(), &device)
                .map_err(|e| backend_error(&parameter.name, e))
        });
        let vars = vars.collect::<mobilebert::Result<_>>()?;
        Ok(Self { graph, vars, device })
    }

    pub(super) fn values(&self, id: ParameterId) -> Result<Vec<f32>> {
        self.vars[id.0].flatten_all()?.to_vec1()
    }

    /// The current weights.
    pub(super) fn snapshot(&self) -> Result<Snapshot> {
        let values =
            (0..self.vars.len()).map(|i| Ok(format::Tensor::F32(self.values(ParameterId(i))?.into())));
        Ok(Snapshot(values.collect::<Result<_>>()?))
    }
}

/// A copy of the weights that no longer changes.
pub(super) struct Snapshot(pub(super) Vec<format::Tensor<'static>>);

impl WeightSource for Snapshot {
    fn tensor(&self, parameter: ParameterId) -> mobilebert::Result<format::Tensor<'_>> {
        Ok(self.0[parameter.0].clone())
    }
}
