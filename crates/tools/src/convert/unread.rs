//! Names the operators of a graph that the reader has no form for, and says what to export instead.

use super::flow::{Flow, Node, Op, is_of_other_architecture};
use mobilebert::{Error, ErrorKind};

/// What the name of an operator begins with or is, and what to export instead. The first that fits counts.
const OPERATORS: [(&str, &str); 6] = [
    (
        "com.microsoft.MatMulNBits",
        "the weights have 4 bits; convert the float model that the file was made from, then run `mobilebert quantize`",
    ),
    (
        "com.microsoft.MatMulBnb4",
        "the weights have 4 bits; convert the float model that the file was made from",
    ),
    ("com.microsoft.QuickGelu", UNFUSED),
    ("com.microsoft.Q", QDQ),
    ("com.microsoft.", UNFUSED),
    ("QLinear", QDQ),
];

const QDQ: &str = "the operator computes with integers only; quantise with \
                   `quantize_static(..., quant_format=QuantFormat.QDQ)` or `quantize_dynamic`, or convert the float \
                   model that the file was made from";

const UNFUSED: &str = "ONNX Runtime's optimizer has fused operators; convert the file from before it (with optimum: \
                       `optimum-cli export onnx` without --optimize)";

/// Control flow and sequences, which PyTorch's exporter takes out when it optimises.
const CONTROL: [&str; 7] =
    ["If", "Loop", "Scan", "SequenceAt", "SequenceConstruct", "SplitToSequence", "ConcatFromSequence"];

const SIMPLER: &str = "export with `torch.onnx.export(..., dynamo=True)` and its default optimize=True";

/// Returns the error that explains `error` if the graph has an operator that no reader has a form for, or
/// else `error` itself. What shows another architecture was read, and needs no other explanation.
pub(super) fn explain(flow: &Flow, error: Error) -> Error {
    if is_of_other_architecture(&error) {
        return error;
    }
    let unread = flow.nodes.iter().find_map(|node| Some((node, instead(node)?)));
    let (Some((node, (op, hint))), ErrorKind::Conversion { module, expected, .. }) = (unread, error.kind())
    else {
        return error;
    };
    let place = format!("node `{}` at byte {}", node.name, node.offset);
    let expected = format!("operators that the reader knows, of which it could make {expected}");
    flow.error(place, module, &expected, &format!("the operator {op}"), hint)
}

/// Returns the name of an operator that is not read, and what to export instead.
fn instead(node: &Node) -> Option<(&str, &'static str)> {
    let Op::Other(op) = &node.op else { return None };
    if CONTROL.contains(&op.as_str()) {
        return Some((op, SIMPLER));
    }
    let (_, hint) = OPERATORS.iter().find(|(start, _)| op.starts_with(start))?;
    Some((op, hint))
}
