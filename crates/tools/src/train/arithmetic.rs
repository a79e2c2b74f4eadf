//! A forward pass with gradients: in floats, or rounded as the int8 engine rounds.

use candle_core::{D, Result, Tensor};

use super::padded::Padded;
use super::parameters::{Parameters, Snapshot};
use super::straight_through::{activations, probabilities, straight_through, symmetric};
use crate::candle::{Arithmetic, backend_error};
use mobilebert::backend::native::{NativeBackend, NativeOptions};
use mobilebert::backend::{Backend as _, Observer, Request};
use mobilebert::format;
use mobilebert::graph::{Activation, Graph, Node, Op, ParameterId, ValueId};
use mobilebert::kernels::Levels;
use mobilebert::quant::{Bits, expand_int4, quantize_rows, quantize_rows_int4};
use mobilebert::text::Batch;

/// The arithmetic of one forward pass over one batch.
pub(super) struct Training<'p> {
    parameters: &'p Parameters,
    pub(super) padded: Padded,
    int8: Option<Int8>,
}

/// The current weights as the int8 engine computes with them.
struct Int8 {
    /// The dequantised value of each quantised weight.
    weights: Vec<Option<Tensor>>,
    /// How each value is rounded where a linear reads it.
    levels: Vec<Levels>,
    /// The engine's value of each node.
    values: Vec<Tensor>,
}

impl<'p> Training<'p> {
    pub(super) fn float(parameters: &'p Parameters, batch: &Batch) -> Result<Self> {
        Ok(Self { parameters, padded: Padded::new(batch, &parameters.device)?, int8: None })
    }

    /// Rounds weights, activations and attention, and replaces every value by the engine's own. Candle's
    /// values would differ by the order of f32 sums and the polynomial of exp, which sometimes moves a number
    /// to the next level. Candle's operations give the gradients.
    pub(super) fn int8(
        parameters: &'p Parameters,
        rounding: Rounding,
        batch: &Batch,
    ) -> mobilebert::Result<Self> {
        let failed = |e| backend_error("rounding", e);
        let stored = stored(parameters, rounding, batch).map_err(failed)?;
        let engine = NativeBackend::load(parameters.graph.clone(), &stored, NativeOptions::new())?;
        let mut this = Self::rounded(parameters, stored, batch).map_err(failed)?;
        let recorder = Recorder::default();
        engine.run(&Request { observer: Some(&recorder), ..Request::new(batch) })?;
        if let Some(int8) = &mut this.int8 {
            int8.values = recorder.tensors(parameters).map_err(failed)?;
        }
        Ok(this)
    }

    /// The same as [`Training::int8`], but keeps candle's values.
    pub(super) fn rounded(parameters: &'p Parameters, stored: Snapshot, batch: &Batch) -> Result<Self> {
        let weights = stored.0.into_iter().enumerate().map(|(i, tensor)| match tensor {
            format::Tensor::F32(_) => Ok(None),
            tensor => {
                let shape = parameters.vars[i].shape();
                Tensor::from_vec(tensor.into_f32().into_owned(), shape, &parameters.device).map(Some)
            }
        });
        let int8 = Int8 {
            weights: weights.collect::<Result<_>>()?,
            levels: levels(&parameters.graph),
            values: Vec::new(),
        };
        Ok(Self { int8: Some(int8), ..Self::float(parameters, batch)? })
    }

    fn rounding(&self, parameter: ParameterId) -> Option<(&Int8, &Tensor)> {
        let int8 = self.int8.as_ref()?;
        Some((int8, int8.weights[parameter.0].as_ref()?))
    }
}

