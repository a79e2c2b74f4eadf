//! Packs weights in the order in which the register tiles read them.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::slice::ChunksExactMut;
use std::sync::Arc;

use bytemuck::Pod;
use half::bf16;

use super::PANEL_STRIPS;
use crate::aligned::{Aligned, Line};
use crate::reference::quantize::quantize_symmetric;

/// The constants of sixteen columns. The result of a column is
/// `fma(acc * row.scale, scale, fma(row.offset, offset_scale, bias))`.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Columns {
    pub(crate) scale: [f32; 16],
    pub(crate) offset_scale: [f32; 16],
    pub(crate) bias: [f32; 16],
}

/// The memory that holds packed weights. Many of them may share one piece of memory.
pub type Memory = Arc<dyn AsRef<[Line<[u8; 64]>]> + Send + Sync>;

/// A range of lines of a memory.
#[derive(Clone)]
struct Lines {
    memory: Memory,
    range: Range<usize>,
}

impl Lines {
    fn new(memory: Memory, range: Range<usize>) -> Self {
        assert!((*memory).as_ref().len() >= range.end, "memory ends before the weights");
        Self { memory, range }
    }

    fn get(&self) -> &[Line<[u8; 64]>] {
        &(*self.memory).as_ref()[self.range.clone()]
    }
}

/// Int8 weights of a linear, in panels of up to four strips of sixteen columns. A strip has one line for
/// every four inputs: four weights of the first column, four of the second, and so on. The lines of a
/// panel's strips take turns, so that a tile reads one stream of memory. Zeros fill up the last line and the
/// last strip.
#[derive(Clone)]
pub struct PackedI8 {
    rest: UnplacedI8,
    lines: Lines,
}

/// A [`PackedI8`] without the memory of its weights.
#[derive(Debug, Clone)]
pub struct UnplacedI8 {
    inputs: usize,
    outputs: usize,
    columns: Vec<Columns>,
}

impl UnplacedI8 {
    /// Puts both together: the weights are `memory` from line `first` on.
    ///
    /// # Panics
    /// If the memory ends before them.
    pub fn at(self, memory: Memory, first: usize) -> PackedI8 {
        let lines = Lines::new(memory, first..first + PackedI8::lines_of(self.inputs, self.outputs));
        PackedI8 { rest: self, lines }
    }
}

impl fmt::Debug for PackedI8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedI8({} to {})", self.inputs(), self.outputs())
    }
}

impl PackedI8 {
    /// Number of lines that the weights take.
    pub fn lines_of(inputs: usize, outputs: usize) -> usize {
        inputs.div_ceil(4) * outputs.div_ceil(16)
    }

    /// Packs `[outputs, inputs]` weights, row-major, with one scale and one bias per output.
    ///
    /// # Panics
    /// If the lengths do not agree, or if there are more inputs than [`MOST_INPUTS`](super::MOST_INPUTS).
    pub fn new(inputs: usize, weights: &[i8], scales: &[f32], bias: &[f32]) -> Self {
        let mut lines = vec![Line([0; 64]); Self::lines_of(inputs, scales.len())];
        Self::pack(inputs, weights, scales, bias, &mut lines).at(Arc::new(lines), 0)
    }

    /// Packs like [`PackedI8::new`], but into the caller's memory.
    ///
    /// # Panics
    /// If the lengths do not agree, or if there are more inputs than [`MOST_INPUTS`](super::MOST_INPUTS).
    // Inside of a caller that is compiled to be small, no loop of it would be vectorised.
    #[inline(never)]
    pub fn pack(
        inputs: usize,
        weights: &[i8],
        scales: &[f32],
        bias: &[f32],
        to: &mut [Line<[u8; 64]>],
    ) -> UnplacedI8 {
        let outputs = scales.len();
        assert!(inputs <= super::MOST_INPUTS, "sums of {inputs} products could overflow");
        assert!(
            weights.len() == inputs * outputs && bias.len() == outputs,
            "lengths of a linear's parts differ"
        );
        assert!(to.len() == Self::lines_of(inputs, outputs), "room for another number of lines");
        let empty = Columns { scale: [0.0; 16], offset_scale: [0.0; 16], bias: [0.0; 16] };
        let mut columns = vec![empty; outputs.div_ceil(16)];
        let row = |output: usize| &weights[output * inputs..][..inputs];
        for strip in 0..columns.len() {
            let (panel, place) = panel_mut(outputs, inputs.div_ceil(4), strip, to);
            for (k, lines) in panel.enumerate() {
                let fours = bytemuck::cast_slice_mut::<u8, [i8; 4]>(&mut lines[place].0);
                for (output, four) in (16 * strip..outputs).zip(fours) {
                    match row(output)[4 * k..].first_chunk() {
                        Some(w) => *four = *w,
                        None => four[..inputs - 4 * k].copy_from_slice(&row(output)[4 * k..]),
                    }
                }
            }
        }
        for output in 0..outputs {
            let (columns, lane) = (&mut columns[output / 16], output % 16);
            let sum: i32 = row(output).iter().map(|&w| i32::from(w)).sum();
            columns.scale[lane] = scales[output];
            columns.offset_scale[lane] = scales[output] * sum as f32;
            columns.bias[lane] = bias[output];
        }
        UnplacedI8 { inputs, outputs, columns }
    }

