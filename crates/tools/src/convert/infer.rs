//! Infers the configuration of a model that comes as a graph from its operators and constants.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::attention;
use super::flow::{Flow, Node, Op, Origin, ValueIndex};
use mobilebert::Result;

/// The name of the activation in `config.json`.
pub(super) const RELU6: &str = "relu6";

/// Returns everything that can be inferred, as fields of `config.json`. Where the structure leaves a choice,
/// it returns all possibilities in the order to try them.
pub(super) fn configurations(flow: &Flow, notes: &mut Vec<String>) -> Result<Vec<Map<String, Value>>> {
    let tables = tables(flow);
    let words = tables.iter().filter(|t| t.by_input).max_by_key(|t| t.rows);
    let words =
        words.ok_or_else(|| flow.missing("the word embeddings", "a lookup of token ids in a table"))?;
    let (layers, attention, head_size) = attentions(flow)
        .ok_or_else(|| flow.missing("encoder.layer.0.attention.self", "a softmax of scaled products"))?;
    let (positions, hidden, all_positions) = positions(flow, &tables, words.rows)
        .ok_or_else(|| flow.missing("embeddings.position_embeddings", "a table of positions"))?;
    if !all_positions {
        notes.push(fixed_length_note(positions, None));
    }
    let types =
        tables.iter().filter(|t| (t.by_input || t.by_zeros) && t.columns == hidden && t.rows < words.rows);
    let types = types.map(|t| t.rows).min().unwrap_or(1);
    let trigram = flow.nodes.iter().any(|node| node.op == Op::Concat && is_trigram(flow, node));
    let eps = layer_norm_eps(flow, hidden);
    let mobile = trigram || words.columns != hidden || attention != hidden || eps.is_none();

    let activations = activations(flow);
    let &(_, first_value, activation) =
        activations.first().ok_or_else(|| flow.missing("the feed-forward network", "an activation"))?;
    let intermediate = width_of(flow, first_value)
        .ok_or_else(|| flow.missing("intermediate.dense", "a linear before the activation"))?;
    // A masked-LM head has one more activation.
    let stacked = (activations.len() / layers).max(1);
    let head = head(flow, words.rows);

    let mut config = json!({
        "model_type": if mobile { "mobilebert" } else { "bert" },
        "vocab_size": words.rows,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": attention / head_size.max(1),
        // The architecture has the activations from 0 and those from 6.
        "intermediate_size": if activation == RELU6 { intermediate.saturating_mul(2) } else { intermediate },
        "hidden_act": if activation == RELU6 { "relu" } else { activation },
        "max_position_embeddings": positions,
        "type_vocab_size": types,
        "architectures": [format!("{}{}", if mobile { "MobileBert" } else { "Bert" }, head.class)],
        "num_labels": head.labels,
    });
    if let Some(eps) = eps {
        config["layer_norm_eps"] = eps.to_string().parse::<f64>().unwrap_or_default().into();
    }
    if mobile {
        let bottleneck = attention != hidden;
        config["embedding_size"] = words.columns.into();
        config["trigram_input"] = trigram.into();
        config["use_bottleneck"] = bottleneck.into();
        config["intra_bottleneck_size"] = if bottleneck { attention } else { hidden }.into();
        config["num_feedforward_networks"] = stacked.into();
        config["classifier_activation"] = head.tanh.into();
        // The masked-LM head has a layer norm, whichever norm the encoder has.
        let norms = flow
            .nodes
            .iter()
            .filter(|node| matches!(node.op, Op::LayerNorm { .. } | Op::Sqrt | Op::Rsqrt))
            .count();
        config["normalization_type"] = if norms > layers { "layer_norm" } else { "no_norm" }.into();
    }
    let Value::Object(config) = config else { return Ok(Vec::new()) };
    if !mobile {
        return Ok(vec![config]);
    }
    let choices = [(false, true), (true, false), (false, false)];
    let choose = |(attention, shared): (bool, bool)| {
        let mut config = config.clone();
        config.insert("use_bottleneck_attention".to_owned(), attention.into());
        config.insert("key_query_shared_bottleneck".to_owned(), shared.into());
        config
    };
    Ok(choices.map(choose).to_vec())
}

/// A table that rows are looked up in.
struct Table {
    rows: usize,
    columns: usize,
    /// True if an input of the model, and not a constant, chooses the rows.
    by_input: bool,
    /// True if row 0 is looked up for every token, as in models exported without token types.
    by_zeros: bool,
}

