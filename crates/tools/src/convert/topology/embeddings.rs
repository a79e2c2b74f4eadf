//! Matches the embeddings of the architecture: the sum of words, positions and token types, and MobileBERT's
//! trigram of words.

use super::Matcher;
use crate::convert::flow::{Node, Op, ValueIndex};
use crate::convert::stored::Stored;
use mobilebert::Result;
use mobilebert::graph::{Norm, ParameterId, ValueId};

const POSITIONS: &str = "embeddings.position_embeddings.weight";

impl Matcher<'_> {
    /// Tells the terms of the sum apart. Positions do not depend on the text, token types do, and the
    /// remaining term is the words.
    pub(super) fn embeddings(
        &mut self,
        index: usize,
        value: ValueIndex,
        input: ValueId,
        (position, token_type): (ParameterId, Option<ParameterId>),
        norm: Norm,
    ) -> Result<()> {
        let graph = self.graph;
        let node = &graph.nodes[index];
        let value = self.norm(value, norm, node.width)?;
        let positions = &graph.parameter(position).shape;
        let types = token_type.map_or(&[][..], |parameter| &graph.parameter(parameter).shape);
        let (mut words, mut position_table, mut type_table) = (None, None, None);
        for term in self.terms(value) {
            let (table, of_text, all_zero, is_computed) = match self.flow.gather(term) {
                Some((table, indices)) => {
                    let of_text = !self.flow.is_static(indices);
                    let is_computed = self.flow.is_of_input(indices) && !self.flow.is_input(indices);
                    (Some(table), Some(of_text), !of_text && self.flow.is_zero(indices), is_computed)
                }
                // The exporter did the lookup, of all positions or of the one token type.
                None => (self.flow.matrix(term), None, false, false),
            };
            let constant = table.is_some() && of_text.is_none();
            // A model exported without token_type_ids looks up row 0 for every token.
            let is_first_type = all_zero && table.as_ref().is_some_and(|table| table.shape() == *types);
            let is_positions = !is_first_type && (positions != types || of_text != Some(true));
            match table {
                // The positions are an input of some graphs, but none are computed from the text.
                Some(table) if is_computed && table.shape() == *positions => {
                    let expected = "positions 0, 1, 2 and so on; here they depend on the text, as in RoBERTa";
                    return Err(self.flow.other_architecture(POSITIONS, term, expected));
                }
                Some(table) if position_table.is_none() && is_positions && table.shape() == *positions => {
                    let first = self.flow.gather(term).and_then(|(_, places)| self.flow.first_number(places));
                    if let Some(first) = first.filter(|&first| first != 0.0) {
                        let expected =
                            format!("positions from 0; the first token has {first}, as in RoBERTa");
                        return Err(self.flow.other_architecture(POSITIONS, term, &expected));
                    }
                    position_table = Some(table);
                }
                Some(table)
                    if type_table.is_none()
                        && (of_text != Some(false) || is_first_type)
                        && table.shape() == *types =>
                {
                    type_table = Some(table);
                    if is_first_type && types[0] > 1 {
                        self.note(
                            "the graph has no input for token types and gives every token the first one; the \
                             table of all types is in the file and was kept, so the second text of a pair is read \
                             with its own type, as the model was trained"
                                .to_owned(),
                        );
                    }
                }
                _ if words.is_none() && !constant => words = Some(term),
                _ => {
                    let expected = format!("a table of positions {positions:?} or of token types {types:?}");
                    return self.fail(&node.name, term, &expected);
                }
            }
        }
        let Some(words) = words else {
            return self.fail(&node.name, value, "a sum of words, positions and token types");
        };
        let Some(position_table) = position_table else {
            let expected = format!("a table of shape {positions:?}");
            return self.fail(POSITIONS, value, &expected);
        };
        self.set(position, Stored::Tensor(position_table))?;
        let Some(token_type) = token_type else { return self.bind(input, words) };
        let type_table = match type_table {
            Some(table) => Stored::Tensor(table),
            None if types[0] == 1 => {
                self.note(
                    "the graph has no token types: the first one's embedding is part of the positions"
                        .to_owned(),
                );
                Stored::Fill(0.0)
            }
            None => {
                let expected = format!(
                    "a table of shape {types:?}: export with token_type_ids as an input, or set type_vocab_size to 1"
                );
                return self.fail("embeddings.token_type_embeddings.weight", value, &expected);
            }
        };
        self.set(token_type, type_table)?;
        self.bind(input, words)
    }

    /// Returns the terms of a sum, at most as many as embeddings have.
    fn terms(&self, value: ValueIndex) -> Vec<ValueIndex> {
        const MOST: usize = 8;
        let (mut terms, mut stack) = (Vec::new(), vec![value]);
        while let Some(value) = stack.pop() {
            let value = self.flow.peel(value);
            // The bias of the embedding transformation is not a term.
            let is_linear = self.flow.linear(value).is_some();
            match self.flow.pair(value, &Op::Add).filter(|_| !is_linear && terms.len() + stack.len() < MOST) {
                Some(pair) => stack.extend(pair),
                None => terms.push(value),
            }
        }
        terms
    }

    pub(super) fn words(
        &mut self,
        module: &str,
        value: ValueIndex,
        table: ParameterId,
        trigram: bool,
    ) -> Result<()> {
        let mut value = self.flow.peel(value);
        if trigram {
            let neighbours = match self.flow.node(value) {
                Some(Node { op: Op::Concat, inputs, .. }) => inputs.as_slice(),
                _ => &[],
            };
            let [Some(next), Some(current), Some(previous)] = *neighbours else {
                return self.fail(module, value, "the words next, current and previous side by side");
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
        match self.flow.gather(value) {
            Some((view, indices)) if self.flow.is_input(indices) => self.set(table, Stored::Tensor(view)),
            _ => self.fail(module, value, "a lookup of the token ids in a constant table"),
        }
    }

    /// Returns the words behind a padded shift, and whether the shift begins behind the first one.
    fn neighbour(&self, mut value: ValueIndex) -> (ValueIndex, Option<bool>) {
        /// The most operators of a shift.
        const FAR: usize = 12;
        let mut shifted = None;
        for _ in 0..FAR {
            value = self.flow.peel(value);
            let Some(node) = self.flow.node(value) else { break };
            let next = match node.op {
                Op::Pad | Op::Slice => node.input(0),
                // Zeros are put beside the words.
                Op::Concat => node.inputs.iter().flatten().copied().find(|&v| !self.flow.is_static(v)),
                _ => None,
            };
            let Some(next) = next else { break };
            // A slice of the whole says nothing about the shift.
            if node.op == Op::Slice && shifted != Some(true) {
                let starts = node.input(1).and_then(|starts| self.flow.numbers(starts));
                shifted = starts.map(|starts| starts.iter().any(|&start| start != 0.0));
            }
            value = next;
        }
        (value, shifted)
    }
}
