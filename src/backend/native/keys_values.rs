//! Packs the keys and values of a block's rows where the attentions of all blocks of their sequence read them.
//!
//! The keys of sixteen tokens are a strip: each of its lines holds four dimensions of all sixteen. Blocks of
//! few rows may share a strip. Each packs its tokens into a strip of its thread then, and copies their lanes.

#![allow(unsafe_code)]

use std::slice::{from_mut, from_ref};

use super::arena::{KeysValues, StripBuffers};
use super::layout::{Block, Segment, Slots};
use super::pass::Pass;
use super::plan::Heads;
use crate::kernels::{FloatRows, pack_keys_f32, pack_values_f32};

/// One head of a segment: its place, and its keys and values in f32.
struct Head<'a> {
    heads: Heads,
    /// Index of the head.
    head: usize,
    segment: Segment,
    /// The place of the sequence.
    slots: Slots,
    keys: FloatRows<'a>,
    values: FloatRows<'a>,
}

impl<'a> Head<'a> {
    /// Index of the first strip that the segment has tokens in.
    fn strip(&self) -> usize {
        self.slots.head(self.head, self.heads.count) + self.segment.token / 16
    }

    /// Number of strips that the segment has tokens in, if it starts with a strip.
    fn strips(&self) -> usize {
        self.segment.rows.div_ceil(16)
    }

    /// The values by sixteen columns at most: the columns, the index of the first line, and the rows. Four
    /// tokens take `lines` lines.
    fn columns(&self, lines: usize) -> impl Iterator<Item = (usize, usize, FloatRows<'a>)> {
        let (size, first) = (self.heads.size, self.slots.head(self.head, self.heads.count));
        let (strips, token, v) = (self.slots.strips, self.segment.token, self.values);
        (0..size.div_ceil(16)).map(move |d| {
            let line = (16 * (first * size.div_ceil(16) + d * strips) + token) * lines / 4;
            let x = FloatRows { values: &v.values[16 * d..], stride: v.stride };
            ((size - 16 * d).min(16), line, x)
        })
    }
}

impl Pass<'_> {
    /// Packs the keys and values of a block's rows.
    pub(super) fn pack(
        &self,
        heads: Heads,
        block: &Block,
        (keys, values): (FloatRows<'_>, FloatRows<'_>),
        strip: &mut StripBuffers,
    ) {
        for segment in self.arena.layout.segments(block) {
            let slots = self.arena.layout.sequences[segment.sequence];
            for head in 0..heads.count {
                let of = |segment: Segment| {
                    let at = |x: FloatRows<'_>| segment.row * x.stride + head * heads.size;
                    let keys = FloatRows { values: &keys.values[at(keys)..], stride: keys.stride };
                    let values = FloatRows { values: &values.values[at(values)..], stride: values.stride };
                    Head { heads, head, segment, slots, keys, values }
                };
                if segment.owns_its_strips(slots.tokens) {
                    self.pack_strips(&of(*segment));
                } else {
                    for part in segment.parts() {
                        self.pack_lanes(&of(part), strip);
                    }
                }
            }
        }
    }

    fn keys_values(&self, heads: Heads) -> &KeysValues {
        &self.arena.keys_values[heads.index % 2]
    }

    /// Packs a segment whose strips belong to it alone.
    fn pack_strips(&self, h: &Head<'_>) {
        let (kv, tokens, strips) =
            (self.keys_values(h.heads), (h.segment.rows, h.heads.size), h.strip()..h.strip() + h.strips());
        let lines = |per: usize| strips.start * per..strips.end * per;
        if !h.heads.int8 {
            // SAFETY: the strips belong to this segment, so what is packed of this head is written here and
            // nowhere else. The attention that reads it runs in the next stage, and the one that runs in this
            // stage reads the other of the two buffers.
            pack_keys_f32(tokens, h.keys, unsafe { kv.keys_f32.write(lines(h.heads.size)) });
            self.pack_f32_values(h, kv);
            return;
        }
        // SAFETY: as above.
        let (keys, key_scales, value_scales) = unsafe {
            (
                kv.keys.write(lines(h.heads.size.div_ceil(4))),
                kv.key_scales.write(strips.clone()),
                kv.value_scales.write(strips.clone()),
            )
        };
        self.kernels.pack_keys(tokens, h.keys, keys, key_scales);
        self.kernels.value_scales(tokens, h.values, value_scales);
        for (columns, line, x) in h.columns(1) {
            // SAFETY: as above; four lines hold the sixteen columns of a strip.
            let values = unsafe { kv.values.write(line..line + 4 * strips.len()) };
            self.kernels.pack_values((h.segment.rows, columns), x, value_scales, values);
        }
    }

    /// Packs a segment within one strip that other blocks may have tokens of.
    fn pack_lanes(&self, h: &Head<'_>, strip: &mut StripBuffers) {
        let (kv, size, rows) = (self.keys_values(h.heads), h.heads.size, h.segment.rows);
        let (first, lane) = (h.strip(), h.segment.token % 16);
        if !h.heads.int8 {
            let keys = &mut strip.keys_f32[..size];
            pack_keys_f32((rows, size), h.keys, keys);
            // SAFETY: every token belongs to one segment, so its lanes are written here and nowhere else. The
            // attentions read as `pack_strips` says.
            unsafe { kv.keys_f32.write_lanes(first * size, keys, lane, rows) };
            self.pack_f32_values(h, kv);
            return;
        }
        let depth = size.div_ceil(4);
        let (keys, key_scales, value_scales) =
            (&mut strip.keys[..depth], &mut strip.key_scales, &mut strip.value_scales);
        self.kernels.pack_keys((rows, size), h.keys, keys, from_mut(key_scales));
        self.kernels.value_scales((rows, size), h.values, from_mut(value_scales));
        // SAFETY: as above.
        unsafe {
            kv.keys.write_lanes(first * depth, keys, lane, rows);
            kv.key_scales.write_lanes(first, from_ref(key_scales), lane, rows);
            kv.value_scales.write_lanes(first, from_ref(value_scales), lane, rows);
        }
        for (columns, line, x) in h.columns(1) {
            // SAFETY: the segment starts at a multiple of four tokens, which share a line, and ends at one or
            // with the sequence. So these lines are written here and nowhere else.
            let values = unsafe { kv.values.write(line..line + rows.div_ceil(4)) };
            self.kernels.pack_values((rows, columns), x, from_ref(value_scales), values);
        }
    }

    fn pack_f32_values(&self, h: &Head<'_>, kv: &KeysValues) {
        for (columns, line, x) in h.columns(4) {
            // SAFETY: each token has a line of its own, and belongs to one segment.
            let values = unsafe { kv.values_f32.write(line..line + h.segment.rows) };
            pack_values_f32((h.segment.rows, columns), x, values);
        }
    }
}