    /// Quantises `[outputs, inputs]` weights symmetrically, with one scale per output, and packs them.
    /// `factors` multiply the outputs; they change the scales but not the quantised weights.
    ///
    /// # Panics
    /// If the lengths do not agree.
    pub fn quantize(inputs: usize, weights: &[f32], factors: Option<&[f32]>, bias: &[f32]) -> Self {
        let mut bytes = vec![0; weights.len()];
        let rows = weights.chunks_exact(inputs.max(1)).zip(bytes.chunks_exact_mut(inputs.max(1)));
        let mut scales: Vec<f32> = rows.map(|(w, q)| quantize_symmetric(w, q)).collect();
        scales.resize(bias.len(), 0.0);
        for (scale, factor) in scales.iter_mut().zip(factors.unwrap_or_default()) {
            *scale *= factor;
        }
        Self::new(inputs, &bytes, &scales, bias)
    }

    /// What the kernels read.
    pub fn view(&self) -> I8View<'_> {
        I8View {
            inputs: self.inputs(),
            outputs: self.outputs(),
            lines: bytemuck::cast_slice(self.lines()),
            columns: &self.rest.columns,
        }
    }

    /// Inputs of the linear.
    pub fn inputs(&self) -> usize {
        self.rest.inputs
    }

    /// Outputs of the linear.
    pub fn outputs(&self) -> usize {
        self.rest.outputs
    }

    /// The weights as they lie in memory.
    pub fn lines(&self) -> &[Line<[u8; 64]>] {
        self.lines.get()
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        size_of_val(self.lines()) + size_of_val(&*self.rest.columns)
    }
}

/// The lines of a panel, one chunk for each line of its strips, and the index of a strip in the chunks.
fn panel_mut<T>(
    outputs: usize,
    depth: usize,
    strip: usize,
    lines: &mut [T],
) -> (ChunksExactMut<'_, T>, usize) {
    let first = strip - strip % PANEL_STRIPS;
    let count = PANEL_STRIPS.min(outputs.div_ceil(16) - first);
    (lines[first * depth..(first + count) * depth].chunks_exact_mut(count), strip - first)
}

/// The weights of a [`PackedI8`].
#[derive(Debug, Clone, Copy)]
pub struct I8View<'a> {
    inputs: usize,
    outputs: usize,
    pub(crate) lines: &'a [Line<[i8; 64]>],
    pub(crate) columns: &'a [Columns],
}

impl I8View<'_> {
    /// Inputs of the linear.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Outputs of the linear.
    pub fn columns(&self) -> usize {
        self.outputs
    }

    /// Lines of a strip.
    pub(crate) fn depth(&self) -> usize {
        self.inputs.div_ceil(4)
    }
}

/// The storage of a weight in a [`PackedFloat`].
pub trait Weight: Copy + Send + Sync + 'static {
    /// Sixteen columns of some neighbouring inputs.
    type Line: fmt::Debug + Pod;

    /// Number of inputs in a line.
    const INPUTS: usize;

    /// Stores a weight. `input` counts from the first input of the line.
    fn put(line: &mut Self::Line, column: usize, input: usize, weight: f32);
}

impl Weight for f32 {
    type Line = Line<[f32; 16]>;

    const INPUTS: usize = 1;

    fn put(line: &mut Self::Line, column: usize, _: usize, weight: f32) {
        line.0[column] = weight;
    }
}

impl Weight for bf16 {
    type Line = Line<[[u16; 2]; 16]>;

    const INPUTS: usize = 2;

    fn put(line: &mut Self::Line, column: usize, input: usize, weight: f32) {
        line.0[column][input] = bf16::from_f32(weight).to_bits();
    }
}

