//! The reference backend: every operation by its definition, in f32, with candle's tensors.

use std::str::FromStr;

use candle_core::{D, DType, Device, Tensor};

use mobilebert::backend::{Backend, BackendFactory, LoadOptions, Precision, Request};
use mobilebert::format::WeightSource;
use mobilebert::graph::{Activation, Graph, Node, Norm, NormKind, Op, ParameterId, Rows, ValueId};
use mobilebert::text::Batch;
use mobilebert::{Error, ErrorKind, Result};

const NAME: &str = "candle";

/// The environment variable that chooses the device if [`CandleFactory::device`] does not; see
/// [`CandleDevice`].
pub const DEVICE: &str = "MOBILEBERT_DEVICE";

/// The device that candle computes on. The features `cuda` and `metal` only make a device available; the
/// device is chosen when a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CandleDevice {
    /// `cpu`
    Cpu,
    /// `cuda`, the first NVIDIA GPU, or `cuda:N`, counted from 0.
    Cuda(usize),
    /// `metal`, the first GPU of a Mac, or `metal:N`, counted from 0.
    Metal(usize),
}

impl FromStr for CandleDevice {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let (kind, number) = name.split_once(':').unwrap_or((name, "0"));
        match (kind, number.parse()) {
            ("cpu", _) if name == kind => Ok(CandleDevice::Cpu),
            ("cuda", Ok(number)) => Ok(CandleDevice::Cuda(number)),
            ("metal", Ok(number)) => Ok(CandleDevice::Metal(number)),
            _ => {
                let expected = "`cpu`, `cuda`, `cuda:N`, `metal` or `metal:N`".to_owned();
                Err(ErrorKind::Option { option: "device", expected, found: format!("`{name}`") }.into())
            }
        }
    }
}

impl CandleDevice {
    /// Opens the device.
    fn open(self) -> Result<Device> {
        let device = match self {
            CandleDevice::Cpu => Ok(Device::Cpu),
            CandleDevice::Cuda(number) => Device::new_cuda(number),
            CandleDevice::Metal(number) => Device::new_metal(number),
        };
        device.map_err(|e| backend_error("device", e))
    }
}

/// Loads models for the candle backend, in f32.
///
/// ```
/// use mobilebert_tools::candle::{CandleDevice, CandleFactory};
/// use mobilebert::{Engine, EngineOptions};
///
/// let candle = CandleFactory::new().device(CandleDevice::Cpu);
/// let engine = Engine::open("qa", EngineOptions::new().backend(candle))?;
/// assert_eq!(engine.backend().name(), "candle");
/// # Ok::<(), mobilebert::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[must_use]
pub struct CandleFactory {
    device: Option<CandleDevice>,
}

impl CandleFactory {
    /// Computes on the device that the environment variable [`DEVICE`] names. If it is not set, computes on
    /// the first GPU that this build and this machine have, or else on the CPU.
    pub fn new() -> Self {
        Self::default()
    }

    /// Chooses the device. Loading fails if this build or this machine lacks it.
    pub fn device(mut self, device: CandleDevice) -> Self {
        self.device = Some(device);
        self
    }

    fn open(self) -> Result<Device> {
        let named = std::env::var(DEVICE).ok().filter(|name| !name.is_empty());
        match (self.device, named) {
            (Some(device), _) => device.open(),
            (None, Some(name)) => name.parse::<CandleDevice>()?.open(),
            (None, None) => {
                let gpus = [CandleDevice::Cuda(0), CandleDevice::Metal(0)];
                // CUDA's bindings panic where its driver is not installed.
                let open = |gpu: CandleDevice| std::panic::catch_unwind(|| gpu.open()).ok()?.ok();
                Ok(gpus.into_iter().find_map(open).unwrap_or(Device::Cpu))
            }
        }
    }
}

impl BackendFactory for CandleFactory {
    fn name(&self) -> &'static str {
        NAME
    }

    fn load(
        &self,
        graph: Graph,
        weights: &dyn WeightSource,
        options: &LoadOptions<'_>,
    ) -> Result<Box<dyn Backend>> {
        if let Some(precision) = options.precision.filter(|&precision| precision != Precision::F32) {
            let expected = "`f32`, the arithmetic of the backend `candle`".to_owned();
            let found = format!("`{precision}`");
            return Err(ErrorKind::Option { option: "precision", expected, found }.into());
        }
        Ok(Box::new(CandleBackend::load_on(graph, weights, self.open()?)?))
    }
}

