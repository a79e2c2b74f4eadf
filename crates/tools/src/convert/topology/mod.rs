//! Finds the parameters of an architecture in a foreign graph by its structure. Both graphs are walked from
//! the outputs to the inputs. Each node of our graph has to be matched by foreign operators that compute it,
//! and each of our values stands for one foreign value. Names play no part.

mod embeddings;
mod linear;

use super::attention;
use super::flow::{Flow, Op, ValueIndex};
use super::stored::{Stored, View};
use mobilebert::graph::{self, Graph, ParameterId, Rows, ValueId};
use mobilebert::{Error, Result, TensorProblem};

/// The relative difference up to which two constants of a formula (epsilon, 1/sqrt(head size)) count as the
/// same, because int8 graphs round them.
const SAME: f32 = 0.02;

/// A score that leaves nothing of a probability in f32: exp(-100) is 4e-44.
const NOTHING: f32 = -100.0;

/// The places of a graph's parameters in a file.
pub(super) struct Matched {
    pub(super) stored: Vec<Stored>,
    /// Remarks about what differs from the architecture, such as folded norms and missing inputs.
    pub(super) notes: Vec<String>,
}

/// Finds every parameter of `graph` in `flow`, whose first output has to be that of `graph`.
pub(super) fn find(flow: &Flow, graph: &Graph) -> Result<Matched> {
    let &output = flow.outputs.first().ok_or_else(|| flow.missing("the model", "an output"))?;
    let mut matcher = Matcher {
        flow,
        graph,
        bound: vec![None; graph.nodes.len()],
        stored: vec![None; graph.parameters.len()],
        query_factors: vec![None; graph.nodes.len()],
        notes: Vec::new(),
    };
    matcher.bind(graph.output(), flow.logits(output))?;
    if flow.is(flow.peel(output), &Op::Softmax) {
        matcher.note("the graph ends in a softmax; the model's output are the logits before it".to_owned());
    }
    for i in (0..graph.nodes.len()).rev() {
        matcher.node(i)?;
    }
    let Matcher { stored, notes, .. } = matcher;
    let complete = |(stored, parameter): (Option<Stored>, &graph::Parameter)| {
        stored.ok_or_else(|| flow.mismatch(&parameter.name, output, "this parameter"))
    };
    let stored = stored.into_iter().zip(&graph.parameters).map(complete).collect::<Result<_>>()?;
    Ok(Matched { stored, notes })
}

struct Matcher<'a> {
    flow: &'a Flow,
    graph: &'a Graph,
    /// The foreign value of each of our values.
    bound: Vec<Option<ValueIndex>>,
    stored: Vec<Option<Stored>>,
    /// The factor that the linear of each of our values is to be multiplied by, for queries that the exporter
    /// has scaled in place of scores.
    query_factors: Vec<Option<f32>>,
    notes: Vec<String>,
}

