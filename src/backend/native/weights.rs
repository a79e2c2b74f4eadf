//! Checkpoint tensors in the form the kernels read.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use rayon::prelude::*;

use super::pages::Pages;
use super::plan::{Matrix, Part, Plan, Step};
use crate::error::Result;
use crate::format::{Tensor, WeightSource};
use crate::graph::{Graph, Norm, NormKind, ParameterId};
use crate::kernels::{
    Aligned, LayerNorm, Line, Memory, PackedF32, PackedI8, Rows, UnplacedF32, UnplacedI8, padded,
};
use crate::quant::quantize_rows;

/// Weights of one product.
#[derive(Debug)]
pub(super) enum Packed {
    Int8(PackedI8),
    F32(PackedF32),
}

impl Packed {
    pub(super) fn outputs(&self) -> usize {
        match self {
            Packed::Int8(w) => w.outputs(),
            Packed::F32(w) => w.outputs(),
        }
    }

    pub(super) fn inputs(&self) -> usize {
        match self {
            Packed::Int8(w) => w.inputs(),
            Packed::F32(w) => w.inputs(),
        }
    }

    pub(super) fn lines(&self) -> &[Line<[u8; 64]>] {
        match self {
            Packed::Int8(w) => w.lines(),
            Packed::F32(w) => w.lines(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Packed::Int8(w) => w.bytes(),
            Packed::F32(w) => w.bytes(),
        }
    }
}

/// An embedding table.
#[derive(Debug)]
enum Table {
    F32(Vec<f32>),
    Int8(Vec<i8>, Vec<f32>),
}

/// Everything that a plan reads, shared by all calls.
#[derive(Debug)]
pub(super) struct Weights {
    pub(super) matrices: Vec<Packed>,
    tables: HashMap<ParameterId, Table>,
    /// Position and segment embeddings in f32.
    pub(super) small_tables: HashMap<ParameterId, Vec<f32>>,
    /// Per-column parameters, padded.
    columns: HashMap<ParameterId, Aligned<[f32; 16]>>,
    /// As many ones as the widest linear has columns.
    ones: Aligned<[f32; 16]>,
}

impl Weights {
    pub(super) fn load(
        graph: &Graph,
        plan: &Plan,
        source: &dyn WeightSource,
        int8_tables: bool,
    ) -> Result<Self> {
        let matrices = pack_all(graph, &plan.matrices, source)?;
        let widest = matrices.iter().map(Packed::outputs).max().unwrap_or(0);
        let mut weights = Self {
            matrices,
            tables: HashMap::new(),
            small_tables: HashMap::new(),
            columns: HashMap::new(),
            ones: padded(&vec![1.0; widest], 1.0),
        };
        for step in plan.stages.iter().flat_map(|stage| &stage.steps) {
            match step {
                Step::Embed { table, .. } => {
                    let int8 = int8_tables && graph.parameter(*table).quantizable;
                    weights.tables.insert(*table, load_table(graph, *table, source, int8)?);
                }
                Step::PositionAndType { position, token_type, norm, .. } => {
                    for id in [*position, *token_type] {
                        let int8 = int8_tables && graph.parameter(id).quantizable;
                        let table =
                            load_table(graph, id, source, int8)?.into_f32(graph.parameter(id).shape[1]);
                        weights.small_tables.insert(id, table);
                    }
                    weights.load_columns(source, [norm.weight, norm.bias])?;
                }
                Step::Linear(linear) => {
                    weights.load_columns(source, linear.residual.and_then(|r| r.1))?;
                    weights.load_columns(source, linear.norm.iter().flat_map(|n| [n.weight, n.bias]))?;
                }
                _ => {}
            }
        }
        Ok(weights)
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

    /// The factor of a residual.
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

    pub(super) fn table(&self, id: ParameterId) -> Rows<'_> {
        match &self.tables[&id] {
            Table::F32(values) => Rows::F32(values),
            Table::Int8(values, scales) => Rows::Int8(values, scales),
        }
    }

