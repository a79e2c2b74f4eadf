//! Brings checkpoint tensors into the form that the kernels read.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::pages::Pages;
use super::plan::{Part, Plan, Product, Step};
use crate::backend::parallel;
use crate::error::{ErrorKind, Result};
use crate::format::{Tensor, WeightSource};
use crate::graph::{Graph, Norm, NormKind, ParameterId};
use crate::kernels::reference::fma;
use crate::kernels::{
    Aligned, EmbeddingTable, LayerNorm, Line, MOST_INPUTS, Memory, PackedBf16, PackedF32, PackedFloat,
    PackedI8, UnplacedFloat, UnplacedI8, Weight, padded,
};
use crate::quant::quantize_rows;

/// An embedding table.
#[derive(Debug)]
enum Table {
    F32(Vec<f32>),
    Int8(Vec<i8>, Vec<f32>),
}

/// All parameters that a plan reads. All calls share them.
#[derive(Debug)]
pub(super) struct Weights {
    /// The packed weights of [`Plan::int8`]; those of [`Plan::bf16`] and [`Plan::f32`] follow.
    pub(super) int8: Vec<PackedI8>,
    pub(super) bf16: Vec<PackedBf16>,
    pub(super) f32: Vec<PackedF32>,
    tables: HashMap<ParameterId, Table>,
    /// Position and segment embeddings in f32.
    pub(super) small_tables: HashMap<ParameterId, Vec<f32>>,
    /// Parameters with one number per column, padded.
    columns: HashMap<ParameterId, Aligned<[f32; 16]>>,
    /// Ones, as many as the widest linear has columns.
    ones: Aligned<[f32; 16]>,
}

impl Weights {
    pub(super) fn load(
        graph: &Graph,
        plan: &Plan,
        source: &dyn WeightSource,
        int8_tables: &[ParameterId],
    ) -> Result<Self> {
        let products = || -> Result<_> {
            let pack = |parts: &[Part], to: &mut [Line<[u8; 64]>]| pack_int8(graph, parts, source, to);
            let int8 = pack_all(graph, &plan.int8, PackedI8::lines_of, pack, UnplacedI8::at)?;
            let bf16 = pack_floats(graph, &plan.bf16, source)?;
            Ok((int8, bf16, pack_floats(graph, &plan.f32, source)?))
        };
        let unpacked = || Unpacked::load(graph, plan, source, int8_tables);
        // Copying the word embedding table takes a fifth of the time that packing takes, so both run in
        // parallel.
        let (unpacked, products) = parallel::join(unpacked, products);
        let Unpacked { tables, small_tables, columns } = unpacked?;
        let (int8, bf16, f32) = products?;
        let mut weights = Self { int8, bf16, f32, tables, small_tables, columns, ones: padded(&[], 1.0) };
        weights.ones = padded(&vec![1.0; weights.widest()], 1.0);
        Ok(weights)
    }

    /// Inputs and outputs of a product.
    pub(super) fn shape(&self, product: Product) -> [usize; 2] {
        match product {
            Product::Int8(_, w) => [self.int8[w].inputs(), self.int8[w].outputs()],
            Product::Bf16(_, w) => [self.bf16[w].inputs(), self.bf16[w].outputs()],
            Product::F32(_, w) => [self.f32[w].inputs(), self.f32[w].outputs()],
        }
    }

    /// The packed weights of the next product of the same precision.
    pub(super) fn after(&self, product: Product) -> &[Line<[u8; 64]>] {
        match product {
            Product::Int8(_, w) => self.int8.get(w + 1).map_or(&[], PackedI8::lines),
            Product::Bf16(_, w) => self.bf16.get(w + 1).map_or(&[], PackedBf16::lines),
            Product::F32(_, w) => self.f32.get(w + 1).map_or(&[], PackedF32::lines),
        }
    }

    /// Number of columns of the widest linear.
    pub(super) fn widest(&self) -> usize {
        let int8 = self.int8.iter().map(PackedI8::outputs);
        let bf16 = self.bf16.iter().map(PackedBf16::outputs);
        int8.chain(bf16).chain(self.f32.iter().map(PackedF32::outputs)).max().unwrap_or(0)
    }

    /// The factor of a residual; ones if there is none.
    pub(super) fn gamma(&self, id: Option<ParameterId>) -> &[[f32; 16]] {
        id.map_or(&self.ones, |id| &self.columns[&id])
    }

    pub(super) fn norm(&self, norm: &Norm) -> LayerNorm<'_> {
        let eps = match norm.kind {
            NormKind::NoNorm => None,
            NormKind::LayerNorm { eps } => Some(eps),
        };
        LayerNorm { gamma: &self.columns[&norm.weight], beta: &self.columns[&norm.bias], eps }
    }

    pub(super) fn table(&self, id: ParameterId) -> EmbeddingTable<'_> {
        match &self.tables[&id] {
            Table::F32(values) => EmbeddingTable::F32(values),
            Table::Int8(values, scales) => EmbeddingTable::Int8(values, scales),
        }
    }

    /// Bytes of memory of all weight matrices and embedding tables.
    pub(super) fn bytes(&self) -> usize {
        let table = |t: &Table| match t {
            Table::F32(values) => size_of_val(&**values),
            Table::Int8(values, scales) => size_of_val(&**values) + size_of_val(&**scales),
        };
        self.int8.iter().map(PackedI8::bytes).sum::<usize>()
            + self.bf16.iter().map(PackedBf16::bytes).sum::<usize>()
            + self.f32.iter().map(PackedF32::bytes).sum::<usize>()
            + self.tables.values().map(table).sum::<usize>()
            + self.small_tables.values().map(|t| size_of_val(&**t)).sum::<usize>()
    }
}

