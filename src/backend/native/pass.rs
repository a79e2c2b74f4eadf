//! One forward pass: runs the steps of a plan on the blocks of a batch.

#![allow(unsafe_code)]

use std::sync::Mutex;

use super::arena::{Arena, Buffers, Data, StripBuffers, ThreadState, lock};
use super::layout::Block;
use super::plan::{Heads, Home, Linear, Place, Plan, Product, Query, Stage, Step};
use super::threads::Work;
use super::weights::Weights;
use crate::backend::Request;
use crate::graph::{ParameterId, Rows};
use crate::kernels::{
    Attention, AttentionInput, Epilogue, FloatRows, Gemm, Input, Kernels, KeysValuesF32, KeysValuesI8,
    Levels, Output, PositionAndType, QuantizedRows, QuantizedRowsMut, Residual, row_bytes, row_stride,
};
use crate::profile::Profiler;

/// The state that all blocks of a pass share.
pub(super) struct Pass<'a> {
    pub(super) kernels: &'static dyn Kernels,
    pub(super) plan: &'a Plan,
    pub(super) weights: &'a Weights,
    pub(super) request: &'a Request<'a>,
    pub(super) arena: &'a Arena,
    /// Most rows of a block of selected rows.
    pub(super) selected_block: usize,
    pub(super) output: Mutex<&'a mut [f32]>,
}

/// The rows of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockRows {
    /// Index of the block in its stage.
    pub(super) index: usize,
    pub(super) first: usize,
    pub(super) rows: usize,
}

/// Number of rows that a stage works on.
pub(super) fn rows(stage: &Stage, request: &Request<'_>) -> usize {
    match (stage.selected, request.rows) {
        (Some(Rows::First), _) => request.batch.sequences(),
        (Some(Rows::Requested), Some(rows)) => rows.len(),
        _ => request.batch.tokens(),
    }
}

fn floats<'a>(data: &'a Data, place: Place) -> FloatRows<'a> {
    FloatRows { values: &data.floats[place.column..], stride: data.stride }
}

fn quantized(data: &Data) -> QuantizedRows<'_> {
    QuantizedRows { values: &data.bytes, stride: data.stride, ranges: &data.ranges }
}

fn quantized_mut(data: &mut Data, levels: Levels) -> QuantizedRowsMut<'_> {
    QuantizedRowsMut { values: &mut data.bytes, stride: data.stride, ranges: &mut data.ranges, levels }
}

impl Work for Pass<'_> {
    fn blocks(&self, stage: usize) -> usize {
        let stage = &self.plan.stages[stage];
        match stage.selected {
            None => self.arena.layout.blocks.len(),
            Some(_) => rows(stage, self.request).div_ceil(self.selected_block),
        }
    }

    fn run(&self, participant: usize, stage: usize, index: usize) {
        let stage = &self.plan.stages[stage];
        let mut thread = lock(&self.arena.threads[participant]);
        let ThreadState { buffers, group, scores, weights, strip } = &mut *thread;
        let mut none = Vec::new();
        let state = if stage.selected.is_none() { index } else { self.arena.layout.blocks.len() + index };
        let mut guard = self.arena.blocks.get(state).map(lock);
        let block = guard.as_mut().map_or(&mut none, |guard| &mut **guard);
        let mut buffers = Buffers { buffers: &self.plan.buffers, block, thread: buffers };
        let (first, rows) = match stage.selected {
            None => {
                let block = &self.arena.layout.blocks[index];
                (block.first, block.rows)
            }
            Some(_) => {
                let first = index * self.selected_block;
                (first, self.selected_block.min(rows(stage, self.request) - first))
            }
        };
        let place = BlockRows { index, first, rows };
        let mut start = self.request.profiler.map(Profiler::now);
        for (i, step) in stage.steps.iter().enumerate() {
            self.step(step, stage, place, &mut buffers, (group, scores, weights, strip));
            if let (Some(profiler), Some(start)) = (self.request.profiler, &mut start) {
                let op = stage.first_op + i;
                let macs = step.macs(self.weights, &self.arena.layout, place);
                *start = profiler.record(op, participant, rows, macs, *start);
            }
        }
    }

    fn wait(&self) -> u64 {
        self.request.profiler.map_or(0, Profiler::now)
    }

    fn waited(&self, participant: usize, start: u64) {
        if let Some(profiler) = self.request.profiler {
            profiler.record(self.plan.barrier(), participant, 0, 0, start);
        }
    }
}