    /// Bytes of memory of all matrices and tables.
    pub(super) fn bytes(&self) -> usize {
        let table = |t: &Table| match t {
            Table::F32(values) => size_of_val(&**values),
            Table::Int8(values, scales) => size_of_val(&**values) + size_of_val(&**scales),
        };
        self.matrices.iter().map(Packed::bytes).sum::<usize>()
            + self.tables.values().map(table).sum::<usize>()
            + self.small_tables.values().map(|t| size_of_val(&**t)).sum::<usize>()
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
    Ok(match source.tensor(id)? {
        Tensor::Int8 { values, scales } => Table::Int8(values.into_owned(), scales.into_owned()),
        Tensor::F32(values) if int8 => {
            let (values, scales) = quantize_rows(&values, width);
            Table::Int8(values, scales)
        }
        Tensor::F32(values) => Table::F32(values.into_owned()),
    })
}

/// Packs all matrices into one piece of memory, side by side.
fn pack_all(graph: &Graph, matrices: &[Matrix], source: &dyn WeightSource) -> Result<Vec<Packed>> {
    let sizes: Vec<usize> = matrices.iter().map(|matrix| lines_of(graph, matrix)).collect();
    let mut pages = Pages::new(sizes.iter().sum());
    let mut rest = pages.as_mut();
    let mut rooms = Vec::with_capacity(sizes.len());
    for &size in &sizes {
        let (room, behind) = rest.split_at_mut(size);
        rooms.push(room);
        rest = behind;
    }
    let packed = matrices.par_iter().zip(rooms).map(|(matrix, room)| pack(graph, matrix, source, room));
    let packed = packed.collect::<Result<Vec<Unplaced>>>()?;
    let (memory, mut first): (Memory, usize) = (Arc::new(pages), 0);
    let mut place = |(unplaced, size): (Unplaced, usize)| {
        first += size;
        match unplaced {
            Unplaced::Int8(w) => Packed::Int8(w.at(memory.clone(), first - size)),
            Unplaced::F32(w) => Packed::F32(w.at(memory.clone(), first - size)),
        }
    };
    Ok(packed.into_iter().zip(sizes).map(&mut place).collect())
}

enum Unplaced {
    Int8(UnplacedI8),
    F32(UnplacedF32),
}

fn lines_of(graph: &Graph, matrix: &Matrix) -> usize {
    let inputs = matrix.parts.first().map_or(0, |part| size(graph, part).0);
    let outputs = matrix.parts.iter().map(|part| size(graph, part).1).sum();
    if matrix.int8 { PackedI8::lines_of(inputs, outputs) } else { PackedF32::lines_of(inputs, outputs) }
}

fn pack(
    graph: &Graph,
    matrix: &Matrix,
    source: &dyn WeightSource,
    to: &mut [Line<[u8; 64]>],
) -> Result<Unplaced> {
    let mut bias = Vec::new();
    let mut factors = Vec::new();
    for part in &matrix.parts {
        let (b, f) = bias_and_factors(graph, part, source)?;
        bias.extend(b);
        factors.extend(f);
    }
    let (inputs, _) = matrix.parts.first().map_or((0, 0), |part| size(graph, part));
    if !matrix.int8 {
        let mut weights = Vec::new();
        for part in &matrix.parts {
            weights.extend_from_slice(&rows(
                graph,
                part,
                source.tensor(part.weight)?.into_f32().into_owned(),
            ));
        }
        return Ok(Unplaced::F32(PackedF32::pack(inputs, &weights, Some(&factors), &bias, to)));
    }
    let (mut values, mut scales) = (Cow::Borrowed(&[][..]), Vec::new());
    for part in &matrix.parts {
        let (v, s) = match source.tensor(part.weight)? {
            Tensor::Int8 { values, scales } if !part.transposed => (values, scales.into_owned()),
            tensor => {
                let (v, s) = quantize_rows(&rows(graph, part, tensor.into_f32().into_owned()), inputs);
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
    Ok(Unplaced::Int8(PackedI8::pack(inputs, &values, &scales, &bias, to)))
}

/// Inputs and outputs of a part.
fn size(graph: &Graph, part: &Part) -> (usize, usize) {
    let shape = &graph.parameter(part.weight).shape;
    if part.transposed { (shape[0], shape[1]) } else { (shape[1], shape[0]) }
}

/// `[outputs, inputs]`
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

/// `gamma * (W x + b) + beta` is a linear with `gamma * W` and `gamma * b + beta`.
fn bias_and_factors(graph: &Graph, part: &Part, source: &dyn WeightSource) -> Result<(Vec<f32>, Vec<f32>)> {
    let (_, outputs) = size(graph, part);
    let mut bias = match part.bias {
        Some(id) => source.tensor(id)?.into_f32().into_owned(),
        None => vec![0.0; outputs],
    };
    let Some(norm) = part.fold else { return Ok((bias, vec![1.0; outputs])) };
    let (gamma, beta) = (source.tensor(norm.weight)?.into_f32(), source.tensor(norm.bias)?.into_f32());
    for ((bias, gamma), beta) in bias.iter_mut().zip(gamma.iter()).zip(beta.iter()) {
        *bias = gamma.mul_add(*bias, *beta);
    }
    Ok((bias, gamma.into_owned()))
}
