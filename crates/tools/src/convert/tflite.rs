//! Translates LiteRT's operators to those of [`Flow`].

use super::flow::{Flow, Node, Op, Origin, Value};
use super::stored::{Affine, View};
use crate::foreign::tflite::{TfliteGraph, TfliteOperator, TfliteTensor};
use mobilebert::format::Checkpoint;

/// The code of EMBEDDING_LOOKUP, whose operands are the indices and then the table.
const EMBEDDING_LOOKUP: i32 = 7;

/// The code of SPLIT, whose axis comes before the tensor.
const SPLIT: i32 = 49;

/// The code of SQUARE, whose only operand is multiplied by itself.
const SQUARE: i32 = 92;

pub(super) fn flow(file: &str, graph: TfliteGraph, checkpoint: Checkpoint) -> Flow {
    let value = |tensor: &TfliteTensor| Value { name: tensor.name.clone(), origin: origin(tensor) };
    let mut values: Vec<Value> = graph.tensors.iter().map(value).collect();
    for &input in &graph.inputs {
        values[input].origin = Origin::Input;
    }
    let mut nodes: Vec<Node> = Vec::new();
    for operator in graph.operators {
        let name = operator.outputs.first().map_or(String::new(), |&output| values[output].name.clone());
        let (op, activation) = op(&operator);
        let offset = operator.offset;
        let mut inputs = operator.inputs;
        match operator.code {
            EMBEDDING_LOOKUP | SPLIT => inputs.reverse(),
            SQUARE => inputs.extend_from_within(..1.min(inputs.len())),
            _ => {}
        }
        nodes.push(Node { op, inputs, name: name.clone(), offset });
        let mut produced = Origin::Node(nodes.len() - 1, 0);
        if let Some(activation) = activation {
            values.push(Value { name: name.clone(), origin: produced });
            nodes.push(Node { op: activation, inputs: vec![Some(values.len() - 1)], name, offset });
            produced = Origin::Node(nodes.len() - 1, 0);
        }
        for (port, &output) in operator.outputs.iter().enumerate() {
            if matches!(values[output].origin, Origin::Nowhere) {
                values[output].origin = match produced {
                    Origin::Node(node, _) => Origin::Node(node, port),
                    _ => Origin::Nowhere,
                };
            }
        }
    }
    Flow { file: file.to_owned(), checkpoint, values, nodes, outputs: graph.outputs }
}

fn origin(tensor: &TfliteTensor) -> Origin {
    if !tensor.constant {
        return Origin::Nowhere;
    }
    let mut view = View::new(&tensor.key, &tensor.shape);
    if !tensor.scales.is_empty() {
        let zeros = tensor.zero_points.iter().map(|&zero| zero as i32).collect();
        let affine = Affine { scales: tensor.scales.clone(), zeros, axis: tensor.axis };
        if !affine.fits(&tensor.shape) {
            return Origin::Nowhere;
        }
        view.affine = Some(affine);
    }
    Origin::Constant(view)
}

/// Returns the operator, and the activation that is fused behind it. The numbers are those of
/// `BuiltinOperator`.
fn op(operator: &TfliteOperator) -> (Op, Option<Op>) {
    let first = operator.options[0];
    let op = match operator.code {
        0 => Op::Add,
        2 => Op::Concat,
        6 | 22 | 43 | 53 | 70 | 130 => Op::View,
        EMBEDDING_LOOKUP => Op::Gather { axis: 0 },
        9 => Op::Linear { transposed: false },
        18 | SQUARE => Op::Mul,
        19 => Op::Relu,
        21 => Op::Relu6,
        25 => Op::Softmax,
        28 => Op::Tanh,
        34 | 60 => Op::Pad,
        36 => Op::Gather { axis: i64::from(first) },
        39 => Op::Transpose,
        40 => Op::Mean,
        41 => Op::Sub,
        42 => Op::Div,
        45 | 65 => Op::Slice,
        SPLIT | 88 | 102 => Op::Split,
        55 | 57 => Op::Clip,
        64 | 123 => Op::Where,
        75 => Op::Sqrt,
        76 => Op::Rsqrt,
        77 => Op::Shape,
        78 => Op::Pow,
        83 => Op::Pack,
        85 => Op::OneHot,
        99 => Op::SquaredDifference,
        114 => Op::Quantize,
        // Only the second operand may be transposed, which does not change which one is the query.
        126 if first == 0 => Op::MatMul,
        150 => {
            if first == 0 {
                Op::Gelu
            } else {
                Op::GeluTanh
            }
        }
        other => Op::Other(format!("BuiltinOperator {other}")),
    };
    // ADD, FULLY_CONNECTED, MUL, SUB and DIV have their activation as the first option.
    let activation = match (operator.code, first) {
        (0 | 9 | 18 | 41 | 42, 1) => Some(Op::Relu),
        (0 | 9 | 18 | 41 | 42, 3) => Some(Op::Relu6),
        (0 | 9 | 18 | 41 | 42, 4) => Some(Op::Tanh),
        (0 | 9 | 18 | 41 | 42, 2..) => Some(Op::Other(format!("fused activation {first}"))),
        _ => None,
    };
    (op, activation)
}
