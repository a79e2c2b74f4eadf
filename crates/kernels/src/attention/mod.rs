//! Attention of some query rows of one head over the keys and values of a sequence. There is no matrix of all
//! scores: a group of rows keeps its scores in the L1 cache from the dot products to the weighted sum.

mod group;
mod numbers;

use super::aligned::Line;
use super::gemm::{FloatRows, Registers, Sums, Tiles, next_rows};
use super::quantize::QuantizedRows;
use super::simd::LANES;
use group::attend;
use numbers::{F32, Int8};

/// Most query rows of a group on any instruction set.
pub const ATTENTION_ROWS: usize = 32;

/// Keys and values of one head of one sequence in int8, symmetric with one scale per token. Sixteen
/// dimensions of the values take [`slots`] / 4 lines.
#[derive(Debug, Clone, Copy)]
pub struct KeysValuesI8<'a> {
    /// `[token / 16][dimension / 4][16 tokens][4 dimensions]`
    pub keys: &'a [Line<[i8; 64]>],
    /// One per sixteen tokens.
    pub key_scales: &'a [KeyScales],
    /// `[dimension / 16][token / 4][16 dimensions][4 tokens]`
    pub values: &'a [Line<[i8; 64]>],
    /// One per token.
    pub value_scales: &'a [Line<[f32; 16]>],
}

/// Scales of the keys of sixteen tokens.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub struct KeyScales {
    pub(super) scale: [f32; 16],
    /// The scale times the sum of the key.
    pub(super) offset_scale: [f32; 16],
}

/// Keys and values of one head of one sequence in f32. Sixteen dimensions of the values take [`slots`] lines.
#[derive(Debug, Clone, Copy)]
pub struct KeysValuesF32<'a> {
    /// `[token / 16][dimension][16 tokens]`
    pub keys: &'a [Line<[f32; 16]>],
    /// `[dimension / 16][token][16 dimensions]`
    pub values: &'a [Line<[f32; 16]>],
}

/// Queries, keys and values.
#[derive(Debug, Clone, Copy)]
pub enum AttentionInput<'a> {
    /// Queries that are quantised row by row over the head, and int8 keys and values.
    Int8(QuantizedRows<'a>, KeysValuesI8<'a>),
    /// Queries, keys and values in f32.
    F32(FloatRows<'a>, KeysValuesF32<'a>),
}

/// `softmax(scale * query * key^T) * value` of one head of one sequence.
#[derive(Debug)]
pub struct Attention<'a> {
    /// Query rows.
    pub rows: usize,
    /// Tokens of the sequence.
    pub tokens: usize,
    /// Columns of the head.
    pub head_size: usize,
    /// The factor of the scores before the softmax.
    pub scale: f32,
    /// Queries, keys and values.
    pub input: AttentionInput<'a>,
    /// Room for [`ATTENTION_ROWS`] rows of [`slots`] scores.
    pub scores: &'a mut [f32],
    /// Room for as many bytes; f32 does not use it.
    pub weights: &'a mut [u8],
    /// The result, from the first column of the head on.
    pub output: &'a mut [f32],
    /// Numbers from one row of the result to the next.
    pub stride: usize,
}

/// The number of tokens rounded up to a multiple of 16, which keys and values have room for.
pub fn slots(tokens: usize) -> usize {
    tokens.next_multiple_of(LANES)
}

impl Attention<'_> {
    /// Panics unless every slice holds what the kernels will read and write.
    pub(super) fn check(&self) {
        let (strips, dimensions, slots) =
            (self.tokens.div_ceil(16), self.head_size.div_ceil(16), slots(self.tokens));
        match &self.input {
            AttentionInput::Int8(q, kv) => {
                assert!(q.holds(self.rows, self.head_size), "queries are too short");
                assert!(kv.keys.len() >= strips * self.head_size.div_ceil(4), "keys are too short");
                assert!(
                    kv.key_scales.len() >= strips && kv.value_scales.len() >= strips,
                    "scales are too short"
                );
                assert!(kv.values.len() >= dimensions * slots / 4, "values are too short");
                assert!(self.weights.len() >= ATTENTION_ROWS * slots, "scratch is too short");
            }
            AttentionInput::F32(q, kv) => {
                assert!(q.holds(self.rows, self.head_size), "queries are too short");
                assert!(kv.keys.len() >= strips * self.head_size, "keys are too short");
                assert!(kv.values.len() >= dimensions * slots, "values are too short");
            }
        }
        assert!(self.scores.len() >= ATTENTION_ROWS * slots, "scratch is too short");
        let output = FloatRows { values: self.output, stride: self.stride };
        assert!(output.holds(self.rows, self.head_size), "output is too short");
    }
}

/// Most tokens for which a group has twice as many rows. The scores and weights of 32 rows then take 40 kB.
const WIDEST_GROUP: usize = 256;

/// Runs an attention whose slices have been checked.
#[inline(always)]
pub(super) fn attention<S: Tiles>(s: S, mut a: Attention<'_>) {
    if a.tokens == 0 {
        return;
    }
    let (mut sums, mut registers) = (Sums::ZERO, Registers::default());
    let mut group = 0;
    while group < a.rows {
        // Groups are twice as large as long as their scores fit the L1 cache. Both sizes are multiples of
        // sixteen, because the steps between the products work on sixteen rows at once.
        let limit = if a.tokens <= WIDEST_GROUP { ATTENTION_ROWS } else { ATTENTION_ROWS / 2 };
        let rows = next_rows(a.rows - group, limit);
        let to = (&mut sums, &mut registers);
        match a.input {
            AttentionInput::Int8(q, kv) => attend(s, Int8(q, kv), &mut a, (group, rows), to),
            AttentionInput::F32(q, kv) => attend(s, F32(q, kv), &mut a, (group, rows), to),
        }
        group += rows;
    }
    s.end_tiles(registers);
}
