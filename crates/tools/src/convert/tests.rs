//! Tests the reading of graphs on graphs of real exporters that are changed before they are read.

use std::path::Path;

use super::flow::{Flow, Node, Op, Origin, Value, ValueIndex};
use super::stored::View;
use super::{graph_file, unread};
use mobilebert::format::{Bytes, ElementType, Entry};
use mobilebert::{Error, ErrorKind};

/// A BERT as the older exporter writes it, with positions up to 24 and a width of 16.
const BERT: &str = "bert-classifier-opset11";

fn golden(name: &str) -> Flow {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/onnx").join(name);
    graph_file::onnx(name, Bytes::map(&folder.join("model.onnx")).unwrap(), Some(&folder)).unwrap()
}

fn open(flow: Flow) -> Result<(), Error> {
    graph_file::open(flow, None, None, &mut Vec::new()).map(drop)
}

fn add(flow: &mut Flow, origin: Origin) -> ValueIndex {
    let name = format!("added {}", flow.values.len());
    flow.values.push(Value { name, origin });
    flow.values.len() - 1
}

fn node(flow: &mut Flow, op: Op, inputs: &[ValueIndex]) -> ValueIndex {
    let inputs = inputs.iter().copied().map(Some).collect();
    flow.nodes.push(Node { op, inputs, name: "added".to_owned(), offset: 0 });
    let index = flow.nodes.len() - 1;
    add(flow, Origin::Node(index, 0))
}

fn other(flow: &mut Flow, op: &str, inputs: &[ValueIndex]) -> ValueIndex {
    node(flow, Op::Other(op.to_owned()), inputs)
}

fn constant(flow: &mut Flow, entry: Entry, bytes: Vec<u8>) -> ValueIndex {
    let name = format!("constant {}", flow.values.len());
    let view = View::new(&name, &entry.shape);
    flow.checkpoint.add(&name, Bytes::Owned(bytes), vec![(name.clone(), entry)]).unwrap();
    add(flow, Origin::Constant(view))
}

fn floats(flow: &mut Flow, shape: &[usize], values: &[f32]) -> ValueIndex {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    constant(flow, Entry::new(shape.to_vec(), ElementType::F32, 0..bytes.len()), bytes)
}

fn number(flow: &mut Flow, value: f32) -> ValueIndex {
    floats(flow, &[], &[value])
}

fn input(flow: &Flow, index: usize) -> ValueIndex {
    let mut inputs =
        (0..flow.values.len()).filter(|&value| matches!(flow.values[value].origin, Origin::Input));
    inputs.nth(index).unwrap()
}

/// The numbers of the places, as a row and as a column.
fn places(flow: &mut Flow) -> [ValueIndex; 2] {
    let ids = input(flow, 0);
    let shape = node(flow, Op::Shape, &[ids]);
    let [zero, one] = [0.0, 1.0].map(|value| number(flow, value));
    let length = node(flow, Op::Gather { axis: 0 }, &[shape, one]);
    let row = other(flow, "Range", &[zero, length, one]);
    [row, node(flow, Op::View, &[row, one])]
}

fn distance(flow: &mut Flow) -> ValueIndex {
    let places = places(flow);
    let distance = node(flow, Op::Sub, &places);
    other(flow, "Abs", &[distance])
}

/// Ones up to the diagonal of a matrix, and zeros above.
fn triangle(size: usize) -> impl Iterator<Item = bool> {
    (0..size * size).map(move |i| i % size <= i / size)
}

fn tril(flow: &mut Flow) -> ValueIndex {
    let values: Vec<f32> = triangle(8).map(|seen| f32::from(u8::from(seen))).collect();
    floats(flow, &[1, 1, 8, 8], &values)
}

/// Lets the scores pass where a condition is met.
fn choose(flow: &mut Flow, condition: ValueIndex, scores: ValueIndex) -> ValueIndex {
    let nothing = number(flow, f32::MIN);
    node(flow, Op::Where, &[condition, scores, nothing])
}

type Change = fn(&mut Flow, ValueIndex) -> ValueIndex;

/// Reads a BERT with other scores.
fn with_scores(change: Change) -> Result<(), Error> {
    let mut flow = golden(BERT);
    let softmaxes: Vec<usize> = (0..flow.nodes.len()).filter(|&i| flow.nodes[i].op == Op::Softmax).collect();
    assert!(!softmaxes.is_empty());
    for softmax in softmaxes {
        let scores = flow.nodes[softmax].inputs[0].unwrap();
        flow.nodes[softmax].inputs[0] = Some(change(&mut flow, scores));
    }
    open(flow)
}

fn is_of_other_architecture(error: &Error, module: &str) -> bool {
    matches!(error.kind(), ErrorKind::Conversion { module: at, hint, .. }
        if at.contains(module) && hint.contains("another architecture"))
}

