//! Checks what is done to the scores of an attention. The architecture leaves out padding and nothing else,
//! so a graph whose scores also depend on the places of tokens would be converted to a model that computes
//! something else.

use std::collections::{HashMap, HashSet};

use super::attention::Missing;
use super::flow::{Flow, Node, Op, Origin, ValueIndex};

/// The most operators that a mask is computed with, many times what any exporter writes.
const MOST: usize = 1 << 12;

/// The operators that compare two values: those of ONNX, and LESS, GREATER, GREATER_EQUAL and LESS_EQUAL of
/// LiteRT.
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

/// The operators that number places: those of ONNX, and RANGE and CUMSUM of LiteRT.
const COUNTERS: [&str; 5] = ["Range", "CumSum", "NonZero", "BuiltinOperator 96", "BuiltinOperator 128"];

/// The constants that were looked at, and whether their numbers are unequal.
type Unequal = HashMap<ValueIndex, bool>;

const CAUSAL: &str = "a mask of padding only; in this model tokens do not see all others (a decoder?)";

const PLACES: &str = "a mask of padding only; here scores depend on the places of tokens (a decoder? ALiBi?)";

const CONSTANT: &str = "a mask of padding only; this constant treats some pairs of tokens otherwise";

const FACTORS: &str = "scores that are multiplied by one number; here they are multiplied by several";

/// Returns an error at the first value in the computation of a mask that tells tokens apart by their places:
/// a bias that is looked up in a table, a comparison of places with each other, or anything that is made of
/// places and of nothing else.
pub(super) fn check(flow: &Flow, mask: ValueIndex) -> Result<(), Missing> {
    // Behind a comparison with one number, places are as good as a constant: exporters write `place >= 0`.
    let (mut seen, mut stack) = (HashSet::new(), vec![(mask, false)]);
    let mut unequal = HashMap::new();
    while let Some((value, is_compared)) = stack.pop() {
        if !seen.insert((value, is_compared)) {
            continue;
        }
        if seen.len() > MOST {
            return Err((mask, "a mask of padding only; this one takes thousands of operators"));
        }
        let Some(node) = flow.node(value) else {
            if has_unequal_rows(flow, value) || !is_compared && is_unequal_mask(flow, value) {
                return Err((value, CONSTANT));
            }
            continue;
        };
        if is_learned(flow, node) {
            return Err((value, "scores without a learned bias; the model attends by relative positions"));
        }
        if relates_places(flow, node, &mut unequal)
            || !is_compared && is_counter(node) && flow.is_static(value)
        {
            return Err((value, PLACES));
        }
        let all = node.inputs.iter().flatten().copied();
        match &node.op {
            Op::Other(op) if op == "Trilu" => return Err((value, CAUSAL)),
            Op::Other(op) if COMPARISONS.contains(&op.as_str()) => {
                if compares_places(flow, node) {
                    return Err((value, CAUSAL));
                }
                stack.extend(all.map(|input| (input, true)));
            }
            Op::Other(op) if op == "Equal" => stack.extend(all.map(|input| (input, true))),
            _ if only_moves(node) => stack.extend(node.input(0).map(|input| (input, is_compared))),
            Op::Shape => {}
            _ => stack.extend(all.map(|input| (input, is_compared))),
        }
    }
    Ok(())
}

/// Returns an error if a factor of all scores is more than one number.
pub(super) fn check_factor(flow: &Flow, factor: ValueIndex) -> Result<(), Missing> {
    match flow.constant(factor) {
        Some(view) if view.shape().iter().product::<usize>() != 1 => Err((factor, FACTORS)),
        _ => check(flow, factor),
    }
}

/// Returns true if a node has the numbers of its first input, or some of them, at other places or in another
/// shape. The numbers of its other inputs only say where.
fn only_moves(node: &Node) -> bool {
    match &node.op {
        Op::View | Op::Transpose | Op::Slice | Op::Split | Op::Gather { .. } => true,
        Op::Other(op) => LOOKUPS.contains(&op.as_str()) || op == "Tile",
        _ => false,
    }
}

fn is_counter(node: &Node) -> bool {
    matches!(&node.op, Op::Other(op) if COUNTERS.contains(&op.as_str()))
}

