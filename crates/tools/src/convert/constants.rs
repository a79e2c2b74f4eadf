//! Finds the constants of a graph, also behind arithmetic that the exporter could have done itself.

use super::flow::{FAR, Flow, Op, Origin, ValueIndex};
use super::stored::{Affine, View};
use crate::foreign::onnx::fill_name;
use mobilebert::format::ElementType;

impl Flow {
    /// Returns a constant, also if it stands behind operators that an exporter might have computed itself.
    pub(super) fn constant(&self, value: ValueIndex) -> Option<View> {
        self.constant_within(value, FAR)
    }

    fn constant_within(&self, value: ValueIndex, depth: usize) -> Option<View> {
        if let Origin::Constant(view) = &self.values[value].origin {
            return Some(view.clone());
        }
        let node = self.node(value)?;
        let input = node.input(0)?;
        let depth = depth.checked_sub(1)?;
        match node.op {
            Op::View | Op::Quantize => self.constant_within(input, depth),
            Op::Transpose => {
                let view = self.constant_within(input, depth)?;
                (view.shape.len() == 2).then(|| view.transpose())
            }
            Op::Dequantize { axis } => {
                if self.is(input, &Op::Quantize) {
                    return self.constant_within(input, depth);
                }
                let mut view = self.constant_within(input, depth)?;
                view.affine = Some(self.affine(node.input(1)?, node.input(2), axis, &view.shape)?);
                Some(view)
            }
            _ => None,
        }
    }

    /// Returns the scales and zero points of a tensor of the given shape.
    pub(super) fn affine(
        &self,
        scale: ValueIndex,
        zero: Option<ValueIndex>,
        axis: i64,
        shape: &[usize],
    ) -> Option<Affine> {
        let scales = self.numbers(scale)?.into_iter().map(|n| n as f32).collect();
        let zeros = match zero {
            Some(zero) => self.numbers(zero)?.into_iter().map(|n| n as i32).collect(),
            None => Vec::new(),
        };
        let axis = if axis < 0 { axis + shape.len() as i64 } else { axis };
        let affine = Affine { scales, zeros, axis: usize::try_from(axis).unwrap_or(0) };
        affine.fits(shape).then_some(affine)
    }

    /// Returns a constant of `width` numbers, one for each column.
    pub(super) fn vector(&self, value: ValueIndex, width: usize) -> Option<View> {
        let mut view = self.constant(value)?;
        if view.columns.is_some() {
            return (view.shape() == [width]).then_some(view);
        }
        if view.elements() != Some(width) || view.shape.last() != Some(&width) {
            return None;
        }
        let affine_axis = view.shape.len() - 1;
        if let Some(affine) = &mut view.affine {
            if affine.scales.len() > 1 && affine.axis != affine_axis {
                return None;
            }
            affine.axis = 0;
        }
        view.shape = vec![width];
        Some(view)
    }

    /// Returns a constant matrix, without dimensions of size 1 in front.
    pub(super) fn matrix(&self, value: ValueIndex) -> Option<View> {
        let mut view = self.constant(value)?;
        while view.shape.len() > 2 && view.shape[0] == 1 {
            view.shape.remove(0);
            if let Some(affine) = &mut view.affine {
                affine.axis = affine.axis.saturating_sub(1);
            }
        }
        (view.shape.len() == 2).then_some(view)
    }

    /// Returns a constant of one number.
    pub(super) fn scalar(&self, value: ValueIndex) -> Option<f32> {
        let view = self.constant(value)?;
        if view.elements() != Some(1) {
            return None;
        }
        match &view.affine {
            Some(_) => view.read(&self.checkpoint).ok()?.first().copied(),
            None => self.checkpoint.numbers(&view.name).ok()?.first().map(|&n| n as f32),
        }
    }

    /// Returns the numbers of a small constant as they are stored. It does not look behind arithmetic, since
    /// scales of scales might form a circle.
    pub(super) fn numbers(&self, mut value: ValueIndex) -> Option<Vec<f64>> {
        for _ in 0..FAR {
            if let Origin::Constant(view) = &self.values[value].origin {
                return self.checkpoint.numbers(&view.name).ok();
            }
            value = self.node(value).filter(|node| node.op == Op::View)?.input(0)?;
        }
        None
    }

    /// Returns true if a value consists of zeros only, whatever its shape. Exporters write a tensor of zeros
    /// that the model makes itself in several ways.
    pub(super) fn is_zero(&self, mut value: ValueIndex) -> bool {
        for _ in 0..FAR {
            let Some(node) = self.node(value) else {
                let numbers = self.numbers(value).unwrap_or_default();
                return !numbers.is_empty() && numbers.iter().all(|&number| number == 0.0);
            };
            let input = match &node.op {
                Op::View | Op::Slice | Op::Transpose | Op::Gather { .. } => node.input(0),
                Op::Other(op) if op == "GatherElements" => node.input(0),
                Op::Other(op) if op == "ConstantOfShape" => {
                    let fill = fill_name(&self.values[value].name);
                    if self.checkpoint.entry(&fill).is_none() {
                        return true;
                    }
                    let numbers = self.checkpoint.numbers(&fill).unwrap_or_default();
                    return !numbers.is_empty() && numbers.iter().all(|&number| number == 0.0);
                }
                _ => None,
            };
            let Some(input) = input else { return false };
            value = input;
        }
        false
    }

    /// Returns the first number of a value that is the same for every text, where it can be told.
    pub(super) fn first_number(&self, value: ValueIndex) -> Option<f64> {
        self.first_number_within(value, FAR, &mut (FAR * FAR))
    }

    fn first_number_within(&self, value: ValueIndex, depth: usize, steps: &mut usize) -> Option<f64> {
        let depth = depth.checked_sub(1)?;
        *steps = steps.checked_sub(1)?;
        if let Origin::Constant(view) = &self.values[value].origin {
            return self.checkpoint.numbers(&view.name).ok()?.first().copied();
        }
        let node = self.node(value)?;
        let mut first = |index: usize| self.first_number_within(node.input(index)?, depth, steps);
        match &node.op {
            Op::View | Op::Transpose => first(0),
            Op::Slice => {
                let starts = self.numbers(node.input(1)?)?;
                starts.iter().all(|&start| start == 0.0).then(|| first(0)).flatten()
            }
            Op::Add => Some(first(0)? + first(1)?),
            Op::Sub => Some(first(0)? - first(1)?),
            Op::Mul => Some(first(0)? * first(1)?),
            Op::Other(op) if op == "Range" => first(0),
            _ => None,
        }
    }

    /// Returns true if a constant holds integers.
    pub(super) fn is_integer(&self, view: &View) -> bool {
        let dtype = self.checkpoint.entry(&view.name).and_then(|entry| entry.dtype.clone().ok());
        matches!(dtype, Some(ElementType::I8 | ElementType::U8 | ElementType::I32))
    }
}