fn tables(flow: &Flow) -> Vec<Table> {
    let is_lookup = |op: &Op| matches!(op, Op::Gather { .. } | Op::MatMul | Op::Linear { .. });
    let gathers =
        (0..flow.values.len()).filter(|&value| flow.node(value).is_some_and(|node| is_lookup(&node.op)));
    gathers
        .filter_map(|value| {
            let (view, indices) = flow.gather(value)?;
            let is_float = flow.checkpoint.entry(&view.name)?.dtype.as_ref().is_ok_and(|d| d.is_float());
            let [rows, columns] = *view.shape().as_slice() else { return None };
            (is_float || flow.is_integer(&view)).then(|| Table {
                rows,
                columns,
                by_input: flow.is_input(indices),
                by_zeros: flow.is_zero(indices),
            })
        })
        .collect()
}

/// Returns the shape of the position table, and whether the graph has all of it. An exporter for a fixed
/// length may keep only the rows that it needs.
fn positions(flow: &Flow, tables: &[Table], vocabulary: usize) -> Option<(usize, usize, bool)> {
    if let Some(table) = tables.iter().find(|t| !t.by_input && !t.by_zeros && t.rows != vocabulary) {
        return Some((table.rows, table.columns, true));
    }
    let mut added = flow.nodes.iter().filter(|node| node.op == Op::Add).flat_map(|node| node.inputs.iter());
    added.find_map(|input| match *flow.matrix((*input)?)?.shape().as_slice() {
        [rows, columns] if rows > 1 => Some((rows, columns, false)),
        _ => None,
    })
}

/// Returns the number of positions of a graph that was exported for sequences of one length, if it has no
/// table of all positions.
pub(super) fn fixed_length(flow: &Flow, vocabulary: usize) -> Option<usize> {
    let (rows, _, all) = positions(flow, &tables(flow), vocabulary)?;
    (!all).then_some(rows)
}

/// Says that a graph holds the positions of one length only, in the place of those that were configured, if
/// any were.
pub(super) fn fixed_length_note(positions: usize, configured: Option<usize>) -> String {
    let instead = configured.map_or(String::new(), |all| format!(", not {all}"));
    format!(
        "the graph was exported for sequences of {positions} tokens and holds no further positions: \
         max_position_embeddings is {positions}{instead}; export with dynamic axes for longer texts"
    )
}

/// Returns the number of attentions, the width of the first one and that of one of its heads.
fn attentions(flow: &Flow) -> Option<(usize, usize, usize)> {
    let products = (0..flow.values.len()).filter(|&value| {
        let is_product =
            |op: &Op| matches!(op, Op::MatMul | Op::Mul | Op::Attention { .. } | Op::Pack | Op::Concat);
        flow.node(value).is_some_and(|node| is_product(&node.op))
    });
    let mut found = products.filter_map(|value| attention::read(flow, value).ok());
    let first = found.next()?;
    let count = 1 + found.count();
    let width = width_of(flow, first.value)?;
    // A scale of 1 says nothing about the size, since the real one was folded into the queries.
    let scale = first.scale.filter(|&scale| scale != 1.0);
    let by_scale = scale.map(|scale| (1.0 / (scale * scale)).round() as usize);
    let size = by_scale.or_else(|| head_size(flow, first.value));
    size.filter(|&size| size > 0 && width.is_multiple_of(size)).map(|size| (count, width, size))
}

/// Returns the last number of the shape that splits a value's columns into heads. It may stand behind
/// reshapes and transpositions.
fn head_size(flow: &Flow, value: ValueIndex) -> Option<usize> {
    flow.nodes.iter().filter(|node| node.op == Op::View).find_map(|node| {
        let [input, shape] = [0, 1].map(|i| node.input(i));
        if flow.peel(input?) != value {
            return None;
        }
        let shape = shape?;
        let last = match flow.node(shape) {
            // The shape is computed from the numbers of texts and tokens, which the other two numbers follow.
            Some(Node { op: Op::Concat, inputs, .. }) if inputs.len() == 4 => {
                flow.scalar((*inputs.last()?)?)?
            }
            _ => *flow.numbers(shape).filter(|shape| shape.len() == 4)?.last()? as f32,
        };
        (last >= 1.0).then_some(last as usize)
    })
}

/// Returns the number of columns of the linear that a value comes from.
fn width_of(flow: &Flow, value: ValueIndex) -> Option<usize> {
    const FAR: usize = 8;
    let mut value = flow.peel(value);
    for _ in 0..FAR {
        let node = flow.node(value)?;
        if let Some(view) = node.input(1).and_then(|w| flow.matrix(w)) {
            match node.op {
                Op::Linear { transposed: false } => return view.shape().first().copied(),
                Op::MatMul | Op::MatMulInteger | Op::Linear { .. } => return view.shape().last().copied(),
                _ => {}
            }
        }
        let computed = |&v: &ValueIndex| flow.constant(v).is_none() && !flow.is_static(v);
        value = flow.peel(node.inputs.iter().flatten().copied().find(computed)?);
    }
    None
}