#[test]
fn scores_that_depend_on_places_are_refused() {
    let cases: [(&str, Change); 16] = [
        ("causal, a large constant", |flow, scores| {
            let values: Vec<f32> = triangle(2050).map(|seen| if seen { 0.0 } else { -1e4 }).collect();
            let mask = floats(flow, &[1, 1, 2050, 2050], &values);
            node(flow, Op::Add, &[scores, mask])
        }),
        ("causal, a large constant of truth values", |flow, scores| {
            let bytes: Vec<u8> = triangle(2050).map(u8::from).collect();
            let entry = Entry::unreadable(vec![1, 1, 2050, 2050], "BOOL".to_owned(), 0..bytes.len());
            let mask = constant(flow, entry, bytes);
            choose(flow, mask, scores)
        }),
        ("a constant for each key", |flow, scores| {
            let mask = floats(flow, &[1, 1, 1, 4], &[0.0, 0.5, 1.0, 1.5]);
            node(flow, Op::Add, &[scores, mask])
        }),
        ("causal, i - j >= 0", |flow, scores| {
            let places = places(flow);
            let distance = node(flow, Op::Sub, &places);
            let zero = number(flow, 0.0);
            let mask = other(flow, "GreaterOrEqual", &[distance, zero]);
            choose(flow, mask, scores)
        }),
        ("causal, i + -j >= 0", |flow, scores| {
            let [i, j] = places(flow);
            let j = other(flow, "Neg", &[j]);
            let distance = node(flow, Op::Add, &[i, j]);
            let zero = number(flow, 0.0);
            let mask = other(flow, "GreaterOrEqual", &[distance, zero]);
            choose(flow, mask, scores)
        }),
        ("a window", |flow, scores| {
            let (distance, width) = (distance(flow), number(flow, 3.0));
            let mask = other(flow, "LessOrEqual", &[distance, width]);
            choose(flow, mask, scores)
        }),
        ("blocks", |flow, scores| {
            let size = number(flow, 4.0);
            let blocks = places(flow).map(|place| node(flow, Op::Div, &[place, size]));
            let mask = other(flow, "Equal", &blocks);
            choose(flow, mask, scores)
        }),
        ("ALiBi", |flow, scores| {
            let (distance, slope) = (distance(flow), number(flow, -0.5));
            let mask = node(flow, Op::Mul, &[slope, distance]);
            node(flow, Op::Add, &[scores, mask])
        }),
        ("ALiBi with a slope for each head", |flow, scores| {
            let ([row, _], slopes) = (places(flow), floats(flow, &[2, 1, 1], &[0.5, 0.25]));
            let mask = node(flow, Op::Mul, &[slopes, row]);
            node(flow, Op::Add, &[scores, mask])
        }),
        ("ALiBi of one row", |flow, scores| {
            let ([row, _], slope) = (places(flow), number(flow, 0.5));
            let mask = node(flow, Op::Mul, &[slope, row]);
            node(flow, Op::Add, &[scores, mask])
        }),
        ("ALiBi with the padding", |flow, scores| {
            let ([row, _], padding) = (places(flow), input(flow, 1));
            let mask = node(flow, Op::Mul, &[padding, row]);
            node(flow, Op::Add, &[scores, mask])
        }),
        ("padding times a triangle, as a factor", |flow, scores| {
            let (padding, tril) = (input(flow, 1), tril(flow));
            let mask = node(flow, Op::Mul, &[padding, tril]);
            node(flow, Op::Mul, &[scores, mask])
        }),
        ("a triangle as a factor", |flow, scores| {
            let tril = tril(flow);
            node(flow, Op::Mul, &[scores, tril])
        }),
        ("a triangle as a divisor", |flow, scores| {
            let tril = tril(flow);
            node(flow, Op::Div, &[scores, tril])
        }),
        ("a factor for each head", |flow, scores| {
            let factors = floats(flow, &[2, 1, 1], &[1.0, 2.0]);
            node(flow, Op::Mul, &[scores, factors])
        }),
        ("a computed factor of places", |flow, scores| {
            let distance = distance(flow);
            node(flow, Op::Mul, &[scores, distance])
        }),
    ];
    for (name, change) in cases {
        let error = with_scores(change).expect_err(name);
        assert!(is_of_other_architecture(&error, "attention.self"), "{name}: {error}");
    }
}

