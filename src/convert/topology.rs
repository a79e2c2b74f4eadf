//! Finds the parameters of an architecture in a foreign graph by its structure. Both graphs are walked from the output to
//! the inputs; each node of ours has to be met by the operators that compute it, and each value of ours stands for one
//! value of theirs. Names play no part.

use super::attention;
use super::flow::{Flow, Node, Op, ValueIndex};
use super::stored::{Stored, View};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{self, Activation, Graph, Norm, NormKind, ParameterId, Rows, ValueId};

/// Relative difference at which two constants of a formula (epsilon, 1/sqrt(head size)) are the same: int8 graphs round them.
const SAME: f32 = 0.02;

/// How the parameters of a graph lie in a file.
pub(super) struct Matched {
    pub(super) stored: Vec<Stored>,
    /// What was found otherwise than in the architecture: folded norms, missing inputs.
    pub(super) notes: Vec<String>,
}

/// Finds every parameter of `graph` in `flow`, whose first output is that of the graph.
pub(super) fn find(flow: &Flow, graph: &Graph) -> Result<Matched> {
    let Some(&output) = flow.outputs.first() else {
        return Err(ErrorKind::Conversion {
            file: flow.file.clone(),
            place: "the graph".into(),
            module: "the model".into(),
            expected: "an output".to_owned(),
            found: "none".to_owned(),
            hint: "export the model again".into(),
        }
        .into());
    };
    let mut matcher = Matcher {
        flow,
        graph,
        bound: vec![None; graph.nodes.len()],
        stored: vec![None; graph.parameters.len()],
        notes: Vec::new(),
    };
    // Start and end logits are two parts of one output.
    matcher.bind(graph.output(), flow.peel_parts(output))?;
    for i in (0..graph.nodes.len()).rev() {
        matcher.node(i)?;
    }
    let complete = |(i, stored): (usize, Option<Stored>)| {
        stored.ok_or_else(|| matcher.flow.mismatch(&graph.parameters[i].name, output, "this parameter"))
    };
    let stored = std::mem::take(&mut matcher.stored);
    let stored = stored.into_iter().enumerate().map(complete).collect::<Result<_>>()?;
    matcher.notes.dedup();
    Ok(Matched { stored, notes: matcher.notes })
}

struct Matcher<'a> {
    flow: &'a Flow,
    graph: &'a Graph,
    /// Their value of each of ours.
    bound: Vec<Option<ValueIndex>>,
    stored: Vec<Option<Stored>>,
    notes: Vec<String>,
}

/// A linear of theirs.
struct Dense {
    input: ValueIndex,
    /// `[out, in]`
    weight: View,
    bias: Option<View>,
}

