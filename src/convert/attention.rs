//! The forms in which exporters write `softmax(query * key^T / sqrt(head size) + mask) * value`.

use super::flow::{Flow, Node, Op, ValueIndex};

/// Operators between a softmax and the product of queries and keys.
const FAR: usize = 8;

/// Inputs of the operators that add or choose.
const OPERANDS: usize = 3;

/// What an attention reads.
pub(super) struct Attention {
    pub(super) query: ValueIndex,
    pub(super) key: ValueIndex,
    pub(super) value: ValueIndex,
    /// What scores are multiplied with; `None` if it is computed, or the operator's own 1/sqrt(head size).
    pub(super) scale: Option<f32>,
}

/// What was expected instead, and where.
pub(super) type Missing = (ValueIndex, &'static str);

/// The attention that computes a value.
pub(super) fn read(flow: &Flow, value: ValueIndex) -> Result<Attention, Missing> {
    if let Some(Node { op: Op::Attention { scale }, inputs, .. }) = flow.node(value) {
        let [Some(query), Some(key), Some(values), ..] = *inputs.as_slice() else {
            return Err((value, "queries, keys and values"));
        };
        let [query, key, values] = [query, key, values].map(|v| flow.peel(v));
        return Ok(Attention { query, key, value: values, scale: *scale });
    }
    let [weights, values] = product(flow, value).ok_or((value, "softmax(query * key^T) * value"))?;
    let mut softmax = flow.peel(weights);
    // A guard against rows without any token: where(is_nan(x), 0, x).
    if let Some(Node { op: Op::Where, inputs, .. }) = flow.node(softmax) {
        let guarded = inputs.iter().skip(1).flatten().find(|&&v| flow.is(flow.peel(v), &Op::Softmax));
        softmax = guarded.map_or(softmax, |&v| flow.peel(v));
    }
    let scores = match flow.node(softmax) {
        Some(Node { op: Op::Softmax, inputs, .. }) => inputs.first().copied().flatten(),
        _ => None,
    };
    let scores = scores.ok_or((softmax, "a softmax over the scores"))?;
    let (scores, scale) = behind_mask(flow, scores, FAR)
        .ok_or((scores, "the scores query * key^T / sqrt(head size), masked"))?;
    let [query, key] = product(flow, scores).ok_or((scores, "the product query * key^T"))?;
    let ((query, by_query), (key, by_key)) = (behind_scale(flow, query), behind_scale(flow, key));
    let scale = scale.zip(by_query).zip(by_key).map(|((a, b), c)| a * b * c);
    Ok(Attention { query, key, value: flow.peel(values), scale })
}

/// The operands of a product of two values that are computed.
pub(super) fn product(flow: &Flow, value: ValueIndex) -> Option<[ValueIndex; 2]> {
    let pair = flow.pair(value, &Op::MatMul)?;
    pair.iter().all(|&operand| flow.constant(operand).is_none()).then_some(pair)
}

/// The product behind a mask and a scale, and the scale where it is a constant.
fn behind_mask(flow: &Flow, value: ValueIndex, depth: usize) -> Option<(ValueIndex, Option<f32>)> {
    let (value, scale) = behind_scale(flow, value);
    if product(flow, value).is_some() {
        return Some((value, scale));
    }
    let depth = depth.checked_sub(1)?;
    let node = flow.node(value).filter(|node| matches!(node.op, Op::Add | Op::Where))?;
    node.inputs.iter().take(OPERANDS).flatten().find_map(|&input| {
        let (product, inner) = behind_mask(flow, input, depth)?;
        Some((product, scale.zip(inner).map(|(a, b)| a * b)))
    })
}

/// Behind multiplications with one number; `None` for a number that is not a constant but the same for every text.
fn behind_scale(flow: &Flow, mut value: ValueIndex) -> (ValueIndex, Option<f32>) {
    const FACTORS: usize = 4;
    let mut scale = Some(1.0);
    for _ in 0..FACTORS {
        value = flow.peel(value);
        if let Some([a, b]) = flow.pair(value, &Op::Div).filter(|&[_, b]| flow.is_static(b)) {
            scale = scale.zip(flow.scalar(b)).map(|(scale, b)| scale / b);
            value = a;
        } else if let Some([a, b]) = flow.pair(value, &Op::Mul) {
            let (x, factor) = match (flow.is_static(a), flow.is_static(b)) {
                (false, true) => (a, b),
                (true, false) => (b, a),
                _ => return (value, scale),
            };
            scale = scale.zip(flow.scalar(factor)).map(|(scale, factor)| scale * factor);
            value = x;
        } else {
            return (value, scale);
        }
    }
    (flow.peel(value), scale)
}