/// Runs a graph node by node on candle's CPU, CUDA or Metal device. Int8 weights are dequantised at load.
#[derive(Debug)]
pub struct CandleBackend {
    graph: Graph,
    parameters: Vec<Tensor>,
    device: Device,
}

impl CandleBackend {
    /// Loads all weights as f32 onto the device that [`CandleFactory::new`] chooses.
    ///
    /// # Errors
    /// Those of the weight source, and [`ErrorKind::Backend`] if the device cannot be used.
    pub fn load(graph: Graph, weights: &dyn WeightSource) -> Result<Self> {
        Self::load_on(graph, weights, device()?)
    }

    fn load_on(graph: Graph, weights: &dyn WeightSource, device: Device) -> Result<Self> {
        let parameters = graph.parameters.iter().enumerate().map(|(i, parameter)| {
            let values = weights.tensor(ParameterId(i))?.into_f32().into_owned();
            Tensor::from_vec(values, parameter.shape.as_slice(), &device)
                .map_err(|e| backend_error(&parameter.name, e))
        });
        let parameters = parameters.collect::<Result<_>>()?;
        Ok(Self { graph, parameters, device })
    }
}

/// How a pass reads parameters and computes products. [`Pass`] does everything else of an operation. The
/// provided methods are the definitions; training overrides some of them to round as the int8 engine does.
pub(crate) trait Arithmetic {
    /// A weight, in its shape.
    fn parameter(&self, id: ParameterId) -> &Tensor;

    /// Rows of an embedding table.
    fn rows(&self, table: ParameterId, indices: &Tensor) -> candle_core::Result<Tensor> {
        self.parameter(table).index_select(indices, 0)
    }

    /// `x * weight^T` for the value `x` of `input`.
    fn product(&self, input: ValueId, x: &Tensor, weight: ParameterId) -> candle_core::Result<Tensor> {
        let _ = input;
        x.matmul(&self.parameter(weight).t()?)
    }

    /// [`Op::Attention`] of all sequences: query, key and value `[tokens, heads * head_size]`.
    fn attention(&self, qkv: [&Tensor; 3], heads: usize, batch: &Batch) -> candle_core::Result<Tensor> {
        let sequences = (0..batch.sequences()).map(|s| attention(qkv, heads, batch.range(s)));
        Tensor::cat(&sequences.collect::<candle_core::Result<Vec<_>>>()?, 0)
    }

    /// Is given the computed value of a node, and may replace it.
    fn value(&self, id: ValueId, computed: Tensor) -> candle_core::Result<Tensor> {
        let _ = id;
        Ok(computed)
    }
}

impl Arithmetic for CandleBackend {
    fn parameter(&self, id: ParameterId) -> &Tensor {
        &self.parameters[id.0]
    }
}

/// Runs a graph node by node, shows each value to `see` and returns the last one.
pub(crate) fn run(
    graph: &Graph,
    arithmetic: &dyn Arithmetic,
    request: &Request<'_>,
    device: &Device,
    mut see: impl FnMut(&Node, &Tensor) -> Result<()>,
) -> Result<Tensor> {
    let pass = Pass { arithmetic, request, device };
    let dead_after = dead_after(graph);
    let mut values: Vec<Option<Tensor>> = vec![None; graph.nodes.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        let computed = pass.node(node, &values).and_then(|value| arithmetic.value(ValueId(i), value));
        let value = computed.map_err(|e| backend_error(&node.name, e))?;
        see(node, &value)?;
        values[i] = Some(value);
        for dead in &dead_after[i] {
            values[dead.0] = None;
        }
    }
    let freed = || backend_error("graph", candle_core::Error::Msg("it has no nodes".to_owned()));
    values.pop().flatten().ok_or_else(freed)
}

/// One forward pass.
struct Pass<'a> {
    arithmetic: &'a dyn Arithmetic,
    request: &'a Request<'a>,
    device: &'a Device,
}