fn is_trigram(flow: &Flow, node: &Node) -> bool {
    let inputs: Vec<ValueIndex> = node.inputs.iter().flatten().copied().collect();
    inputs.len() == 3 && flow.gather(inputs[1]).is_some()
}

/// Finds the epsilon of the first layer norm of the encoder.
fn layer_norm_eps(flow: &Flow, hidden: usize) -> Option<f32> {
    (0..flow.values.len()).find_map(|value| match flow.node(value)? {
        Node { op: Op::LayerNorm { eps }, .. } => Some(*eps),
        Node { op: Op::Add, .. } => match flow.scaled(value, hidden) {
            Some((x, _)) => flow.normalized(x).map(|(_, eps)| eps),
            None => flow.batch_normalized(value, hidden).map(|norm| norm.eps),
        },
        _ => None,
    })
}

/// Returns the activations of the feed-forward networks in order: the node, the value that it reads and the
/// name in `config.json`.
fn activations(flow: &Flow) -> Vec<(usize, ValueIndex, &'static str)> {
    let read = read_by_linears(flow);
    let mut found = Vec::new();
    for value in 0..flow.values.len() {
        let Origin::Node(index, 0) = flow.values[value].origin else { continue };
        let node = &flow.nodes[index];
        let input = node.input(0);
        let (input, name) = match node.op {
            Op::ImpliedRelu if !read.contains(&value) => continue,
            Op::Relu | Op::ImpliedRelu => (input, "relu"),
            Op::Relu6 => (input, RELU6),
            Op::Gelu => (input, "gelu"),
            Op::GeluTanh => (input, "gelu_new"),
            Op::Mul => match flow.gelu(value) {
                // A linear reads only the last product of the formula.
                Some((input, tanh)) if read.contains(&value) => {
                    (Some(input), if tanh { "gelu_new" } else { "gelu" })
                }
                _ => continue,
            },
            _ => continue,
        };
        if let Some(input) = input {
            found.push((index, input, name));
        }
    }
    found.sort_unstable_by_key(|(index, ..)| *index);
    found
}

/// Returns the values that a linear or a norm reads.
fn read_by_linears(flow: &Flow) -> HashSet<ValueIndex> {
    let linears = flow.nodes.iter().filter(|node| {
        matches!(node.op, Op::MatMul | Op::MatMulInteger | Op::Linear { .. } | Op::LayerNorm { .. })
    });
    linears.filter_map(|node| node.input(0)).map(|v| flow.peel(v)).collect()
}

/// The head that stands on the encoder.
pub(super) struct Head {
    /// The suffix of Hugging Face's class.
    pub(super) class: &'static str,
    pub(super) labels: usize,
    /// True if a pooler with a tanh is below the head.
    pub(super) tanh: bool,
}

pub(super) fn head(flow: &Flow, vocabulary: usize) -> Head {
    let none = Head { class: "Model", labels: 2, tanh: true };
    let Some(&first) = flow.outputs.first() else { return none };
    let logits = flow.logits(first);
    // A linear ends in a product or in the sum with a bias. Everything else is a norm.
    let Some(node) = flow.node(logits) else { return none };
    let product = match node.op {
        Op::Add => {
            let product = node.inputs.iter().flatten().copied().find(|&v| flow.constant(v).is_none());
            product.map_or(logits, |v| flow.peel(v))
        }
        _ => logits,
    };
    let is_product = flow.node(product).is_some_and(|node| {
        let integer = node.op == Op::Mul
            && node.inputs.iter().flatten().any(|&v| flow.is(flow.peel(v), &Op::MatMulInteger));
        integer || matches!(node.op, Op::MatMul | Op::Linear { .. })
    });
    let Some(width) = width_of(flow, product).filter(|_| is_product) else { return none };
    if width == vocabulary {
        return Head { class: "ForMaskedLM", ..none };
    }
    let outputs = flow.outputs.iter().filter(|&&output| flow.logits(output) == logits).count();
    if outputs == 2 && width == 2 {
        return Head { class: "ForQuestionAnswering", ..none };
    }
    let Some(input) = flow.linear(product).map(|linear| flow.peel(linear.input)) else { return none };
    let tanh = flow.is(input, &Op::Tanh);
    let selected = matches!(flow.node(input), Some(Node { op: Op::Gather { .. } | Op::Slice, .. }));
    let class = if tanh || selected { "ForSequenceClassification" } else { "ForTokenClassification" };
    Head { class, labels: width, tanh }
}