impl Pass<'_> {
    fn step(
        &self,
        step: &Step,
        stage: &Stage,
        place: BlockRows,
        buffers: &mut Buffers<'_>,
        (group, scores, weights, strip): (&mut [f32], &mut [f32], &mut [u8], &mut StripBuffers),
    ) {
        match step {
            Step::Linear(linear) => self.linear(linear, place.rows, buffers, group),
            Step::Quantize { from, width, to, levels } => {
                let mut out = buffers.take(*to);
                let x = floats(buffers.get(from.buffer), *from);
                self.kernels.quantize(place.rows, *width, x, quantized_mut(&mut out, *levels));
                buffers.put(*to, out);
            }
            Step::QuantizeHeads { from, heads, to } => {
                let mut out = buffers.take(*to);
                let x = buffers.get(from.buffer);
                self.quantize_heads(*heads, place.rows, (x, *from), &mut out);
                buffers.put(*to, out);
            }
            Step::PackKeysValues { key, value, heads } => {
                let block = &self.arena.layout.blocks[place.index];
                let (k, v) = (buffers.get(key.buffer), buffers.get(value.buffer));
                self.pack(*heads, block, (floats(k, *key), floats(v, *value)), strip);
            }
            Step::Attention { query, heads, to } => {
                let block = &self.arena.layout.blocks[place.index];
                let mut out = buffers.take(*to);
                self.attention(*heads, block, *query, buffers, (scores, weights), &mut out);
                buffers.put(*to, out);
            }
            Step::Embed { table, trigram, to } => {
                let block = &self.arena.layout.blocks[place.index];
                let mut out = buffers.take(*to);
                self.embed(*table, *trigram, block, &mut out);
                buffers.put(*to, out);
            }
            Step::PositionAndType { input, tables: (position, token_type), norm, to } => {
                let block = &self.arena.layout.blocks[place.index];
                let mut out = buffers.take(*to);
                let (x, width, stride) = (buffers.get(input.buffer), out.width, out.stride);
                for (row, to) in out.floats.chunks_exact_mut(stride).enumerate().take(place.rows) {
                    to[..width].copy_from_slice(&x.floats[row * x.stride + input.column..][..width]);
                }
                for s in self.arena.layout.segments(block) {
                    let token = self.request.batch.range(s.sequence).start + s.token;
                    self.kernels.position_and_type(PositionAndType {
                        values: &mut out.floats[s.row * stride..],
                        stride,
                        width,
                        position: &self.weights.small_tables[position],
                        first: s.token,
                        token_type: token_type.map(|id| &self.weights.small_tables[&id][..]),
                        type_ids: &self.request.batch.type_ids()[token..token + s.rows],
                        norm: self.weights.norm(norm),
                    });
                }
                buffers.put(*to, out);
            }
            Step::Gather { from, to } => {
                let mut out = buffers.take(*to);
                let (width, stride) = (out.width, out.stride);
                for (row, to) in out.floats.chunks_exact_mut(stride).enumerate().take(place.rows) {
                    self.token_row(self.selected(stage, place.first + row), *from, &mut to[..width]);
                }
                buffers.put(*to, out);
            }
            Step::Emit { from, width } => {
                let (x, width) = (buffers.get(from.buffer), *width);
                let mut output = lock(&self.output);
                for (row, to) in
                    output[place.first * width..].chunks_exact_mut(width).enumerate().take(place.rows)
                {
                    to.copy_from_slice(&x.floats[row * x.stride + from.column..][..width]);
                }
            }
        }
    }

    /// The token of the `i`-th selected row.
    fn selected(&self, stage: &Stage, i: usize) -> usize {
        match (stage.selected, self.request.rows) {
            (Some(Rows::First), _) => self.request.batch.range(i).start,
            (Some(Rows::Requested), Some(rows)) => rows[i],
            _ => i,
        }
    }

    /// Copies columns of a token's row from the block that has it.
    fn token_row(&self, token: usize, from: Place, to: &mut [f32]) {
        let (block, row) = self.arena.layout.find(token);
        self.block_row(block, row, from, to);
    }

    /// Copies columns of a selected row from its block. Only observed passes have blocks of selected rows.
    fn selected_row(&self, row: usize, from: Place, to: &mut [f32]) {
        let block = self.arena.layout.blocks.len() + row / self.selected_block;
        self.block_row(block, row % self.selected_block, from, to);
    }

    fn block_row(&self, block: usize, row: usize, from: Place, to: &mut [f32]) {
        if let Home::Block(home) = self.plan.buffers[from.buffer.0] {
            let block = lock(&self.arena.blocks[block]);
            let data = &block[home];
            to.copy_from_slice(&data.floats[row * data.stride + from.column..][..to.len()]);
        }
    }

    /// Copies columns of a row of a stage.
    pub(super) fn row_of(&self, stage: &Stage, row: usize, from: Place, to: &mut [f32]) {
        match stage.selected {
            None => self.token_row(row, from, to),
            Some(_) => self.selected_row(row, from, to),
        }
    }

    fn linear(&self, linear: &Linear, rows: usize, buffers: &mut Buffers<'_>, group: &mut [f32]) {
        let mut to = linear.to.map(|id| buffers.take(id));
        let mut bytes = linear.quantized.map(|(id, _)| buffers.take(id));
        let input = match linear.product {
            Product::Int8(id, w) => Input::Int8(quantized(buffers.get(id)), self.weights.int8[w].view()),
            Product::Bf16(id, w) => Input::Bf16(quantized(buffers.get(id)), self.weights.bf16[w].view()),
            Product::F32(place, w) => {
                Input::F32(floats(buffers.get(place.buffer), place), self.weights.f32[w].view())
            }
        };
        let residual = linear.residual.map(|(place, gamma)| Residual {
            rows: floats(buffers.get(place.buffer), place),
            gamma: self.weights.gamma(gamma),
        });
        let norm = linear.norm.as_ref().map(|norm| self.weights.norm(norm));
        let quantized = match (&mut bytes, linear.quantized) {
            (Some(data), Some((_, levels))) => Some(quantized_mut(data, levels)),
            _ => None,
        };
        let output = match &mut to {
            Some(data) => Output { values: &mut data.floats, stride: data.stride, keep: true, quantized },
            None => Output {
                values: group,
                stride: row_stride(self.weights.shape(linear.product)[1]),
                keep: false,
                quantized,
            },
        };
        self.kernels.gemm(Gemm {
            rows,
            input,
            epilogue: Epilogue { activation: linear.activation, residual, norm },
            output,
            ahead: self.weights.after(linear.product),
        });
        if let (Some(id), Some(data)) = (linear.to, to) {
            buffers.put(id, data);
        }
        if let (Some((id, _)), Some(data)) = (linear.quantized, bytes) {
            buffers.put(id, data);
        }
    }

    fn embed(&self, table: ParameterId, trigram: bool, block: &Block, to: &mut Data) {
        let (batch, table) = (self.request.batch, self.weights.table(table));
        let width = if trigram { to.width / 3 } else { to.width };
        for s in self.arena.layout.segments(block) {
            let tokens = batch.range(s.sequence);
            for row in 0..s.rows {
                let token = tokens.start + s.token + row;
                let to = &mut to.floats[(s.row + row) * to.stride..][..to.width];
                let copy = |token: Option<usize>, to: &mut [f32]| match token {
                    Some(token) => table.copy(batch.ids()[token] as usize, to),
                    None => to.fill(0.0),
                };
                if !trigram {
                    copy(Some(token), to);
                    continue;
                }
                let (next, rest) = to.split_at_mut(width);
                let (current, previous) = rest.split_at_mut(width);
                copy(Some(token + 1).filter(|t| tokens.contains(t)), next);
                copy(Some(token), current);
                copy(token.checked_sub(1).filter(|t| tokens.contains(t)), previous);
            }
        }
    }

    fn quantize_heads(&self, heads: Heads, rows: usize, (x, place): (&Data, Place), to: &mut Data) {
        let (stride, ranges) = (to.stride, to.ranges.len() / heads.count);
        for head in 0..heads.count {
            let x = FloatRows { values: &x.floats[place.column + head * heads.size..], stride: x.stride };
            let q = QuantizedRowsMut {
                values: &mut to.bytes[head * row_bytes(heads.size)..],
                stride,
                ranges: &mut to.ranges[head * ranges..],
                levels: Levels::Full,
            };
            self.kernels.quantize(rows, heads.size, x, q);
        }
    }

    fn attention(
        &self,
        heads: Heads,
        block: &Block,
        query: Query,
        buffers: &Buffers<'_>,
        (scores, weights): (&mut [f32], &mut [u8]),
        to: &mut Data,
    ) {
        let kv = &self.arena.keys_values[heads.index % 2];
        let scale = 1.0 / (heads.size as f32).sqrt();
        let dimensions = heads.size.div_ceil(16);
        for s in self.arena.layout.segments(block) {
            let slots = self.arena.layout.sequences[s.sequence];
            for head in 0..heads.count {
                let (first, column) = (slots.head(head, heads.count), head * heads.size);
                let strips = |per: usize| first * per..(first + slots.strips) * per;
                // SAFETY: the stage before wrote these strips and is complete, and this stage writes the
                // other of the two buffers.
                let input = unsafe {
                    match query {
                        Query::Int8(id) => {
                            let q = buffers.get(id);
                            let ranges = q.ranges.len() / heads.count;
                            let queries = QuantizedRows {
                                values: &q.bytes[s.row * q.stride + head * row_bytes(heads.size)..],
                                stride: q.stride,
                                ranges: &q.ranges[head * ranges + s.row..],
                            };
                            let kv = KeysValuesI8 {
                                keys: kv.keys.read(strips(heads.size.div_ceil(4))),
                                key_scales: kv.key_scales.read(strips(1)),
                                values: kv.values.read(strips(4 * dimensions)),
                                value_scales: kv.value_scales.read(strips(1)),
                            };
                            AttentionInput::Int8(queries, kv)
                        }
                        Query::F32(place) => {
                            let q = buffers.get(place.buffer);
                            let values = &q.floats[s.row * q.stride + place.column + column..];
                            let queries = FloatRows { values, stride: q.stride };
                            let kv = KeysValuesF32 {
                                keys: kv.keys_f32.read(strips(heads.size)),
                                values: kv.values_f32.read(strips(16 * dimensions)),
                            };
                            AttentionInput::F32(queries, kv)
                        }
                    }
                };
                self.kernels.attention(Attention {
                    rows: s.rows,
                    tokens: slots.tokens,
                    head_size: heads.size,
                    scale,
                    input,
                    scores,
                    weights,
                    output: &mut to.floats[s.row * to.stride + column..],
                    stride: to.stride,
                });
            }
        }
    }
}