impl Arithmetic for Training<'_> {
    fn parameter(&self, id: ParameterId) -> &Tensor {
        &self.parameters.vars[id.0]
    }

    fn rows(&self, table: ParameterId, indices: &Tensor) -> Result<Tensor> {
        let rows = self.parameter(table).index_select(indices, 0)?;
        match self.rounding(table) {
            Some((_, rounded)) => straight_through(&rows, &rounded.index_select(indices, 0)?),
            None => Ok(rows),
        }
    }

    fn product(&self, input: ValueId, x: &Tensor, weight: ParameterId) -> Result<Tensor> {
        let parameter = self.parameter(weight);
        match self.rounding(weight) {
            Some((int8, rounded)) => {
                activations(x, int8.levels[input.0])?.matmul(&straight_through(parameter, rounded)?.t()?)
            }
            None => x.matmul(&parameter.t()?),
        }
    }

    /// Computes all sequences in one product. They are padded for it, which changes no attention weight of a
    /// token.
    fn attention(&self, qkv: [&Tensor; 3], heads: usize, _: &Batch) -> Result<Tensor> {
        let (width, (sequences, longest)) = (qkv[0].dim(1)?, self.padded.size());
        let size = width / heads;
        let split = |x: &Tensor| {
            self.padded.block(x)?.reshape((sequences, longest, heads, size))?.transpose(1, 2)?.contiguous()
        };
        let (mut query, mut key, mut value) = (split(qkv[0])?, split(qkv[1])?, split(qkv[2])?);
        let mut value_scales = None;
        if self.int8.is_some() {
            query = activations(&query, Levels::Full)?;
            key = symmetric(&key)?.0;
            let (rounded, scales) = symmetric(&value)?;
            (value, value_scales) = (rounded, Some(scales));
        }
        let scores = self.padded.masked(&(query.matmul(&key.t()?)? / (size as f64).sqrt())?)?;
        let mut weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
        let sum = weights.sum_keepdim(D::Minus1)?;
        if let Some(scales) = value_scales {
            weights = probabilities(&weights, &scales)?;
        }
        let context = weights.matmul(&value)?.broadcast_div(&sum)?;
        self.padded.ragged(&context.transpose(1, 2)?.reshape((sequences * longest, width))?)
    }

    fn value(&self, id: ValueId, computed: Tensor) -> Result<Tensor> {
        match self.int8.as_ref().and_then(|int8| int8.values.get(id.0)) {
            Some(value) => straight_through(&computed, value),
            None => Ok(computed),
        }
    }
}

/// Quantises weights in rows of the given number of columns: int8 values, and a scale for each row.
pub(super) type Rounding = fn(&[f32], usize) -> (Vec<i8>, Vec<f32>);

/// The rounding that [`crate::writer::to_int8_with`] uses for `bits`.
pub(super) fn rounding(bits: Bits) -> Rounding {
    match bits {
        Bits::Eight => quantize_rows,
        Bits::Four => |values, columns| {
            let found = quantize_rows_int4(values, columns);
            (expand_int4(&found.nibbles, &found.multipliers, columns), found.scales)
        },
    }
}

/// Quantises the weights for the engine. The rows of words that are not in the batch are set to 0, to save
/// the time of quantising them.
pub(super) fn stored(parameters: &Parameters, rounding: Rounding, batch: &Batch) -> Result<Snapshot> {
    let graph = &parameters.graph;
    let tensors = graph.parameters.iter().enumerate().map(|(i, parameter)| {
        let id = ParameterId(i);
        let mut values = parameters.values(id)?;
        if !parameter.quantizable {
            return Ok(format::Tensor::F32(values.into()));
        }
        let columns = parameter.shape[1];
        if graph.nodes.iter().any(|node| matches!(node.op, Op::WordEmbedding { table, .. } if table == id)) {
            let mut used = vec![false; parameter.shape[0]];
            batch.ids().iter().for_each(|&id| used[id as usize] = true);
            let rows = values.chunks_exact_mut(columns).zip(used);
            rows.filter(|(_, used)| !used).for_each(|(row, _)| row.fill(0.0));
        }
        let (values, scales) = rounding(&values, columns);
        Ok(format::Tensor::Int8 { values: values.into(), scales: scales.into() })
    });
    Ok(Snapshot(tensors.collect::<Result<_>>()?))
}

/// The levels that each node's output is rounded to. After a ReLU they begin at 0.
fn levels(graph: &Graph) -> Vec<Levels> {
    let of = |node: &Node| match node.op {
        Op::Linear { activation: Activation::Relu, residual: None, norm: None, .. } => Levels::Unsigned,
        _ => Levels::Full,
    };
    graph.nodes.iter().map(of).collect()
}

/// Keeps every value of a pass.
#[derive(Default)]
struct Recorder(std::sync::Mutex<Vec<(usize, Vec<f32>)>>);

impl Observer for Recorder {
    fn observe(&self, node: &Node, output: &[f32]) {
        let mut values = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        values.push((node.width, output.to_vec()));
    }
}

impl Recorder {
    fn tensors(self, parameters: &Parameters) -> Result<Vec<Tensor>> {
        let values = self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let tensor = |(width, values): (usize, Vec<f32>)| {
            let shape = (values.len() / width, width);
            Tensor::from_vec(values, shape, &parameters.device)
        };
        values.into_iter().map(tensor).collect()
    }
}
