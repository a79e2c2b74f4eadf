//! Tensors of foreign files in the form that the architecture needs: transposed, cut out or dequantised.
//! Nothing is copied before it is asked for, and then one tensor at a time.

use std::borrow::Cow;
use std::ops::Range;

use mobilebert::format::{Checkpoint, Tensor, WeightSource};
use mobilebert::graph::{Parameter, ParameterId};
use mobilebert::{Error, ErrorKind, Result};

/// The way to get a parameter from a file.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "a few hundred of them, each read once")]
pub(super) enum Stored {
    /// A tensor of the checkpoint.
    Tensor(View),
    /// The same number throughout. A norm that the exporter has multiplied into the linear before it leaves
    /// gamma 1 and beta 0.
    Fill(f32),
    /// A weight whose columns were multiplied by the gamma of the norm before it.
    Unfolded {
        weight: View,
        gamma: View,
        /// The name of the parameter, for errors.
        name: String,
    },
    /// The bias that belongs to such a weight. The product of the weight and the norm's beta was added to it;
    /// without gamma, nothing else was folded.
    UnfoldedBias { bias: Option<View>, weight: View, gamma: Option<View>, beta: View },
    /// Numbers that have to be multiplied by a factor, because the exporter divided them by it.
    Scaled { of: Box<Stored>, factor: f32 },
    /// The numbers, followed by the same numbers less `less`.
    Twice { of: Box<Stored>, less: f32 },
    /// Rows of `columns` numbers, each followed by its negative.
    Mirrored { of: Box<Stored>, columns: usize },
}

impl Stored {
    /// Returns the tensors that the parameter is made of.
    pub(super) fn views(&self) -> impl Iterator<Item = &View> {
        let mut stored = self;
        while let Stored::Scaled { of, .. } | Stored::Twice { of, .. } | Stored::Mirrored { of, .. } = stored
        {
            stored = of;
        }
        let views = match stored {
            Stored::Tensor(view) => [Some(view), None, None, None],
            Stored::Unfolded { weight, gamma, .. } => [Some(weight), Some(gamma), None, None],
            Stored::UnfoldedBias { bias, weight, gamma, beta } => {
                [bias.as_ref(), Some(weight), gamma.as_ref(), Some(beta)]
            }
            _ => [None; 4],
        };
        views.into_iter().flatten()
    }
}

/// A stored matrix or vector, possibly cut, transposed or dequantised when it is read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct View {
    /// The name in the checkpoint.
    pub(super) name: String,
    /// The shape as stored, without dimensions of size 1 in front.
    pub(super) shape: Vec<usize>,
    /// The quantisation, `real = (stored - zero) * scale`.
    pub(super) affine: Option<Affine>,
    /// The rows of the stored matrix to read; `None` for all of them.
    pub(super) rows: Option<Range<usize>>,
    /// The part of each stored row to read, or of a vector; `None` for all of it.
    pub(super) columns: Option<Range<usize>>,
    /// True if the parameter is the transpose of what is stored.
    pub(super) transposed: bool,
}

/// Scales and zero points: one of each, or one for each index along `axis` of the stored tensor.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Affine {
    pub(super) scales: Vec<f32>,
    pub(super) zeros: Vec<i32>,
    pub(super) axis: usize,
}

impl View {
    /// Makes a view of the tensor as it is.
    pub(super) fn new(name: impl Into<String>, shape: &[usize]) -> Self {
        let shape = shape.to_vec();
        Self { name: name.into(), shape, affine: None, rows: None, columns: None, transposed: false }
    }

