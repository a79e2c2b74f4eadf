//! The memory of one forward pass. A call takes it out of a store and puts it back, and it grows only for a
//! batch that is larger than all batches before.

#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::layout::Layout;
use super::plan::{BufferId, Content, Heads, Home, Plan, Step};
use super::threads::Progress;
use crate::kernels::{ATTENTION_ROWS, Aligned, GROUP_ROWS, KeyScales, Line, RowRange, row_stride, slots};

/// A buffer of f32, or of bytes and their ranges.
#[derive(Debug, Default)]
pub(super) struct Data {
    pub(super) floats: Aligned<f32>,
    pub(super) bytes: Aligned<u8>,
    pub(super) ranges: Vec<RowRange>,
    /// Columns.
    pub(super) width: usize,
    /// Distance from one row to the next, in f32 or in bytes.
    pub(super) stride: usize,
}

impl Data {
    fn fit(&mut self, content: Content, rows: usize) {
        match content {
            Content::Float(width) => {
                (self.width, self.stride) = (width, row_stride(width));
                self.floats.grow(rows * self.stride);
            }
            Content::Bytes(width, ranges) => {
                (self.width, self.stride) = (width, width.next_multiple_of(64));
                self.bytes.grow(rows * self.stride);
                self.ranges.resize(self.ranges.len().max(rows * ranges), RowRange::default());
            }
        }
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.floats) + size_of_val(&*self.bytes) + size_of_val(&*self.ranges)
    }
}

/// The buffers that the steps of a block read and write: those of the block, and those of the thread that
/// runs it.
pub(super) struct Buffers<'a> {
    pub(super) buffers: &'a [Home],
    pub(super) block: &'a mut [Data],
    pub(super) thread: &'a mut [Data],
}

impl Buffers<'_> {
    fn slot(&mut self, id: BufferId) -> &mut Data {
        match self.buffers[id.0] {
            Home::Block(i) => &mut self.block[i],
            Home::Thread(i) => &mut self.thread[i],
        }
    }

    pub(super) fn get(&self, id: BufferId) -> &Data {
        match self.buffers[id.0] {
            Home::Block(i) => &self.block[i],
            Home::Thread(i) => &self.thread[i],
        }
    }

    /// Takes a buffer out, so that it can be written while others are read.
    pub(super) fn take(&mut self, id: BufferId) -> Data {
        std::mem::take(self.slot(id))
    }

    pub(super) fn put(&mut self, id: BufferId, data: Data) {
        *self.slot(id) = data;
    }
}

/// The buffers of a thread.
#[derive(Debug, Default)]
pub(super) struct ThreadState {
    pub(super) buffers: Vec<Data>,
    /// Results that are kept only until they are quantised.
    pub(super) group: Aligned<f32>,
    pub(super) scores: Aligned<f32>,
    pub(super) weights: Aligned<u8>,
    pub(super) strip: StripBuffers,
}

/// The keys of one strip of one head and the scales of its values, before they are copied to the lanes of a
/// strip that two blocks share.
#[derive(Debug, Default)]
pub(super) struct StripBuffers {
    pub(super) keys: Aligned<Line<[i8; 64]>>,
    pub(super) key_scales: KeyScales,
    pub(super) value_scales: Line<[f32; 16]>,
    pub(super) keys_f32: Aligned<Line<[f32; 16]>>,
}

impl StripBuffers {
    fn fit(&mut self, heads: Heads) {
        if heads.int8 {
            self.keys.grow(heads.size.div_ceil(4));
        } else {
            self.keys_f32.grow(heads.size);
        }
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.keys) + size_of_val(&*self.keys_f32)
    }
}

/// A buffer whose parts are written by several threads.
pub(super) struct Shared<T>(Vec<UnsafeCell<T>>);