#[test]
fn scores_that_do_not_depend_on_places_are_read() {
    let cases: [(&str, Change); 5] = [
        ("as they are", |_, scores| scores),
        ("a constant of zeros", |flow, scores| {
            let mask = floats(flow, &[1, 1, 8, 8], &[0.0; 64]);
            node(flow, Op::Add, &[scores, mask])
        }),
        ("every place, and the padding", |flow, scores| {
            let ([i, j], zero, padding) = (places(flow), number(flow, 0.0), input(flow, 1));
            let all = [i, j].map(|place| other(flow, "GreaterOrEqual", &[place, zero]));
            let all = other(flow, "And", &all);
            let mask = other(flow, "And", &[all, padding]);
            choose(flow, mask, scores)
        }),
        ("lengths in a shape", |flow, scores| {
            let ids = input(flow, 0);
            let [a, b] = [0, 1].map(|_| node(flow, Op::Shape, &[ids]));
            let length = node(flow, Op::Sub, &[a, b]);
            let mask = other(flow, "ConstantOfShape", &[length]);
            node(flow, Op::Add, &[scores, mask])
        }),
        ("one as a factor", |flow, scores| {
            let one = number(flow, 1.0);
            node(flow, Op::Mul, &[scores, one])
        }),
    ];
    for (name, change) in cases {
        with_scores(change).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// Reads a BERT that looks up other positions.
fn with_positions(change: fn(&mut Flow, ValueIndex) -> ValueIndex) -> Result<(), Error> {
    let mut flow = golden(BERT);
    let mut lookups = (0..flow.nodes.len()).filter(|&index| {
        let node = &flow.nodes[index];
        let table = node.input(0).and_then(|table| flow.constant(table));
        matches!(node.op, Op::Gather { .. }) && table.is_some_and(|table| table.shape() == [24, 16])
    });
    let lookup = lookups.next_back().unwrap();
    let places = flow.nodes[lookup].inputs[1].unwrap();
    flow.nodes[lookup].inputs[1] = Some(change(&mut flow, places));
    open(flow)
}

#[test]
fn only_positions_that_are_computed_from_the_text_are_refused() {
    let cases: [(&str, Change); 4] = [
        ("many operators", |flow, places| {
            let mut places = places;
            for _ in 0..1500 {
                places = node(flow, Op::View, &[places]);
            }
            places
        }),
        ("many paths", |flow, places| {
            (0..64).fold(places, |places, _| node(flow, Op::Add, &[places, places]))
        }),
        ("many operands", |flow, places| {
            let zero = number(flow, 0.0);
            let mut operands = vec![zero; 20];
            operands[19] = places;
            other(flow, "Sum", &operands)
        }),
        ("from nowhere", |flow, _| add(flow, Origin::Nowhere)),
    ];
    for (name, change) in cases {
        with_positions(change).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let of_text: [(&str, Change); 2] = [
        ("counted tokens", |flow, _| {
            let ids = input(flow, 0);
            other(flow, "CumSum", &[ids])
        }),
        ("among many operands", |flow, places| {
            let (zero, ids) = (number(flow, 0.0), input(flow, 0));
            let mut operands = vec![zero; 20];
            (operands[5], operands[19]) = (ids, places);
            other(flow, "Sum", &operands)
        }),
    ];
    for (name, change) in of_text {
        let error = with_positions(change).expect_err(name);
        assert!(is_of_other_architecture(&error, "position_embeddings"), "{name}: {error}");
    }
}

#[test]
fn operators_that_are_not_read_have_their_own_advice() {
    for (op, advice) in [
        ("com.microsoft.QuickGelu", "from before it"),
        ("com.microsoft.QLinearAdd", "QuantFormat.QDQ"),
        ("com.microsoft.QGemm", "QuantFormat.QDQ"),
        ("com.microsoft.QAttention", "QuantFormat.QDQ"),
        ("com.microsoft.DynamicQuantizeMatMul", "from before it"),
        ("com.microsoft.MatMulIntegerToFloat", "from before it"),
        ("com.microsoft.MatMulBnb4", "4 bits"),
        ("com.microsoft.MatMulNBits", "mobilebert quantize"),
        ("QLinearMatMul", "QuantFormat.QDQ"),
        ("Loop", "optimize=True"),
    ] {
        let mut flow = golden(BERT);
        other(&mut flow, op, &[]);
        let error = unread::explain(&flow, flow.missing("the model", "a BERT")).to_string();
        assert!(error.contains(op) && error.contains(advice), "{op}: {error}");
    }
}

/// Another architecture stays one, whatever else its graph has.
#[test]
fn operators_that_are_not_read_do_not_hide_another_architecture() {
    for name in ["roberta-encoder-script", "mpnet-encoder-dynamo", "decoder-encoder-dynamo"] {
        let mut flow = golden(name);
        other(&mut flow, "com.microsoft.QuickGelu", &[]);
        let error = open(flow).expect_err(name);
        assert!(is_of_other_architecture(&error, ""), "{name}: {error}");
    }
}

/// No name of an operator of the file makes it one that only quantising implies.
#[test]
fn a_real_relu_is_not_dropped_whatever_its_name() {
    for (op, is_read) in [(Op::Relu, false), (Op::ImpliedRelu, true)] {
        let mut flow = golden(BERT);
        let erfs: Vec<usize> = (0..flow.nodes.len()).filter(|&i| flow.nodes[i].op == Op::Erf).collect();
        assert!(!erfs.is_empty());
        for erf in erfs {
            let x = flow.nodes[erf].inputs[0].unwrap();
            let relu = node(&mut flow, op.clone(), &[x]);
            flow.nodes.last_mut().unwrap().name = "x (relu)".to_owned();
            flow.nodes[erf].inputs[0] = Some(relu);
        }
        assert_eq!(open(flow).is_ok(), is_read, "{op:?}");
    }
}
