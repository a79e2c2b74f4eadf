//! Checks what is done to the scores of an attention. The architecture leaves out padding and nothing else, so a
//! graph whose scores also depend on the places of tokens would be converted to a model that computes something
//! else.

use std::collections::HashSet;

use super::attention::Missing;
use super::flow::{Flow, Node, Op, Origin, ValueIndex};

/// The most operators that a mask is computed with, many times what any exporter writes.
const MOST: usize = 1 << 12;

/// The most numbers of a constant that are looked at.
const NUMBERS: usize = 1 << 22;

/// The operators that compare two values: those of ONNX, and LESS, GREATER, GREATER_EQUAL and LESS_EQUAL of LiteRT.
const COMPARISONS: [&str; 8] = [
    "Less",
    "LessOrEqual",
    "Greater",
    "GreaterOrEqual",
    "BuiltinOperator 58",
    "BuiltinOperator 61",
    "BuiltinOperator 62",
    "BuiltinOperator 63",
];

/// The lookups that are not of whole rows: those of ONNX, and GATHER_ND of LiteRT.
const LOOKUPS: [&str; 3] = ["GatherND", "GatherElements", "BuiltinOperator 107"];

/// Returns an error at the first value in the computation of a mask that tells tokens apart by their places: a
/// bias that is looked up in a table, a comparison of places with each other, or a constant with unequal rows.
pub(super) fn check(flow: &Flow, mask: ValueIndex) -> Result<(), Missing> {
    let (mut seen, mut stack) = (HashSet::new(), vec![mask]);
    while let Some(value) = stack.pop() {
        if !seen.insert(value) {
            continue;
        }
        if seen.len() > MOST {
            return Err((mask, "a mask of padding only; this one takes thousands of operators"));
        }
        let Some(node) = flow.node(value) else {
            if has_unequal_rows(flow, value) {
                return Err((
                    value,
                    "a mask of padding only; this constant treats some pairs of tokens otherwise",
                ));
            }
            continue;
        };
        if is_learned(flow, node) {
            return Err((value, "scores without a learned bias; the model attends by relative positions"));
        }
        match &node.op {
            Op::Other(op) if op == "Trilu" => return Err((value, CAUSAL)),
            Op::Other(op) if COMPARISONS.contains(&op.as_str()) && compares_places(flow, node) => {
                return Err((value, CAUSAL));
            }
            // The numbers of a value have no part in its shape, and the places of a lookup choose only where the
            // mask of the text is read.
            Op::Shape => {}
            Op::Gather { .. } => stack.extend(node.input(0)),
            Op::Other(op) if LOOKUPS.contains(&op.as_str()) => stack.extend(node.input(0)),
            _ => stack.extend(node.inputs.iter().flatten()),
        }
    }
    Ok(())
}

const CAUSAL: &str = "a mask of padding only; in this model tokens do not see all others (a decoder?)";

/// Returns true if a node looks up rows of a table of floats, or multiplies with one.
fn is_learned(flow: &Flow, node: &Node) -> bool {
    let reads = |index: usize| {
        let view = node.input(index).and_then(|value| flow.constant(value));
        view.is_some_and(|view| {
            let dtype = flow.checkpoint.entry(&view.name).map(|entry| &entry.dtype);
            let is_float =
                view.affine.is_some() || dtype.is_some_and(|d| d.as_ref().is_ok_and(|d| d.is_float()));
            is_float && view.shape().iter().product::<usize>() > 1
        })
    };
    match node.op {
        Op::Gather { .. } => reads(0),
        Op::MatMul | Op::Linear { .. } => reads(0) || reads(1),
        _ => false,
    }
}

/// Returns true if both operands of a comparison depend on more than one number.
fn compares_places(flow: &Flow, node: &Node) -> bool {
    [0, 1].into_iter().all(|index| node.input(index).is_some_and(|value| flow.scalar(value).is_none()))
}

/// Returns true if a value is a constant matrix, or a stack of them, in which rows differ from each other.
fn has_unequal_rows(flow: &Flow, value: ValueIndex) -> bool {
    let Origin::Constant(view) = &flow.values[value].origin else { return false };
    let &[.., rows, columns] = view.shape.as_slice() else { return false };
    if rows < 2 || columns < 2 || view.shape.iter().product::<usize>() > NUMBERS {
        return false;
    }
    match flow.checkpoint.numbers(&view.name) {
        Ok(numbers) => has_unequal(numbers.chunks_exact(columns)),
        // Truth values are no numbers, but bytes.
        Err(_) => {
            flow.checkpoint.bytes(&view.name).is_some_and(|bytes| has_unequal(bytes.chunks_exact(columns)))
        }
    }
}

fn has_unequal<T: PartialEq>(mut lines: impl Iterator<Item = T>) -> bool {
    let first = lines.next();
    lines.any(|line| Some(line) != first)
}