/// The parameters that kernels read without packing.
#[derive(Default)]
struct Unpacked {
    tables: HashMap<ParameterId, Table>,
    small_tables: HashMap<ParameterId, Vec<f32>>,
    columns: HashMap<ParameterId, Aligned<[f32; 16]>>,
}

impl Unpacked {
    fn load(
        graph: &Graph,
        plan: &Plan,
        source: &dyn WeightSource,
        int8_tables: &[ParameterId],
    ) -> Result<Self> {
        let mut unpacked = Self::default();
        for step in plan.stages.iter().flat_map(|stage| &stage.steps) {
            match step {
                Step::Embed { table, .. } => {
                    let int8 = int8_tables.contains(table);
                    unpacked.tables.insert(*table, load_table(graph, *table, source, int8)?);
                }
                Step::PositionAndType { tables: (position, token_type), norm, .. } => {
                    for id in [Some(*position), *token_type].into_iter().flatten() {
                        let table = load_table(graph, id, source, int8_tables.contains(&id))?;
                        unpacked.small_tables.insert(id, table.into_f32(graph.parameter(id).shape[1]));
                    }
                    unpacked.load_columns(source, [norm.weight, norm.bias])?;
                }
                Step::Linear(linear) => {
                    unpacked.load_columns(source, linear.residual.and_then(|r| r.1))?;
                    unpacked.load_columns(source, linear.norm.iter().flat_map(|n| [n.weight, n.bias]))?;
                }
                _ => {}
            }
        }
        Ok(unpacked)
    }

    fn load_columns(
        &mut self,
        source: &dyn WeightSource,
        ids: impl IntoIterator<Item = ParameterId>,
    ) -> Result<()> {
        for id in ids {
            self.columns.insert(id, padded(&source.tensor(id)?.into_f32(), 0.0));
        }
        Ok(())
    }
}

impl Table {
    fn into_f32(self, width: usize) -> Vec<f32> {
        match self {
            Table::F32(values) => values,
            Table::Int8(values, scales) => {
                let rows = values.chunks_exact(width.max(1)).zip(&scales);
                rows.flat_map(|(row, s)| row.iter().map(move |&q| f32::from(q) * s)).collect()
            }
        }
    }
}

fn load_table(graph: &Graph, id: ParameterId, source: &dyn WeightSource, int8: bool) -> Result<Table> {
    let width = graph.parameter(id).shape[1];
    let table = match source.tensor(id)? {
        Tensor::Int8 { values, scales } => Table::Int8(values.into_owned(), scales.into_owned()),
        Tensor::F32(values) if int8 => {
            let (values, scales) = quantize_rows(&values, width);
            Table::Int8(values, scales)
        }
        Tensor::F32(values) => Table::F32(values.into_owned()),
    };
    source.release(id);
    Ok(table)
}

/// Packs the weights of all products into one piece of memory, next to each other.
fn pack_all<U: Send, P>(
    graph: &Graph,
    products: &[Vec<Part>],
    lines_of: fn(usize, usize) -> usize,
    pack: impl Fn(&[Part], &mut [Line<[u8; 64]>]) -> Result<U> + Send + Sync,
    at: impl Fn(U, Memory, usize) -> P,
) -> Result<Vec<P>> {
    let lines = |parts: &Vec<Part>| {
        let outputs = parts.iter().map(|part| size(graph, part).1).sum();
        lines_of(parts.first().map_or(0, |part| size(graph, part).0), outputs)
    };
    let sizes: Vec<usize> = products.iter().map(lines).collect();
    let mut pages = Pages::new(sizes.iter().sum());
    let mut rest = pages.as_mut();
    let mut rooms = Vec::with_capacity(sizes.len());
    for &size in &sizes {
        let (room, behind) = rest.split_at_mut(size);
        rooms.push(room);
        rest = behind;
    }
    let work: Vec<_> = products.iter().zip(rooms).collect();
    let packed = parallel::map(work, |(parts, room)| pack(parts, room));
    let packed = packed.into_iter().collect::<Result<Vec<U>>>()?;
    let memory: Memory = Arc::new(pages);
    let mut placed = Vec::with_capacity(packed.len());
    let mut first = 0;
    for (unplaced, size) in packed.into_iter().zip(sizes) {
        placed.push(at(unplaced, memory.clone(), first));
        first += size;
    }
    Ok(placed)
}