impl Pass<'_> {
    fn parameter(&self, id: ParameterId) -> &Tensor {
        self.arithmetic.parameter(id)
    }

    fn node(&self, node: &Node, values: &[Option<Tensor>]) -> candle_core::Result<Tensor> {
        let batch = self.request.batch;
        let value = |id: ValueId| {
            values[id.0].as_ref().ok_or_else(|| candle_core::Error::Msg(format!("value {} was freed", id.0)))
        };
        match &node.op {
            Op::WordEmbedding { table, trigram } => {
                let rows = self.rows(*table, batch.ids())?;
                if *trigram { self.join_neighbours(&rows) } else { Ok(rows) }
            }
            Op::PositionAndType { input, position, token_type, norm } => {
                let positions: Vec<u32> =
                    (0..batch.sequences()).flat_map(|s| 0..batch.range(s).len() as u32).collect();
                let x = (value(*input)? + self.rows(*position, &positions)?)?;
                let x = match token_type {
                    Some(table) => (x + self.rows(*table, batch.type_ids())?)?,
                    None => x,
                };
                self.norm(&x, norm)
            }
            Op::Linear { input, weight, bias, activation, residual, norm } => {
                let x = self.arithmetic.product(*input, value(*input)?, *weight)?;
                let mut x = activate(&x.broadcast_add(self.parameter(*bias))?, *activation)?;
                if let Some(residual) = residual {
                    x = (x + value(*residual)?)?;
                }
                norm.as_ref().map_or(Ok(x.clone()), |norm| self.norm(&x, norm))
            }
            Op::Attention { query, key, value: v, heads } => {
                self.arithmetic.attention([value(*query)?, value(*key)?, value(*v)?], *heads, batch)
            }
            Op::Select { input, rows } => {
                let rows: Vec<u32> = match (rows, self.request.rows) {
                    (Rows::First, _) => {
                        batch.starts()[..batch.sequences()].iter().map(|&r| r as u32).collect()
                    }
                    (Rows::Requested, Some(rows)) => rows.iter().map(|&r| r as u32).collect(),
                    (Rows::Requested, None) => return value(*input).cloned(),
                };
                value(*input)?.index_select(&self.indices(&rows)?, 0)
            }
            Op::Vocabulary { input, decoder, extra, bias } => {
                let (x, decoder) = (value(*input)?, self.parameter(*decoder));
                let embedding = decoder.dim(1)?;
                let mut scores = x.narrow(1, 0, embedding)?.contiguous()?.matmul(&decoder.t()?)?;
                if let Some(extra) = extra {
                    let rest = x.narrow(1, embedding, x.dim(1)? - embedding)?.contiguous()?;
                    scores = (scores + rest.matmul(self.parameter(*extra))?)?;
                }
                scores.broadcast_add(self.parameter(*bias))
            }
        }
    }

    fn rows(&self, table: ParameterId, indices: &[u32]) -> candle_core::Result<Tensor> {
        self.arithmetic.rows(table, &self.indices(indices)?)
    }

    fn indices(&self, indices: &[u32]) -> candle_core::Result<Tensor> {
        Tensor::from_slice(indices, indices.len(), self.device)
    }

    /// `[next, current, previous]` within each sequence, zeros beyond its ends.
    fn join_neighbours(&self, rows: &Tensor) -> candle_core::Result<Tensor> {
        let (tokens, width) = rows.dims2()?;
        let zero = Tensor::zeros((1, width), rows.dtype(), self.device)?;
        let (mut next, mut previous) = (Vec::with_capacity(tokens), Vec::with_capacity(tokens));
        for s in 0..self.request.batch.sequences() {
            let range = self.request.batch.range(s);
            let row = |i: Option<usize>| i.filter(|i| range.contains(i)).unwrap_or(tokens) as u32;
            next.extend(range.clone().map(|i| row(Some(i + 1))));
            previous.extend(range.clone().map(|i| row(i.checked_sub(1))));
        }
        let padded = Tensor::cat(&[rows, &zero], 0)?;
        let [next, previous] =
            [next, previous].map(|indices| padded.index_select(&self.indices(&indices)?, 0));
        Tensor::cat(&[&next?, rows, &previous?], 1)
    }

    fn norm(&self, x: &Tensor, norm: &Norm) -> candle_core::Result<Tensor> {
        let normalised = match norm.kind {
            NormKind::NoNorm => x.clone(),
            NormKind::LayerNorm { eps } => {
                let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
                let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
                centred.broadcast_div(&(variance + f64::from(eps))?.sqrt()?)?
            }
        };
        normalised.broadcast_mul(self.parameter(norm.weight))?.broadcast_add(self.parameter(norm.bias))
    }
}