    /// Returns the number of elements that are stored, or `None` if it leaves the integers. A file can say anything
    /// about tensors that no weight is read from.
    pub(super) fn elements(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |elements, &d| elements.checked_mul(d))
    }

    /// Returns the shape as the parameter has it.
    pub(super) fn shape(&self) -> Vec<usize> {
        let mut shape = self.shape.clone();
        if let (Some(rows), Some(first)) = (&self.rows, shape.first_mut()) {
            *first = rows.len();
        }
        if let (Some(columns), Some(last)) = (&self.columns, shape.last_mut()) {
            *last = columns.len();
        }
        if self.transposed {
            shape.reverse();
        }
        shape
    }

    pub(super) fn transpose(mut self) -> Self {
        self.transposed = !self.transposed;
        self
    }

    /// Reads the numbers in row-major order.
    pub(super) fn read<'c>(&self, checkpoint: &'c Checkpoint) -> Result<Cow<'c, [f32]>> {
        let mut values = match &self.affine {
            None => checkpoint.f32(&self.name)?,
            Some(affine) => {
                let stored = checkpoint.integers(&self.name)?;
                Cow::Owned(affine.dequantize(&stored, &self.shape))
            }
        };
        let columns = self.shape.last().copied().unwrap_or(1);
        if let Some(rows) = &self.rows {
            let range = rows.start * columns..rows.end * columns;
            values = match values {
                Cow::Borrowed(values) => Cow::Borrowed(&values[range]),
                Cow::Owned(values) => Cow::Owned(values[range].to_vec()),
            };
        }
        if let Some(part) = &self.columns {
            let rows = values.chunks_exact(columns.max(1));
            values = Cow::Owned(rows.flat_map(|row| row[part.clone()].iter().copied()).collect());
        }
        if self.transposed && self.shape.len() == 2 {
            let columns = self.columns.as_ref().map_or(columns, Range::len);
            return Ok(Cow::Owned(transpose(&values, columns)));
        }
        Ok(values)
    }
}

impl Affine {
    /// Returns the numbers that integers stand for. The int32 differences are exact, so that each result is
    /// rounded only once.
    fn dequantize(&self, stored: &[i32], shape: &[usize]) -> Vec<f32> {
        if stored.is_empty() {
            // The other dimensions of an empty tensor may be of any size.
            return Vec::new();
        }
        let inner = shape.iter().skip(self.axis + 1).product::<usize>().max(1);
        let along = shape.get(self.axis).copied().unwrap_or(1).max(1);
        let pick = |i: usize, n: usize| if n == 1 { 0 } else { i / inner % along };
        let real = |(i, &value): (usize, &i32)| {
            let zero = self.zeros.get(pick(i, self.zeros.len())).copied().unwrap_or(0);
            value.wrapping_sub(zero) as f32 * self.scales[pick(i, self.scales.len())]
        };
        stored.iter().enumerate().map(real).collect()
    }

    /// Returns true if there is one scale and zero point, or one for each index along the axis.
    pub(super) fn fits(&self, shape: &[usize]) -> bool {
        let along = shape.get(self.axis).copied().unwrap_or(1);
        let fits = |n: usize| n == 1 || n == along;
        fits(self.scales.len())
            && (self.zeros.is_empty() || fits(self.zeros.len()))
            && self.scales.iter().all(|s| s.is_finite())
    }
}

/// Transposes a matrix in blocks of columns, which stay in the cache while a row of the result is written.
fn transpose(values: &[f32], columns: usize) -> Vec<f32> {
    const BLOCK: usize = 16;
    let rows = values.len() / columns.max(1);
    let mut result = vec![0.0; values.len()];
    for first in (0..columns).step_by(BLOCK) {
        for row in 0..rows {
            for column in first..(first + BLOCK).min(columns) {
                result[column * rows + row] = values[row * columns + column];
            }
        }
    }
    result
}

/// The parameters of a graph that lie in foreign files.
pub(super) struct StoredWeights {
    pub(super) checkpoint: Checkpoint,
    /// The place of each parameter.
    pub(super) stored: Vec<Stored>,
    pub(super) parameters: Vec<Parameter>,
}

impl WeightSource for StoredWeights {
    fn tensor(&self, parameter: ParameterId) -> Result<Tensor<'_>> {
        let length = self.parameters[parameter.0].shape.iter().product();
        Ok(Tensor::F32(self.values(&self.stored[parameter.0], length, &self.parameters[parameter.0].name)?))
    }
}