fn pack_floats<T: Weight>(
    graph: &Graph,
    products: &[Vec<Part>],
    source: &dyn WeightSource,
) -> Result<Vec<PackedFloat<T>>> {
    let pack = |parts: &[Part], to: &mut [Line<[u8; 64]>]| {
        let (inputs, bias, factors) = columns(graph, parts, source)?;
        let mut weights = Vec::new();
        for part in parts {
            weights.extend(rows(graph, part, source.tensor(part.weight)?.into_f32().into_owned()));
        }
        parts.iter().for_each(|part| source.release(part.weight));
        Ok(PackedFloat::pack(inputs, &weights, Some(&factors), &bias, to))
    };
    pack_all(graph, products, PackedFloat::<T>::lines_of, pack, UnplacedFloat::at)
}

fn pack_int8(
    graph: &Graph,
    parts: &[Part],
    source: &dyn WeightSource,
    to: &mut [Line<[u8; 64]>],
) -> Result<UnplacedI8> {
    let (inputs, bias, factors) = columns(graph, parts, source)?;
    if inputs > MOST_INPUTS {
        let problem = format!(
            "a linear of int8 has {inputs} inputs; expected at most {MOST_INPUTS}, because more products could \
             overflow their sum; keep it in f32"
        );
        let place = parts.first().map_or_else(String::new, |part| graph.parameter(part.weight).name.clone());
        return Err(ErrorKind::Input { place, problem }.into());
    }
    let (mut values, mut scales) = (Cow::Borrowed(&[][..]), Vec::new());
    for part in parts {
        let (v, s) = match source.tensor(part.weight)? {
            Tensor::Int8 { values, scales } if !part.transposed => (values, scales.into_owned()),
            tensor => {
                let (v, s) = quantize_rows(&rows(graph, part, as_stored(graph, part, tensor)), inputs);
                (Cow::Owned(v), s)
            }
        };
        scales.extend(s);
        if values.is_empty() {
            values = v;
        } else {
            values.to_mut().extend_from_slice(&v);
        }
    }
    for (scale, factor) in scales.iter_mut().zip(&factors) {
        *scale *= factor;
    }
    let packed = PackedI8::pack(inputs, &values, &scales, &bias, to);
    parts.iter().for_each(|part| source.release(part.weight));
    Ok(packed)
}

/// Converts a tensor that will be quantised along its columns to f32. An int8 model has one scale for each
/// row of the tensor as it is stored. F32 weights are rounded to this form first, so that both models give
/// the same bits.
fn as_stored(graph: &Graph, part: &Part, tensor: Tensor<'_>) -> Vec<f32> {
    match tensor {
        Tensor::F32(values) if part.transposed => {
            let (values, scales) = quantize_rows(&values, graph.parameter(part.weight).shape[1]);
            Tensor::Int8 { values: values.into(), scales: scales.into() }.into_f32().into_owned()
        }
        tensor => tensor.into_f32().into_owned(),
    }
}

/// The number of inputs of a product, and the bias and the factor of each column.
fn columns(graph: &Graph, parts: &[Part], source: &dyn WeightSource) -> Result<(usize, Vec<f32>, Vec<f32>)> {
    let (mut bias, mut factors) = (Vec::new(), Vec::new());
    for part in parts {
        let (b, f) = bias_and_factors(graph, part, source)?;
        bias.extend(b);
        factors.extend(f);
    }
    Ok((parts.first().map_or(0, |part| size(graph, part).0), bias, factors))
}

/// The number of inputs and outputs of a part.
fn size(graph: &Graph, part: &Part) -> (usize, usize) {
    let shape = &graph.parameter(part.weight).shape;
    if part.transposed { (shape[0], shape[1]) } else { (shape[1], shape[0]) }
}

/// The weights of a part as `[outputs, inputs]`.
fn rows(graph: &Graph, part: &Part, values: Vec<f32>) -> Vec<f32> {
    if !part.transposed {
        return values;
    }
    let (inputs, outputs) = size(graph, part);
    (0..outputs)
        .flat_map(|o| (0..inputs).map(move |i| (i, o)))
        .map(|(i, o)| values[i * outputs + o])
        .collect()
}

/// The bias and the factor of each column of a part. They fold a NoNorm: `gamma * (W x + b) + beta` is a
/// linear with weights `gamma * W` and bias `gamma * b + beta`.
fn bias_and_factors(graph: &Graph, part: &Part, source: &dyn WeightSource) -> Result<(Vec<f32>, Vec<f32>)> {
    let (_, outputs) = size(graph, part);
    let mut bias = match part.bias {
        Some(id) => source.tensor(id)?.into_f32().into_owned(),
        None => vec![0.0; outputs],
    };
    let Some(norm) = part.fold else { return Ok((bias, vec![1.0; outputs])) };
    let (gamma, beta) = (source.tensor(norm.weight)?.into_f32(), source.tensor(norm.bias)?.into_f32());
    for ((bias, gamma), beta) in bias.iter_mut().zip(gamma.iter()).zip(beta.iter()) {
        *bias = fma(*gamma, *bias, *beta);
    }
    Ok((bias, gamma.into_owned()))
}