impl Backend for CandleBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn kernel(&self) -> &str {
        NAME
    }

    fn prefix(&self, graph: &Graph) -> Option<Box<dyn Backend>> {
        let begins = self.graph.nodes.starts_with(&graph.nodes)
            && self.graph.parameters.starts_with(&graph.parameters);
        begins.then(|| {
            // Clones of a tensor share its numbers.
            let parameters = self.parameters[..graph.parameters.len()].to_vec();
            Box::new(Self { graph: graph.clone(), parameters, device: self.device.clone() }) as _
        })
    }

    fn run(&self, request: &Request<'_>) -> Result<Vec<f32>> {
        let to_vec = |node: &Node, value: &Tensor| {
            let flat = value.to_dtype(DType::F32).and_then(|v| v.flatten_all()?.to_vec1::<f32>());
            flat.map_err(|e| backend_error(&node.name, e))
        };
        let see = |node: &Node, value: &Tensor| {
            request.observer.map_or(Ok(()), |observer| {
                observer.observe(node, &to_vec(node, value)?);
                Ok(())
            })
        };
        let output = run(&self.graph, self, request, &self.device, see)?;
        self.graph.nodes.last().map_or(Ok(Vec::new()), |node| to_vec(node, &output))
    }
}

/// The device that [`CandleFactory::new`] chooses.
pub(crate) fn device() -> Result<Device> {
    CandleFactory::new().open()
}

pub(crate) fn backend_error(node: &str, source: candle_core::Error) -> Error {
    ErrorKind::Backend { backend: NAME, node: node.to_owned(), source: Box::new(source) }.into()
}

fn attention(
    [query, key, value]: [&Tensor; 3],
    heads: usize,
    range: std::ops::Range<usize>,
) -> candle_core::Result<Tensor> {
    let (tokens, width) = (range.len(), query.dim(1)?);
    let head_size = width / heads;
    let split = |x: &Tensor| {
        x.narrow(0, range.start, tokens)?.reshape((tokens, heads, head_size))?.transpose(0, 1)?.contiguous()
    };
    let scores = (split(query)?.matmul(&split(key)?.t()?)? / (head_size as f64).sqrt())?;
    let probabilities = candle_nn::ops::softmax_last_dim(&scores)?;
    probabilities.matmul(&split(value)?)?.transpose(0, 1)?.reshape((tokens, width))
}

fn activate(x: &Tensor, activation: Activation) -> candle_core::Result<Tensor> {
    match activation {
        Activation::Identity => Ok(x.clone()),
        Activation::Relu => x.relu(),
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluNew => x.gelu(),
        Activation::Silu => x.silu(),
        Activation::Tanh => x.tanh(),
    }
}

/// For each node, the values that are not read after it.
fn dead_after(graph: &Graph) -> Vec<Vec<ValueId>> {
    let mut last_use: Vec<usize> = (0..graph.nodes.len()).collect();
    for (i, node) in graph.nodes.iter().enumerate() {
        for input in node.op.inputs() {
            last_use[input.0] = i;
        }
    }
    let mut dead = vec![Vec::new(); graph.nodes.len()];
    for (value, &node) in last_use.iter().enumerate() {
        if node > value {
            dead[node].push(ValueId(value));
        }
    }
    dead
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_chosen_by_name() {
        let named = [
            ("cpu", CandleDevice::Cpu),
            ("cuda", CandleDevice::Cuda(0)),
            ("metal:2", CandleDevice::Metal(2)),
        ];
        for (name, device) in named {
            assert_eq!(name.parse::<CandleDevice>().unwrap(), device);
        }
        for name in ["", "cpu:0", "cuda:", "cuda:x", "tpu", "CUDA"] {
            let error = name.parse::<CandleDevice>().unwrap_err();
            assert!(error.to_string().contains("`cuda:N`"), "{error}");
        }
    }

    /// A device that was asked for is never replaced by another one.
    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_device_that_this_build_lacks_is_an_error() {
        let error = CandleFactory::new().device(CandleDevice::Cuda(0)).open().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Backend { backend: NAME, .. }), "{error}");
    }
}