// SAFETY: access goes through `read`, `write` and `write_lanes`, whose callers promise that no byte is written
// while another thread reads or writes it.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T: Copy> Shared<T> {
    fn fit(&mut self, len: usize, fill: T) {
        while self.0.len() < len {
            self.0.push(UnsafeCell::new(fill));
        }
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    /// # Safety
    /// While the slice lives, no other thread writes any of it.
    pub(super) unsafe fn read(&self, range: Range<usize>) -> &[T] {
        let cells = &self.0[range];
        // SAFETY: `UnsafeCell<T>` has the layout of `T`, the cells are in bounds, and the caller promises
        // that nobody writes them.
        unsafe { std::slice::from_raw_parts(cells.as_ptr().cast(), cells.len()) }
    }

    /// Copies lanes of elements to the elements from `first` on: each 64 bytes are sixteen lanes, of which the
    /// first `lanes` go to the lanes from `lane` on.
    ///
    /// # Safety
    /// While this runs, nobody else reads these elements, and nobody else writes these lanes of them.
    pub(super) unsafe fn write_lanes(&self, first: usize, from: &[T], lane: usize, lanes: usize) {
        const { assert!(size_of::<T>().is_multiple_of(64)) };
        assert!(lane + lanes <= 16, "lanes {lane}..{} of 16", lane + lanes);
        for (to, from) in self.0[first..][..from.len()].iter().zip(from) {
            let (to, from) = (to.get().cast::<[u8; 4]>(), (&raw const *from).cast::<[u8; 4]>());
            for line in (0..size_of::<T>() / 4).step_by(16) {
                // SAFETY: `line + lane + lanes` is at most the number of lanes of an element, and `[u8; 4]`
                // needs no alignment. The caller promises that nobody else uses these lanes.
                unsafe { to.add(line + lane).copy_from_nonoverlapping(from.add(line), lanes) };
            }
        }
    }

    /// # Safety
    /// While the slice lives, nobody else reads or writes any of it.
    #[allow(clippy::mut_from_ref, reason = "interior mutability; exclusiveness is the caller's promise")]
    pub(super) unsafe fn write(&self, range: Range<usize>) -> &mut [T] {
        let cells = &self.0[range];
        // SAFETY: `UnsafeCell<T>` has the layout of `T` and allows writing through a shared reference, the
        // cells are in bounds, and the caller promises that nobody else uses them.
        unsafe { std::slice::from_raw_parts_mut(UnsafeCell::raw_get(cells.as_ptr()).cast(), cells.len()) }
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Keys and values of one attention, for all sequences and heads. An arena has two of them, for even and odd
/// attentions: the blocks of a stage read one and write the other, so a stage needs no barrier in its middle.
#[derive(Default)]
pub(super) struct KeysValues {
    pub(super) keys: Shared<Line<[i8; 64]>>,
    pub(super) key_scales: Shared<KeyScales>,
    pub(super) values: Shared<Line<[i8; 64]>>,
    pub(super) value_scales: Shared<Line<[f32; 16]>>,
    pub(super) keys_f32: Shared<Line<[f32; 16]>>,
    pub(super) values_f32: Shared<Line<[f32; 16]>>,
}

impl KeysValues {
    fn fit(&mut self, heads: Heads, strips: usize) {
        let strips = strips * heads.count;
        let dimensions = heads.size.div_ceil(16);
        if heads.int8 {
            self.keys.fit(strips * heads.size.div_ceil(4), Line([0; 64]));
            self.key_scales.fit(strips, KeyScales::default());
            self.values.fit(strips * 4 * dimensions, Line([0; 64]));
            self.value_scales.fit(strips, Line([0.0; 16]));
        } else {
            self.keys_f32.fit(strips * heads.size, Line([0.0; 16]));
            self.values_f32.fit(strips * 16 * dimensions, Line([0.0; 16]));
        }
    }

    fn bytes(&self) -> usize {
        let int8 =
            self.keys.bytes() + self.key_scales.bytes() + self.values.bytes() + self.value_scales.bytes();
        int8 + self.keys_f32.bytes() + self.values_f32.bytes()
    }
}

/// All memory of one pass.
#[derive(Default)]
pub(super) struct Arena {
    pub(super) layout: Layout,
    pub(super) blocks: Vec<Mutex<Vec<Data>>>,
    pub(super) threads: Vec<Mutex<ThreadState>>,
    pub(super) keys_values: [KeysValues; 2],
    pub(super) progress: Progress,
}

impl Arena {
    /// Makes room for the batch that [`Arena::layout`] describes, on this many threads. `selected` is the
    /// number of rows of a block of selected rows, and the number of such blocks.
    pub(super) fn fit(&mut self, plan: &Plan, widest: usize, selected: (usize, usize), threads: usize) {
        let rows = self.layout.blocks.iter().map(|b| b.rows).max().unwrap_or(0);
        let longest = self.layout.sequences.iter().map(|s| s.tokens).max().unwrap_or(0);
        let selected_blocks = if plan.observed { selected.1 } else { 0 };
        let blocks = self.layout.blocks.len() + selected_blocks;
        self.blocks.resize_with(blocks.max(self.blocks.len()), Mutex::default);
        let heights =
            self.layout.blocks.iter().map(|b| b.rows).chain(std::iter::repeat_n(selected.0, selected_blocks));
        for (state, rows) in self.blocks.iter_mut().zip(heights) {
            fit_all(state.get_mut().unwrap_or_else(PoisonError::into_inner), &plan.block, rows);
        }
        self.threads.resize_with(threads.max(self.threads.len()), Mutex::default);
        for state in &mut self.threads[..threads] {
            let state = state.get_mut().unwrap_or_else(PoisonError::into_inner);
            fit_all(&mut state.buffers, &plan.thread, rows.max(selected.0));
            state.group.grow(GROUP_ROWS * row_stride(widest));
            state.scores.grow(ATTENTION_ROWS * slots(longest));
            state.weights.grow(ATTENTION_ROWS * slots(longest));
        }
        for step in plan.stages.iter().flat_map(|stage| &stage.steps) {
            if let Step::PackKeysValues { heads, .. } = step {
                self.keys_values[heads.index % 2].fit(*heads, self.layout.strips());
                for state in &mut self.threads[..threads] {
                    state.get_mut().unwrap_or_else(PoisonError::into_inner).strip.fit(*heads);
                }
            }
        }
        self.progress.reset(plan.stages.len(), threads);
    }

    /// Bytes of all memory that grows with the batch.
    pub(super) fn bytes(&mut self) -> usize {
        let mut bytes = self.layout.bytes() + self.keys_values.iter().map(KeysValues::bytes).sum::<usize>();
        for block in &mut self.blocks {
            let block = block.get_mut().unwrap_or_else(PoisonError::into_inner);
            bytes += block.iter().map(Data::bytes).sum::<usize>();
        }
        for thread in &mut self.threads {
            let thread = thread.get_mut().unwrap_or_else(PoisonError::into_inner);
            bytes += thread.buffers.iter().map(Data::bytes).sum::<usize>();
            bytes +=
                size_of_val(&*thread.group) + size_of_val(&*thread.scores) + size_of_val(&*thread.weights);
            bytes += thread.strip.bytes();
        }
        bytes
    }
}

fn fit_all(data: &mut Vec<Data>, contents: &[Content], rows: usize) {
    data.resize_with(contents.len().max(data.len()), Data::default);
    for (data, &content) in data.iter_mut().zip(contents) {
        data.fit(content, rows);
    }
}

/// Locks a mutex, also after a panic: the next pass overwrites what the panicked one left in the memory.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