/// Float weights of a linear, in panels like those of [`PackedI8`]. A strip has one line for every input in
/// f32, or for every two inputs in bf16.
#[derive(Clone)]
pub struct PackedFloat<T> {
    rest: UnplacedFloat<T>,
    lines: Lines,
}

/// f32 weights.
pub type PackedF32 = PackedFloat<f32>;

/// bf16 weights.
pub type PackedBf16 = PackedFloat<bf16>;

/// A [`PackedFloat`] without the memory of its weights.
#[derive(Debug, Clone)]
pub struct UnplacedFloat<T> {
    inputs: usize,
    outputs: usize,
    bias: Aligned<[f32; 16]>,
    of: PhantomData<T>,
}

impl<T: Weight> UnplacedFloat<T> {
    /// Puts both together: the weights are `memory` from line `first` on.
    ///
    /// # Panics
    /// If the memory ends before them.
    pub fn at(self, memory: Memory, first: usize) -> PackedFloat<T> {
        let lines = Lines::new(memory, first..first + PackedFloat::<T>::lines_of(self.inputs, self.outputs));
        PackedFloat { rest: self, lines }
    }
}

impl<T: Weight> fmt::Debug for PackedFloat<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedFloat({} to {})", self.inputs(), self.outputs())
    }
}

impl<T: Weight> PackedFloat<T> {
    /// Number of lines that the weights take.
    pub fn lines_of(inputs: usize, outputs: usize) -> usize {
        inputs.div_ceil(T::INPUTS) * outputs.div_ceil(16)
    }

    /// Packs `[outputs, inputs]` weights, row-major. If there are factors, each row is multiplied by its
    /// factor.
    ///
    /// # Panics
    /// If the lengths do not agree.
    pub fn new(inputs: usize, weights: &[f32], factors: Option<&[f32]>, bias: &[f32]) -> Self {
        let mut lines = vec![Line([0; 64]); Self::lines_of(inputs, bias.len())];
        Self::pack(inputs, weights, factors, bias, &mut lines).at(Arc::new(lines), 0)
    }

    /// Packs like [`PackedFloat::new`], but into the caller's memory.
    ///
    /// # Panics
    /// If the lengths do not agree.
    #[inline(never)]
    pub fn pack(
        inputs: usize,
        weights: &[f32],
        factors: Option<&[f32]>,
        bias: &[f32],
        to: &mut [Line<[u8; 64]>],
    ) -> UnplacedFloat<T> {
        let outputs = bias.len();
        assert!(weights.len() == inputs * outputs, "lengths of a linear's parts differ");
        assert!(to.len() == Self::lines_of(inputs, outputs), "room for another number of lines");
        let lines = bytemuck::cast_slice_mut::<_, T::Line>(to);
        for output in 0..outputs {
            let factor = factors.map_or(1.0, |f| f[output]);
            let row = &weights[output * inputs..][..inputs];
            let (panel, strip) = panel_mut(outputs, inputs.div_ceil(T::INPUTS), output / 16, lines);
            for (lines, w) in panel.zip(row.chunks(T::INPUTS)) {
                for (input, w) in w.iter().enumerate() {
                    T::put(&mut lines[strip], output % 16, input, w * factor);
                }
            }
        }
        UnplacedFloat { inputs, outputs, bias: super::padded(bias, 0.0), of: PhantomData }
    }

    /// What the kernels read.
    pub fn view(&self) -> FloatView<'_, T> {
        FloatView {
            inputs: self.inputs(),
            outputs: self.outputs(),
            lines: bytemuck::cast_slice(self.lines()),
            bias: &self.rest.bias,
        }
    }

    /// Inputs of the linear.
    pub fn inputs(&self) -> usize {
        self.rest.inputs
    }

    /// Outputs of the linear.
    pub fn outputs(&self) -> usize {
        self.rest.outputs
    }

    /// The weights as they lie in memory.
    pub fn lines(&self) -> &[Line<[u8; 64]>] {
        self.lines.get()
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        size_of_val(self.lines()) + size_of_val(&*self.rest.bias)
    }
}

/// The weights of a [`PackedFloat`].
#[derive(Debug, Clone, Copy)]
pub struct FloatView<'a, T: Weight> {
    inputs: usize,
    outputs: usize,
    pub(crate) lines: &'a [T::Line],
    pub(crate) bias: &'a [[f32; 16]],
}

impl<T: Weight> FloatView<'_, T> {
    /// Inputs of the linear.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Outputs of the linear.
    pub fn columns(&self) -> usize {
        self.outputs
    }

    /// Lines of a strip.
    pub(crate) fn depth(&self) -> usize {
        self.inputs.div_ceil(T::INPUTS)
    }
}