/// Returns true if a node computes with two values that both are made of places, such as `i - j`.
fn relates_places(flow: &Flow, node: &Node, unequal: &mut Unequal) -> bool {
    let mut is_of_places = |value: ValueIndex| is_of_places(flow, value, unequal);
    let puts_together = matches!(node.op, Op::Shape | Op::Concat | Op::Pack | Op::Pad);
    !puts_together
        && !only_moves(node)
        && !is_counter(node)
        && node.inputs.iter().flatten().filter(|&&input| is_of_places(input)).count() > 1
}

/// Returns true if a value is the same for every text, but not the same at every place.
fn is_of_places(flow: &Flow, value: ValueIndex, unequal: &mut Unequal) -> bool {
    if !flow.is_static(value) {
        return false;
    }
    let (mut seen, mut stack) = (HashSet::new(), vec![value]);
    while let Some(value) = stack.pop() {
        if !seen.insert(value) {
            continue;
        }
        let Some(node) = flow.node(value) else {
            if *unequal.entry(value).or_insert_with(|| is_unequal(flow, value)) {
                return true;
            }
            continue;
        };
        match &node.op {
            _ if is_counter(node) => return true,
            Op::Shape => {}
            // The shape of a value says nothing about its numbers.
            Op::Other(op) if op == "ConstantOfShape" => {}
            // Such a comparison is looked at where the scores read it.
            Op::Other(op) if COMPARISONS.contains(&op.as_str()) => {}
            Op::Gather { .. } => stack.extend(node.inputs.iter().flatten()),
            _ if only_moves(node) => stack.extend(node.input(0)),
            _ => stack.extend(node.inputs.iter().flatten()),
        }
    }
    false
}

/// Returns true if a node looks up rows of a table of floats, or multiplies with one.
fn is_learned(flow: &Flow, node: &Node) -> bool {
    let reads = |index: usize| {
        let view = node.input(index).and_then(|value| flow.constant(value));
        view.is_some_and(|view| {
            let dtype = flow.checkpoint.entry(&view.name).map(|entry| &entry.dtype);
            let is_float =
                view.affine.is_some() || dtype.is_some_and(|d| d.as_ref().is_ok_and(|d| d.is_float()));
            let shape = view.shape();
            is_float && !shape.contains(&0) && shape.iter().any(|&d| d > 1)
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
    rows > 1 && columns > 1 && has_unequal(flow, &view.name, columns)
}

/// Returns true if a value is a constant that is no list of sizes, and has unequal numbers.
fn is_unequal_mask(flow: &Flow, value: ValueIndex) -> bool {
    let Origin::Constant(view) = &flow.values[value].origin else { return false };
    let dtype = flow.checkpoint.entry(&view.name).map(|entry| &entry.dtype);
    let is_mask = dtype.is_some_and(|dtype| dtype.as_ref().map_or(true, |dtype| dtype.is_float()));
    (is_mask || view.shape.len() > 1) && has_unequal(flow, &view.name, 1)
}

/// Returns true if a value is a constant with unequal numbers.
fn is_unequal(flow: &Flow, value: ValueIndex) -> bool {
    let Origin::Constant(view) = &flow.values[value].origin else { return false };
    has_unequal(flow, &view.name, 1)
}

/// Returns true if runs of `length` numbers of a tensor differ from each other. Their bytes are compared as
/// they are stored, whatever their type.
fn has_unequal(flow: &Flow, name: &str, length: usize) -> bool {
    let (Some(entry), Some(bytes)) = (flow.checkpoint.entry(name), flow.checkpoint.bytes(name)) else {
        return false;
    };
    let numbers = entry.shape.iter().fold(1usize, |product, &size| product.saturating_mul(size));
    let runs = numbers / length.max(1);
    if runs < 2 || bytes.is_empty() {
        return false;
    }
    // A tensor of a type that is not known might pack numbers, so that runs do not begin at bytes.
    let size = bytes.len() / runs;
    if size == 0 || !bytes.len().is_multiple_of(runs) {
        return bytes.iter().any(|byte| *byte != bytes[0]);
    }
    bytes.chunks_exact(size).any(|run| run != &bytes[..size])
}
