//! Recognises the forms in which exporters write `softmax(query * key^T / sqrt(head size) + mask) * value`.

use super::flow::{FAR, Flow, Node, Op, Origin, ValueIndex};
use super::mask;

/// The most values that are looked at between a softmax and the product of queries and keys. That is a few
/// times what any exporter needs, and it bounds the work on graphs made of such operators only.
const STEPS: usize = 32;

/// The most inputs of the operators that add, multiply or choose.
const OPERANDS: usize = 3;

/// The values that an attention reads, and how it treats its scores.
pub(super) struct Attention {
    pub(super) query: ValueIndex,
    pub(super) key: ValueIndex,
    pub(super) value: ValueIndex,
    /// The factor of the scores; `None` if it is computed, or is the operator's own 1/sqrt(head size).
    pub(super) scale: Option<f32>,
    /// The number that is added to the scores of padding, if it is a single one.
    pub(super) padding: Option<f32>,
    /// True if the scores are cut off at the ends of a range.
    pub(super) is_clipped: bool,
    /// The values that are added to the scores, or choose between them.
    masks: Vec<ValueIndex>,
    /// The values that all scores, queries or keys are multiplied or divided by and that are not constant
    /// numbers, although the same for every text.
    factors: Vec<ValueIndex>,
}

/// The value where an attention differs from every known form, and what was expected there.
pub(super) type Missing = (ValueIndex, &'static str);

impl Attention {
    /// Checks that the scores depend on the queries, the keys and the padding only.
    pub(super) fn check_masks(&self, flow: &Flow) -> Result<(), Missing> {
        self.masks.iter().try_for_each(|&mask| mask::check(flow, mask))?;
        self.factors.iter().try_for_each(|&factor| mask::check_factor(flow, factor))
    }
}

/// Reads the attention that computes a value. What is done to its scores is checked by
/// [`Attention::check_masks`].
pub(super) fn read(flow: &Flow, value: ValueIndex) -> Result<Attention, Missing> {
    if let Some(Node { op: Op::Attention { scale }, inputs, .. }) = flow.node(value) {
        let [Some(query), Some(key), Some(values), ..] = *inputs.as_slice() else {
            return Err((value, "queries, keys and values"));
        };
        let masks = inputs[3..].iter().flatten().copied().collect();
        let [query, key, value] = [query, key, values].map(|v| flow.peel(v));
        let (padding, is_clipped, factors) = (None, false, Vec::new());
        return Ok(Attention { query, key, value, scale: *scale, padding, is_clipped, masks, factors });
    }
    let [weights, values] = product(flow, value).ok_or((value, "softmax(query * key^T) * value"))?;
    let mut softmax = flow.peel(weights);
    // Some exporters guard against rows without any token: where(is_nan(x), 0, x).
    if let Some(Node { op: Op::Where, inputs, .. }) = flow.node(softmax) {
        let guarded = inputs.iter().skip(1).flatten().find(|&&v| flow.is(flow.peel(v), &Op::Softmax));
        softmax = guarded.map_or(softmax, |&v| flow.peel(v));
    }
    let input = match flow.node(softmax) {
        Some(Node { op: Op::Softmax, inputs, .. }) => inputs.first().copied().flatten(),
        _ => None,
    };
    let input = input.ok_or((softmax, "a softmax over the scores"))?;
    let found = scores(flow, input, &mut { STEPS })
        .ok_or((input, "the scores query * key^T / sqrt(head size), masked"))?;
    let [mut query, mut key] = found.product;
    if found.is_turned {
        // The graph multiplies keys by queries, with one row for each key.
        std::mem::swap(&mut query, &mut key);
    }
    let Scores { scale, padding, is_clipped, masks, mut factors, .. } = found;
    let [by_query, by_key] = [query, key].map(|operand| behind_scale(flow, operand));
    let scale = scale.zip(by_query.scale).zip(by_key.scale).map(|((a, b), c)| a * b * c);
    factors.extend(by_query.factors.into_iter().chain(by_key.factors));
    let [query, key, value] = [by_query.value, by_key.value, flow.peel(values)];
    Ok(Attention { query, key, value, scale, padding, is_clipped, masks, factors })
}

/// Returns the operands of a product of two values that are both computed.
fn product(flow: &Flow, value: ValueIndex) -> Option<[ValueIndex; 2]> {
    let pair = flow.pair(value, &Op::MatMul);
    let pair = pair.or_else(|| integer(flow, value)).or_else(|| unrolled(flow, value))?;
    pair.iter().all(|&operand| flow.constant(operand).is_none()).then_some(pair)
}

/// Returns the operands of `float(a_int8 * b_int8) * (a_scale * b_scale)`, a product as ONNX Runtime's
/// dynamic quantiser writes it.
fn integer(flow: &Flow, value: ValueIndex) -> Option<[ValueIndex; 2]> {
    let operands = flow.pair(flow.peel(value), &Op::Mul)?;
    let product = operands.into_iter().map(|v| flow.peel(v)).find(|&v| flow.is(v, &Op::MatMulInteger))?;
    let node = flow.node(product)?;
    Some([node.input(0)?, node.input(1)?])
}

/// Returns the operands of a product that an exporter has written head by head: each head multiplies the
/// same part of both operands, and the results are put together again.
fn unrolled(flow: &Flow, value: ValueIndex) -> Option<[ValueIndex; 2]> {
    /// The most heads of one text, or of a few texts.
    const PARTS: usize = 64;
    let node = flow.node(flow.peel(value)).filter(|node| matches!(node.op, Op::Pack | Op::Concat))?;
    if node.inputs.len() > PARTS {
        return None;
    }
    let mut whole = None;
    for (i, &part) in node.inputs.iter().enumerate() {
        let (part, is_turned) = flow.peel_turning(part?);
        let product = flow.node(part)?;
        let has_bias = product.input(2).is_some();
        if is_turned || has_bias || !matches!(product.op, Op::MatMul | Op::Linear { .. }) {
            return None;
        }
        let operands = [part_of(flow, product.input(0)?, i)?, part_of(flow, product.input(1)?, i)?];
        if *whole.get_or_insert(operands) != operands {
            return None;
        }
    }
    whole
}

/// Returns the value that `value` is part number `index` of.
fn part_of(flow: &Flow, value: ValueIndex, index: usize) -> Option<ValueIndex> {
    let value = flow.peel(value);
    let Origin::Node(node, port) = flow.values[value].origin else { return None };
    let node = &flow.nodes[node];
    let is_it = match node.op {
        Op::Split => port == index,
        Op::Slice => {
            let starts = flow.numbers(node.input(1)?)?;
            starts.iter().sum::<f64>() == index as f64 && starts.iter().filter(|&&s| s != 0.0).count() <= 1
        }
        _ => false,
    };
    Some(flow.peel(node.input(0)?)).filter(|_| is_it)
}

/// The product of queries and keys, and what was done to it.
struct Scores {
    product: [ValueIndex; 2],
    /// True if rows and columns were exchanged.
    is_turned: bool,
    scale: Option<f32>,
    padding: Option<f32>,
    is_clipped: bool,
    masks: Vec<ValueIndex>,
    factors: Vec<ValueIndex>,
}

/// Finds the product behind a mask and a scale, and the scale if it is a constant.
fn scores(flow: &Flow, value: ValueIndex, steps: &mut usize) -> Option<Scores> {
    *steps = steps.checked_sub(1)?;
    let Scaled { value, scale, is_turned, factors } = behind_scale(flow, value);
    if let Some(product) = product(flow, value) {
        let (padding, is_clipped, masks) = (None, false, Vec::new());
        return Some(Scores { product, is_turned, scale, padding, is_clipped, masks, factors });
    }
    let node = flow.node(value)?;
    let inputs = || node.inputs.iter().take(OPERANDS).flatten().copied();
    let (mut found, other) = match node.op {
        Op::Add | Op::Where | Op::Clip => inputs().enumerate().find_map(|(i, input)| {
            let mut others = inputs().enumerate().filter(|&(j, _)| j != i).map(|(_, other)| other);
            let mut found = scores(flow, input, steps)?;
            let first = others.next();
            found.masks.extend(first.into_iter().chain(others));
            Some((found, first))
        })?,
        // The graph sets scores of padding to zero before it adds something to them.
        Op::Mul => {
            let [a, b] = flow.pair(value, &Op::Mul)?;
            let (masked, mask) = [(a, b), (b, a)].into_iter().find(|&(_, mask)| is_mask(flow, mask))?;
            let mut found = scores(flow, masked, steps)?;
            found.masks.push(mask);
            (found, None)
        }
        _ => return None,
    };
    found.scale = scale.zip(found.scale).map(|(a, b)| a * b);
    found.factors.extend(factors);
    found.is_turned ^= is_turned;
    found.is_clipped |= node.op == Op::Clip;
    if node.op == Op::Add
        && let Some([a, b]) = other.and_then(|other| flow.pair(flow.peel(other), &Op::Mul))
    {
        found.padding = flow.scalar(a).or_else(|| flow.scalar(b));
    }
    Some(found)
}

/// Returns true if a value is computed from inputs of the model and constants by simple arithmetic only.
fn is_mask(flow: &Flow, value: ValueIndex) -> bool {
    let (mut stack, mut of_text) = (vec![value], false);
    for _ in 0..FAR {
        let Some(value) = stack.pop() else { return of_text };
        let Origin::Node(node, _) = flow.values[value].origin else {
            of_text |= matches!(flow.values[value].origin, Origin::Input);
            continue;
        };
        let node = &flow.nodes[node];
        match node.op {
            Op::Add | Op::Sub | Op::Mul => stack.extend(node.inputs.iter().take(OPERANDS).flatten()),
            Op::View | Op::Transpose | Op::Quantize | Op::Dequantize { .. } => stack.extend(node.input(0)),
            _ => return false,
        }
    }
    false
}

/// A value behind multiplications by the same numbers for every text.
struct Scaled {
    value: ValueIndex,
    /// The common factor; `None` if it is not constant, or not one number.
    scale: Option<f32>,
    /// True if rows and columns are exchanged on the way.
    is_turned: bool,
    /// The factors that are not constant numbers.
    factors: Vec<ValueIndex>,
}

/// Skips multiplications by the same numbers for every text.
fn behind_scale(flow: &Flow, value: ValueIndex) -> Scaled {
    const FACTORS: usize = 4;
    let mut found = Scaled { value, scale: Some(1.0), is_turned: false, factors: Vec::new() };
    for factors in 0..=FACTORS {
        let (peeled, turned) = flow.peel_turning(found.value);
        found.is_turned ^= turned;
        found.value = peeled;
        if factors == FACTORS {
            break;
        }
        let (x, factor, is_divisor) = if let Some([a, b]) = flow.pair(peeled, &Op::Div)
            && flow.is_static(b)
        {
            (a, b, true)
        } else if let Some([a, b]) = flow.pair(peeled, &Op::Mul) {
            match (flow.is_static(a), flow.is_static(b)) {
                (false, true) => (a, b, false),
                (true, false) => (b, a, false),
                _ => break,
            }
        } else {
            break;
        };
        let number = flow.scalar(factor);
        found.factors.extend(number.is_none().then_some(factor));
        let times = |(scale, number): (f32, f32)| if is_divisor { scale / number } else { scale * number };
        found.scale = found.scale.zip(number).map(times);
        found.value = x;
    }
    found
}