impl<'a> Matcher<'a> {
    fn name(&self, value: ValueId) -> &'a str {
        &self.graph.nodes[value.0].name
    }

    fn fail<T>(&self, module: &str, value: ValueIndex, expected: &str) -> Result<T> {
        Err(self.flow.mismatch(module, value, expected))
    }

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Records that our value is the foreign one.
    fn bind(&mut self, ours: ValueId, theirs: ValueIndex) -> Result<()> {
        let theirs = self.flow.peel(theirs);
        match self.bound[ours.0] {
            Some(bound) if bound != theirs => {
                let expected =
                    format!("the value `{}`, which other operators read here", self.flow.values[bound].name);
                self.fail(self.name(ours), theirs, &expected)
            }
            _ => {
                self.bound[ours.0] = Some(theirs);
                Ok(())
            }
        }
    }

    /// Records where a parameter is stored. One that is shared keeps its first place.
    fn set(&mut self, parameter: ParameterId, stored: Stored) -> Result<()> {
        let graph::Parameter { name, shape, .. } = self.graph.parameter(parameter);
        if let Stored::Tensor(view) = &stored
            && view.shape() != *shape
        {
            let problem = TensorProblem::Shape { expected: shape.clone(), found: view.shape() };
            return Err(Error::tensor(
                self.flow.checkpoint.file_of(&view.name),
                &format!("{} ({name})", view.name),
                problem,
            ));
        }
        self.stored[parameter.0].get_or_insert(stored);
        Ok(())
    }

    fn node(&mut self, index: usize) -> Result<()> {
        let graph = self.graph;
        let node = &graph.nodes[index];
        let Some(value) = self.bound[index] else {
            // Every value of our graph but the last is read by a later node, which binds it.
            return self.fail(&node.name, self.flow.outputs[0], "a value that reads this module");
        };
        match node.op {
            graph::Op::Linear { .. } => self.linear(index, value),
            graph::Op::Attention { query, key, value: v, heads } => {
                self.attention(&node.name, value, [query, key, v], node.width / heads)
            }
            graph::Op::Select { input, rows: Rows::Requested } => self.bind(input, value),
            graph::Op::Select { input, rows: Rows::First } => {
                let first = self.first_row(&node.name, value)?;
                self.bind(input, first)
            }
            graph::Op::PositionAndType { input, position, token_type, norm } => {
                self.embeddings(index, value, input, (position, token_type), norm)
            }
            graph::Op::WordEmbedding { table, trigram } => self.words(&node.name, value, table, trigram),
            graph::Op::Vocabulary { input, decoder, extra, bias } => {
                self.vocabulary(&node.name, value, input, decoder, extra, bias)
            }
        }
    }

    fn attention(
        &mut self,
        module: &str,
        value: ValueIndex,
        [query, key, v]: [ValueId; 3],
        head_size: usize,
    ) -> Result<()> {
        let found = match attention::read(self.flow, value) {
            Ok(found) => found,
            Err((at, expected)) => return self.fail(module, at, expected),
        };
        if let Err((at, expected)) = found.check_masks(self.flow) {
            return Err(self.flow.other_architecture(module, at, expected));
        }
        let expected = 1.0 / (head_size as f32).sqrt();
        if found.scale == Some(1.0) && head_size > 1 {
            // softmax(q k^T) is our softmax((q / s) k^T s), whatever reason the exporter had.
            self.query_factors[query.0] = Some(1.0 / expected);
            self.note(
                "the exporter has folded the scale of attention scores into the queries' linears".to_owned(),
            );
        } else if let Some(scale) = found.scale
            && !same(scale, expected)
        {
            let expected = format!("scores scaled by {expected} = 1/sqrt(head size {head_size})");
            let found = format!("scores scaled by {scale}");
            return Err(self.flow.mismatch_of(module, value, &expected, &found));
        }
        if let Some(padding) = found.padding.filter(|&padding| padding > NOTHING) {
            self.note(format!(
                "the graph gives padding a score of {padding}, so that its logits depend a little on the length that \
                 texts are padded to; here padding is never read"
            ));
        }
        if found.is_clipped {
            self.note("the graph cuts attention scores off at the ends of a range; here none are".to_owned());
        }
        self.bind(query, found.query)?;
        self.bind(key, found.key)?;
        self.bind(v, found.value)
    }

    /// Returns the value that the first token's row is taken from.
    fn first_row(&self, module: &str, value: ValueIndex) -> Result<ValueIndex> {
        /// The most slices on the way, since exporters slice one dimension at a time.
        const DIMENSIONS: usize = 4;
        let mut value = self.flow.peel(value);
        for dimension in 0..DIMENSIONS {
            if dimension > 0 && !self.flow.is(value, &Op::Slice) {
                break;
            }
            let selection = self.flow.node(value).filter(|node| {
                let at = node.input(1).filter(|_| matches!(node.op, Op::Gather { .. } | Op::Slice));
                let numbers = at.and_then(|at| self.flow.numbers(at));
                numbers.is_some_and(|numbers| numbers.iter().all(|&number| number == 0.0))
            });
            let Some(whole) = selection.and_then(|node| node.input(0)) else {
                return self.fail(module, value, "the first token's row");
            };
            value = self.flow.peel(whole);
        }
        Ok(value)
    }

    fn vocabulary(
        &mut self,
        module: &str,
        value: ValueIndex,
        input: ValueId,
        decoder: ParameterId,
        extra: Option<ParameterId>,
        bias: ParameterId,
    ) -> Result<()> {
        let [vocab, embedding] = *self.graph.parameter(decoder).shape.as_slice() else { return Ok(()) };
        let hidden = self.graph.width(input);
        let linear = self.linear_of(module, value, &[vocab, hidden])?;
        self.bind(input, linear.input)?;
        self.set(bias, linear.bias.map_or(Stored::Fill(0.0), Stored::Tensor))?;
        let tied = self.graph.parameter(decoder).name.starts_with("embeddings.");
        match extra {
            // The weight is stored as [hidden, vocab]: the decoder's columns above those of `extra`.
            Some(extra)
                if linear.weight.transposed
                    && linear.weight.rows.is_none()
                    && linear.weight.columns.is_none() =>
            {
                let above = View { rows: Some(0..embedding), ..linear.weight.clone() };
                let below = View { rows: Some(embedding..hidden), transposed: false, ..linear.weight };
                if !tied {
                    self.set(decoder, Stored::Tensor(above))?;
                }
                self.set(extra, Stored::Tensor(below))
            }
            Some(_) => {
                self.fail(module, value, "a product with the decoder and its extra rows, one above the other")
            }
            None if tied => Ok(()),
            None => self.set(decoder, Stored::Tensor(linear.weight)),
        }
    }
}

fn same(found: f32, expected: f32) -> bool {
    (found - expected).abs() <= SAME * expected.abs()
}