impl<'a> Matcher<'a> {
    fn name(&self, value: ValueId) -> &'a str {
        &self.graph.nodes[value.0].name
    }

    fn fail<T>(&self, module: &str, value: ValueIndex, expected: &str) -> Result<T> {
        Err(self.flow.mismatch(module, value, expected))
    }

    /// Says that our value is theirs.
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

    /// Says where a parameter is stored.
    fn set(&mut self, parameter: ParameterId, stored: Stored) -> Result<()> {
        let graph::Parameter { name, shape, .. } = self.graph.parameter(parameter);
        if let Stored::Tensor(view) = &stored
            && view.shape() != *shape
        {
            let problem = crate::TensorProblem::Shape { expected: shape.clone(), found: view.shape() };
            return Err(Error::tensor(
                self.flow.checkpoint.file_of(&view.name),
                &format!("{} ({name})", view.name),
                problem,
            ));
        }
        let slot = &mut self.stored[parameter.0];
        if slot.is_none() {
            *slot = Some(stored);
        }
        Ok(())
    }

    fn node(&mut self, index: usize) -> Result<()> {
        let graph = self.graph;
        let node = &graph.nodes[index];
        let Some(value) = self.bound[index] else {
            // Every value of ours but the last is read by a later node, which binds it.
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
                self.embeddings(index, value, input, [position, token_type], norm)
            }
            graph::Op::WordEmbedding { table, trigram } => self.words(&node.name, value, table, trigram),
            graph::Op::Vocabulary { input, decoder, extra, bias } => {
                self.vocabulary(&node.name, value, input, decoder, extra, bias)
            }
        }
    }

    fn linear(&mut self, index: usize, value: ValueIndex) -> Result<()> {
        let node = &self.graph.nodes[index];
        let graph::Op::Linear { input, weight, bias, activation, residual, norm } = node.op else {
            return Ok(());
        };
        let mut value = value;
        if let Some(norm) = norm {
            value = self.norm(value, norm, node.width, residual.is_none())?;
        }
        if let Some(residual) = residual {
            let Some([a, b]) = self.flow.pair(value, &Op::Add) else {
                return self.fail(&node.name, value, "the sum of a linear and its residual");
            };
            let [a, b] = [a, b].map(|x| self.flow.peel(x));
            let (dense, rest) = match self.bound[residual.0] {
                Some(bound) if bound == a => (b, a),
                Some(bound) if bound == b => (a, b),
                _ if self.could_be(ValueId(index), a, true) && !self.could_be(residual, a, false) => (a, b),
                _ if self.could_be(ValueId(index), b, true) && !self.could_be(residual, b, false) => (b, a),
                // None or both: the one that is a linear at all, for what follows to check.
                _ if self.dense(a).is_some() => (a, b),
                _ => (b, a),
            };
            self.bind(residual, rest)?;
            value = dense;
        }
        value = self.activation(&node.name, value, activation)?;
        let dense =
            self.dense_for(&format!("{}.weight", node.name), value, &self.graph.parameter(weight).shape)?;
        self.bind_linear(input, dense, weight, bias)
    }

    /// The input of a linear may be a norm whose gamma and beta the exporter has multiplied into the weights.
    fn bind_linear(
        &mut self,
        input: ValueId,
        dense: Dense,
        weight: ParameterId,
        bias: ParameterId,
    ) -> Result<()> {
        let width = self.graph.width(input);
        let folded = self.bound[input.0].filter(|&bound| bound != dense.input);
        let norm = folded.and_then(|bound| self.flow.scaled(bound, width));
        match norm {
            Some((x, gamma, beta)) if x == dense.input => {
                self.note_folded(self.name(input));
                let weight_name = self.graph.parameter(weight).name.clone();
                self.set(
                    weight,
                    Stored::Unfolded {
                        weight: dense.weight.clone(),
                        gamma: gamma.clone(),
                        name: weight_name,
                    },
                )?;
                self.set(bias, Stored::UnfoldedBias { bias: dense.bias, weight: dense.weight, gamma, beta })
            }
            _ => {
                self.bind(input, dense.input)?;
                self.set(weight, Stored::Tensor(dense.weight))?;
                self.set(bias, dense.bias.map_or(Stored::Fill(0.0), Stored::Tensor))
            }
        }
    }

    fn note_folded(&mut self, module: &str) {
        // One line for all layers.
        let module: String = module
            .split('.')
            .map(|part| if part.parse::<u32>().is_ok() { "*" } else { part })
            .collect::<Vec<_>>()
            .join(".");
        let note = format!(
            "the exporter has folded the norm of {module} into a linear; its weights are equal only as a product"
        );
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// The linear that computes `value`, whose weight has to have a shape.
    fn dense_for(&self, module: &str, value: ValueIndex, shape: &[usize]) -> Result<Dense> {
        let expected = || format!("a linear with a constant weight of shape {shape:?} (or its transpose)");
        match self.dense(value) {
            Some(dense) if dense.weight.shape() == shape => Ok(dense),
            Some(dense) => {
                let found = format!("one of shape {:?}", dense.weight.shape());
                Err(self.flow.mismatch_of(module, value, &expected(), &found))
            }
            None => self.fail(module, value, &expected()),
        }
    }

    /// A product with a constant, and perhaps a constant added.
    fn dense(&self, value: ValueIndex) -> Option<Dense> {
        let value = self.flow.peel(value);
        if let Some(dense) = self.product(value) {
            return Some(dense);
        }
        let [a, b] = self.flow.pair(value, &Op::Add)?;
        [(a, b), (b, a)].into_iter().find_map(|(product, bias)| {
            let dense = self.product(self.flow.peel(product)).filter(|dense| dense.bias.is_none())?;
            let bias = self.flow.vector(bias, dense.weight.shape()[0])?;
            Some(Dense { bias: Some(bias), ..dense })
        })
    }

    fn product(&self, value: ValueIndex) -> Option<Dense> {
        if let Some(dense) = self.integer_product(value) {
            return Some(dense);
        }
        let node = self.flow.node(value)?;
        let [x, w] = [0, 1].map(|i| node.inputs.get(i).copied().flatten());
        let (x, w) = (x?, w?);
        let weight = self.flow.matrix(w)?;
        let (weight, bias) = match node.op {
            Op::MatMul | Op::Linear { transposed: true } => (weight.transpose(), node.inputs.get(2)),
            Op::Linear { transposed: false } => (weight, node.inputs.get(2)),
            _ => return None,
        };
        let bias = match bias.copied().flatten() {
            Some(bias) => Some(self.flow.vector(bias, weight.shape()[0])?),
            None => None,
        };
        Some(Dense { input: self.flow.peel(x), weight, bias })
    }

    /// `float(x_int8 * w_int8) * (x_scale * w_scale)`, as ONNX Runtime's dynamic quantiser writes a linear.
    fn integer_product(&self, value: ValueIndex) -> Option<Dense> {
        let flow = self.flow;
        let [a, b] = flow.pair(value, &Op::Mul)?;
        let (product, scales) =
            if flow.is(flow.peel(a), &Op::MatMulInteger) { (flow.peel(a), b) } else { (flow.peel(b), a) };
        let Some(Node { op: Op::MatMulInteger, inputs, .. }) = flow.node(product) else { return None };
        let [Some(x), Some(w), _, zero] = *inputs.as_slice() else { return None };
        let [c, d] = flow.pair(scales, &Op::Mul)?;
        let scale = if flow.constant(c).is_some() { c } else { d };
        let mut weight = flow.matrix(w)?;
        let columns = 1;
        weight.affine = Some(flow.affine(scale, zero, columns, &weight.shape)?);
        Some(Dense { input: flow.peel(x), weight: weight.transpose(), bias: None })
    }

    /// Passes an activation.
    fn activation(&self, module: &str, value: ValueIndex, activation: Activation) -> Result<ValueIndex> {
        let value = self.flow.peel(value);
        let input = self.flow.node(value).and_then(|node| node.inputs.first().copied().flatten());
        let by_op = |op: Op| input.filter(|_| self.flow.is(value, &op));
        let found = match activation {
            Activation::Identity => Some(value),
            Activation::Relu => by_op(Op::Relu),
            Activation::Tanh => by_op(Op::Tanh),
            Activation::Gelu => {
                by_op(Op::Gelu).or_else(|| self.flow.gelu(value).filter(|g| !g.1).map(|g| g.0))
            }
            Activation::GeluNew => {
                by_op(Op::GeluTanh).or_else(|| self.flow.gelu(value).filter(|g| g.1).map(|g| g.0))
            }
        };
        match found {
            Some(input) => Ok(self.flow.peel(input)),
            None => self.fail(module, value, &format!("the activation {activation:?}")),
        }
    }

    /// Passes a norm and keeps its gamma and beta.
    fn norm(
        &mut self,
        value: ValueIndex,
        norm: Norm,
        width: usize,
        may_be_folded: bool,
    ) -> Result<ValueIndex> {
        let module = self.graph.parameter(norm.weight).name.trim_end_matches(".weight");
        let (input, gamma, beta) = match norm.kind {
            NormKind::NoNorm => match self.flow.scaled(value, width) {
                Some((x, gamma, beta)) => (x, Stored::Tensor(gamma), Stored::Tensor(beta)),
                None if may_be_folded => {
                    self.note_folded(module);
                    (value, Stored::Fill(1.0), Stored::Fill(0.0))
                }
                None => return self.fail(module, value, &format!("x * gamma + beta over {width} columns")),
            },
            NormKind::LayerNorm { eps } => {
                let Some((input, found_eps, gamma, beta)) = self.layer_norm(value, width) else {
                    return self.fail(module, value, &format!("a layer norm over {width} columns"));
                };
                if !same(found_eps, eps) {
                    return self.fail(
                        module,
                        value,
                        &format!("a layer norm with epsilon {eps}, not {found_eps}"),
                    );
                }
                if gamma.is_none() {
                    self.note_folded(module);
                }
                let stored = |view: Option<View>, fill| view.map_or(Stored::Fill(fill), Stored::Tensor);
                (input, stored(gamma, 1.0), stored(beta, 0.0))
            }
        };
        self.set(norm.weight, gamma)?;
        self.set(norm.bias, beta)?;
        Ok(self.flow.peel(input))
    }

    /// Input, epsilon, gamma and beta of a layer norm; without the last two if they are folded into what follows.
    #[allow(clippy::type_complexity, reason = "four parts, named right here")]
    fn layer_norm(
        &self,
        value: ValueIndex,
        width: usize,
    ) -> Option<(ValueIndex, f32, Option<View>, Option<View>)> {
        if let Some(Node { op: Op::LayerNorm { eps }, inputs, .. }) = self.flow.node(value) {
            let [x, gamma, beta] = [0, 1, 2].map(|i| inputs.get(i).copied().flatten());
            let vector = |value: Option<ValueIndex>| value.and_then(|v| self.flow.vector(v, width));
            return Some((x?, *eps, Some(vector(gamma)?), Some(vector(beta)?)));
        }
        if let Some((normalized, gamma, beta)) = self.flow.scaled(value, width)
            && let Some((input, eps)) = self.flow.normalized(normalized)
        {
            return Some((input, eps, Some(gamma), Some(beta)));
        }
        let (input, eps) = self.flow.normalized(value)?;
        Some((input, eps, None, None))
    }

    /// Whether their value could be ours, by what is right behind it. `bare`: a linear of ours without what follows it.
    fn could_be(&self, ours: ValueId, theirs: ValueIndex, bare: bool) -> bool {
        let theirs = self.flow.peel(theirs);
        match self.graph.nodes[ours.0].op {
            graph::Op::Linear { input, weight, activation, residual, norm, .. } => {
                if !bare && let Some(norm) = norm {
                    let width = self.graph.nodes[ours.0].width;
                    let normed = match norm.kind {
                        NormKind::NoNorm => self.flow.scaled(theirs, width).is_some(),
                        NormKind::LayerNorm { .. } => self.layer_norm(theirs, width).is_some(),
                    };
                    // Without a residual it may be folded into the linear.
                    if normed || residual.is_some() {
                        return normed;
                    }
                }
                let Ok(theirs) = self.activation("", theirs, activation) else { return false };
                let shape = &self.graph.parameter(weight).shape;
                let dense = self.dense(theirs).filter(|dense| dense.weight.shape() == *shape);
                let Some(dense) = dense else { return false };
                let is_attention = |value: ValueIndex| attention::read(self.flow, value).is_ok();
                match self.graph.nodes[input.0].op {
                    graph::Op::Attention { .. } => is_attention(dense.input),
                    _ => !is_attention(dense.input),
                }
            }
            graph::Op::PositionAndType { norm, .. } => {
                let width = self.graph.nodes[ours.0].width;
                match norm.kind {
                    NormKind::NoNorm => self.flow.scaled(theirs, width).is_some(),
                    NormKind::LayerNorm { .. } => self.layer_norm(theirs, width).is_some(),
                }
            }
            _ => true,
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
        let expected = 1.0 / (head_size as f32).sqrt();
        if let Some(scale) = found.scale
            && !same(scale, expected)
        {
            let expected = format!("scores scaled by {expected} = 1/sqrt(head size {head_size})");
            return Err(self.flow.mismatch_of(
                module,
                value,
                &expected,
                &format!("scores scaled by {scale}"),
            ));
        }
        self.bind(query, found.query)?;
        self.bind(key, found.key)?;
        self.bind(v, found.value)
    }

    /// What the first token's row is taken from.
    fn first_row(&self, module: &str, value: ValueIndex) -> Result<ValueIndex> {
        let value = self.flow.peel(value);
        let node = self.flow.node(value);
        let numbers = |i: usize| {
            let input = node.and_then(|node| node.inputs.get(i).copied().flatten());
            input.and_then(|input| self.flow.numbers(input))
        };
        let zeros = |numbers: Option<Vec<f64>>| numbers.is_some_and(|n| n.iter().all(|&n| n == 0.0));
        let first = node.is_some_and(|node| match node.op {
            Op::Gather { .. } | Op::Slice => zeros(numbers(1)),
            _ => false,
        });
        match node.and_then(|node| node.inputs.first().copied().flatten()).filter(|_| first) {
            Some(input) => self.first_row_or(input),
            None => self.fail(module, value, "the first token's row"),
        }
    }

    /// Exporters slice one dimension at a time.
    fn first_row_or(&self, value: ValueIndex) -> Result<ValueIndex> {
        let value = self.flow.peel(value);
        let sliced = matches!(self.flow.node(value), Some(Node { op: Op::Slice, .. }));
        if sliced { self.first_row("pooler", value) } else { Ok(value) }
    }

    fn embeddings(
        &mut self,
        index: usize,
        value: ValueIndex,
        input: ValueId,
        [position, token_type]: [ParameterId; 2],
        norm: Norm,
    ) -> Result<()> {
        let node = &self.graph.nodes[index];
        let value = self.norm(value, norm, node.width, false)?;
        let (mut words, mut position_found, mut type_found) = (None, None, None);
        let (positions, types) =
            (self.graph.parameter(position).shape.clone(), self.graph.parameter(token_type).shape.clone());
        for term in self.terms(value) {
            if let Some((table, indices)) = self.gather(term) {
                let shape = table.shape();
                let is_position = self.flow.is_static(indices) || shape != types;
                if shape == positions && is_position && position_found.is_none() {
                    position_found = Some(table);
                    continue;
                }
                let fits = shape == types && !self.flow.is_static(indices) && type_found.is_none();
                let is_words = self.graph.nodes[input.0].width == shape[1]
                    && matches!(self.graph.nodes[input.0].op, graph::Op::WordEmbedding { table, .. } if self.graph.parameter(table).shape == shape)
                    && shape != types;
                if fits && !is_words {
                    type_found = Some(table);
                    continue;
                }
            } else if let Some(table) = self.flow.matrix(term) {
                // Looked up beforehand: all positions, or the one token type.
                if table.shape() == positions && position_found.is_none() {
                    position_found = Some(table);
                    continue;
                }
                if table.shape() == types && type_found.is_none() {
                    type_found = Some(table);
                    continue;
                }
                return self.fail(
                    &node.name,
                    term,
                    &format!("a table of positions {positions:?} or of token types {types:?}"),
                );
            }
            if words.is_some() {
                return self.fail(
                    &node.name,
                    term,
                    &format!("a table of positions {positions:?} or of token types {types:?}"),
                );
            }
            words = Some(term);
        }
        let Some(words) = words else {
            return self.fail(&node.name, value, "a sum of words, positions and token types");
        };
        let Some(position_found) = position_found else {
            return self.fail(
                "embeddings.position_embeddings.weight",
                value,
                &format!("a table of shape {positions:?}"),
            );
        };
        self.set(position, Stored::Tensor(position_found))?;
        match type_found {
            Some(table) => self.set(token_type, Stored::Tensor(table))?,
            None if types[0] == 1 => {
                self.notes.push(
                    "the graph has no token types: the first one's embedding is part of the positions"
                        .to_owned(),
                );
                self.set(token_type, Stored::Fill(0.0))?;
            }
            None => {
                let expected = format!(
                    "a table of shape {types:?}: export with token_type_ids as an input, or set type_vocab_size to 1"
                );
                return self.fail("embeddings.token_type_embeddings.weight", value, &expected);
            }
        }
        self.bind(input, words)
    }

    /// The terms of a sum, at most as many as embeddings have.
    fn terms(&self, value: ValueIndex) -> Vec<ValueIndex> {
        const MOST: usize = 8;
        let (mut terms, mut stack) = (Vec::new(), vec![value]);
        while let Some(value) = stack.pop() {
            let value = self.flow.peel(value);
            // The bias of the embedding transformation is not a term.
            let is_linear = self.dense(value).is_some();
            match self.flow.pair(value, &Op::Add).filter(|_| !is_linear && terms.len() + stack.len() < MOST) {
                Some(pair) => stack.extend(pair),
                None => terms.push(value),
            }
        }
        terms
    }

    /// The table and the indices of a lookup; int8 tables may be dequantised behind it.
    pub(super) fn gather(&self, value: ValueIndex) -> Option<(View, ValueIndex)> {
        gather(self.flow, value)
    }

    fn words(&mut self, module: &str, value: ValueIndex, table: ParameterId, trigram: bool) -> Result<()> {
        let mut value = self.flow.peel(value);
        if trigram {
            let neighbours = match self.flow.node(value) {
                Some(Node { op: Op::Concat, inputs, .. }) if inputs.len() == 3 => inputs.clone(),
                _ => return self.fail(module, value, "the words next, current and previous side by side"),
            };
            let [Some(next), Some(current), Some(previous)] = *neighbours.as_slice() else {
                return self.fail(module, value, "three inputs");
            };
            let current = self.flow.peel(current);
            for (neighbour, is_next) in [(next, true), (previous, false)] {
                let (source, shifted) = self.neighbour(neighbour);
                if source != current || shifted == Some(!is_next) {
                    let expected =
                        "the same words, shifted by one and padded with zeros; the next word first";
                    return self.fail(module, self.flow.peel(neighbour), expected);
                }
            }
            value = current;
        }
        // From `value` itself: what dequantises a lookup is right behind it.
        let found = self.gather(value);
        match found {
            Some((view, indices)) if self.flow.is_input(indices) => self.set(table, Stored::Tensor(view)),
            _ => self.fail(module, value, "a lookup of the token ids in a constant table"),
        }
    }

    /// The words behind a padded shift, and whether it begins behind the first one.
    fn neighbour(&self, mut value: ValueIndex) -> (ValueIndex, Option<bool>) {
        const FAR: usize = 12;
        let mut shifted = None;
        for _ in 0..FAR {
            value = self.flow.peel(value);
            let Some(node) = self.flow.node(value) else { break };
            let next = match node.op {
                Op::Pad | Op::Slice => node.inputs.first().copied().flatten(),
                // Zeros put beside it.
                Op::Concat => node.inputs.iter().flatten().copied().find(|&v| !self.flow.is_static(v)),
                _ => None,
            };
            let Some(next) = next else { break };
            if node.op == Op::Slice {
                let starts = node.inputs.get(1).copied().flatten().and_then(|v| self.flow.numbers(v));
                let behind = starts.map(|starts| starts.iter().any(|&start| start != 0.0));
                // Other slices of the whole say nothing.
                shifted = if shifted == Some(true) { shifted } else { behind };
            }
            value = next;
        }
        (value, shifted)
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
        let dense = self.dense_for(module, value, &[vocab, hidden])?;
        self.bind(input, dense.input)?;
        self.set(bias, dense.bias.map_or(Stored::Fill(0.0), Stored::Tensor))?;
        let tied = self.graph.parameter(decoder).name.starts_with("embeddings.");
        match extra {
            // Stored as [hidden, vocab]: the decoder's columns above those of `extra`.
            Some(extra) if dense.weight.transposed && dense.weight.rows.is_none() => {
                let above = View { rows: Some(0..embedding), ..dense.weight.clone() };
                let below = View { rows: Some(embedding..hidden), transposed: false, ..dense.weight };
                if !tied {
                    self.set(decoder, Stored::Tensor(above))?;
                }
                self.set(extra, Stored::Tensor(below))
            }
            Some(_) => {
                self.fail(module, value, "a product with the decoder and its extra rows, one above the other")
            }
            None if tied => Ok(()),
            None => self.set(decoder, Stored::Tensor(dense.weight)),
        }
    }
}

/// The table and the indices of a lookup; int8 tables may be dequantised behind it.
pub(super) fn gather(flow: &Flow, value: ValueIndex) -> Option<(View, ValueIndex)> {
    const FAR: usize = 8;
    let mut value = value;
    let mut scales = None;
    for _ in 0..FAR {
        let node = flow.node(value)?;
        match node.op {
            Op::View | Op::Quantize => value = (*node.inputs.first()?)?,
            Op::Dequantize { axis } => {
                scales = Some((
                    node.inputs.get(1).copied().flatten()?,
                    node.inputs.get(2).copied().flatten(),
                    axis,
                ));
                value = (*node.inputs.first()?)?;
            }
            Op::Gather { axis: 0 } => {
                let [table, indices] = [0, 1].map(|i| node.inputs.get(i).copied().flatten());
                let mut table = flow.matrix(table?)?;
                if let Some((scale, zero, axis)) =
                    scales.filter(|_| table.affine.is_none() && flow.is_integer(&table))
                {
                    table.affine = Some(flow.affine(scale, zero, axis, &table.shape)?);
                }
                return Some((table, indices?));
            }
            _ => return None,
        }
    }
    None
}

fn same(found: f32, expected: f32) -> bool {
    (found - expected).abs() <= SAME * expected.abs()
}