impl StoredWeights {
    /// Returns the numbers of a parameter, or of a part of one.
    fn values(&self, stored: &Stored, length: usize, name: &str) -> Result<Cow<'_, [f32]>> {
        Ok(match stored {
            Stored::Tensor(view) => view.read(&self.checkpoint)?,
            Stored::Fill(value) => Cow::Owned(vec![*value; length]),
            Stored::Unfolded { weight, gamma, name } => Cow::Owned(self.unfolded(weight, gamma, name)?),
            Stored::UnfoldedBias { bias, weight, gamma, beta } => {
                let rows = match gamma {
                    Some(gamma) => Cow::Owned(self.unfolded(weight, gamma, name)?),
                    None => weight.read(&self.checkpoint)?,
                };
                let beta = beta.read(&self.checkpoint)?;
                let mut values = match bias {
                    Some(bias) => bias.read(&self.checkpoint)?.into_owned(),
                    None => vec![0.0; rows.len() / beta.len().max(1)],
                };
                for (value, row) in values.iter_mut().zip(rows.chunks_exact(beta.len().max(1))) {
                    let added: f64 = row.iter().zip(&*beta).map(|(&w, &b)| f64::from(w) * f64::from(b)).sum();
                    *value = (f64::from(*value) - added) as f32;
                }
                Cow::Owned(values)
            }
            Stored::Scaled { of, factor } => {
                let values = self.values(of, length, name)?;
                Cow::Owned(values.iter().map(|value| value * factor).collect())
            }
            Stored::Twice { of, less } => {
                let values = self.values(of, length / 2, name)?;
                Cow::Owned(values.iter().copied().chain(values.iter().map(|value| value - less)).collect())
            }
            Stored::Mirrored { of, columns } => {
                let values = self.values(of, length / 2, name)?;
                let rows = values.chunks_exact((*columns).max(1));
                Cow::Owned(rows.flat_map(|row| row.iter().copied().chain(row.iter().map(|v| -v))).collect())
            }
        })
    }

    /// Returns a weight with its columns divided by gamma.
    fn unfolded(&self, weight: &View, gamma: &View, name: &str) -> Result<Vec<f32>> {
        let mut values = weight.read(&self.checkpoint)?.into_owned();
        let gamma = gamma.read(&self.checkpoint)?;
        if let Some(column) = gamma.iter().position(|&g| g == 0.0) {
            return Err(Error::from(ErrorKind::Conversion {
                file: self.checkpoint.file_of(&weight.name).to_owned(),
                place: format!("`{}`, column {column}", weight.name).into(),
                module: name.into(),
                expected: "a norm whose gamma can be divided out of the linear it was folded into".to_owned(),
                found: "gamma 0".to_owned(),
                hint: "convert the model that this file was exported from".into(),
            }));
        }
        for row in values.chunks_exact_mut(gamma.len().max(1)) {
            row.iter_mut().zip(&*gamma).for_each(|(w, g)| *w /= g);
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_twice_is_nothing() {
        let values: Vec<f32> = (0..35 * 18).map(|i| i as f32).collect();
        let once = transpose(&values, 18);
        assert_eq!((once[1], once[35]), (18.0, 1.0));
        assert_eq!(transpose(&once, 35), values);
    }

    #[test]
    fn zero_points_and_scales_go_by_axis() {
        let rows = Affine { scales: vec![1.0, 0.5], zeros: vec![1, -1], axis: 0 };
        assert_eq!(rows.dequantize(&[1, 2, 3, 4], &[2, 2]), [0.0, 1.0, 2.0, 2.5]);
        let columns = Affine { axis: 1, ..rows };
        assert_eq!(columns.dequantize(&[1, 2, 3, 4], &[2, 2]), [0.0, 1.5, 2.0, 2.5]);
        let one = Affine { scales: vec![2.0], zeros: vec![6], axis: 0 };
        assert_eq!(one.dequantize(&[6, -128], &[2]), [0.0, -268.0]);
    }
}
