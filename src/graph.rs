//! The contract between the architecture and the backends: a model as a list of fused operations.
//!
//! [`crate::model`] and the task heads write a [`Graph`] once, at load; every backend runs the same graph. A
//! graph is data, so a backend may look ahead: the native one merges linears that read the same input, folds
//! affine norms into weights, and carries blocks of rows through all row-wise nodes between two attentions.
//!
//! A *value* is a matrix of f32 with one row per token (or per selected row) and a fixed width. Sequences are
//! ragged: row `i` of a value belongs to token `i` of the batch and no row is padding. All nodes except
//! [`Op::Attention`] and the trigram of [`Op::WordEmbedding`] compute each row of their output from the same
//! row of their inputs.

pub use mobilebert_kernels::Activation;

/// Index of a value: the output of the node of the same index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// Index into [`Graph::parameters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParameterId(pub usize);

/// A weight that the checkpoint has to provide.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Hugging Face's name without the model prefix, such as `encoder.layer.0.attention.self.query.weight`.
    /// Tensors of heads have their full name (`qa_outputs.weight`).
    pub name: String,
    /// `[out_features, in_features]` for linears, `[rows, width]` for embeddings, `[width]` for the rest.
    pub shape: Vec<usize>,
    /// Whether a quantised model stores it as int8 with one scale a row.
    pub quantizable: bool,
}

/// A norm, which follows the residual sum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norm {
    /// The formula.
    pub kind: NormKind,
    /// `gamma`, `[width]`.
    pub weight: ParameterId,
    /// `beta`, `[width]`.
    pub bias: ParameterId,
}

/// The two norms of MobileBERT (paper, section 3.3).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NormKind {
    /// `gamma * x + beta`: no statistics.
    NoNorm,
    /// `gamma * (x - mean) / sqrt(var + eps) + beta` over the row.
    LayerNorm {
        /// Added to the variance.
        eps: f32,
    },
}

/// The rows that [`Op::Select`] keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// The first token of each sequence.
    First,
    /// The rows listed in the request, or all of them if it lists none.
    Requested,
}

/// The unit of text that one row of a value belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowUnit {
    /// Row `i` belongs to token `i` of the batch.
    Token,
    /// Row `i` belongs to sequence `i` of the batch.
    Sequence,
    /// Row `i` belongs to the `i`-th row that the request lists, or to token `i` if the request lists none.
    Requested,
}

/// One fused operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Row `ids[i]` of `table`. With `trigram`, the rows of the next, the current and the previous token
    /// stand side by side, with zeros beyond the ends of the sequence (paper, section 3.2; the order is that
    /// of the original implementation).
    WordEmbedding {
        /// `[vocab_size, embedding_size]`
        table: ParameterId,
        /// Whether the rows of the neighbours are joined to it, which triples the width.
        trigram: bool,
    },
    /// `norm(input + position[i] + token_type[type_ids[i]])`, where `i` is the position of the token in its
    /// sequence. A model without token types leaves out the last term.
    PositionAndType {
        /// Embedded words.
        input: ValueId,
        /// `[max_position_embeddings, hidden_size]`
        position: ParameterId,
        /// `[type_vocab_size, hidden_size]`
        token_type: Option<ParameterId>,
        /// Norm over the sum.
        norm: Norm,
    },
    /// `norm(activation(input * weight^T + bias) + residual)`; an absent residual or norm is left out.
    Linear {
        /// `[rows, in_features]`
        input: ValueId,
        /// `[out_features, in_features]`
        weight: ParameterId,
        /// `[out_features]`
        bias: ParameterId,
        /// Applied before the residual.
        activation: Activation,
        /// Added before the norm.
        residual: Option<ValueId>,
        /// Applied last.
        norm: Option<Norm>,
    },
    /// `softmax(query * key^T / sqrt(head_size)) * value`, separately for each head and each sequence.
    Attention {
        /// `[rows, heads * head_size]`
        query: ValueId,
        /// Same shape as `query`.
        key: ValueId,
        /// Same shape as `query`.
        value: ValueId,
        /// Number of heads.
        heads: usize,
    },
    /// Some rows of `input`.
    Select {
        /// One row per token.
        input: ValueId,
        /// The rows to keep.
        rows: Rows,
    },
    /// Scores over the vocabulary: `input[:, ..E] * decoder^T + input[:, E..] * extra + bias`, where
    /// `decoder` is the word embedding table of width `E`. MobileBERT's masked-LM head has an `extra`; BERT's
    /// has none.
    Vocabulary {
        /// `[rows, hidden_size]`
        input: ValueId,
        /// `[vocab_size, embedding_size]`
        decoder: ParameterId,
        /// `[hidden_size - embedding_size, vocab_size]`
        extra: Option<ParameterId>,
        /// `[vocab_size]`
        bias: ParameterId,
    },
}

impl Op {
    /// The weights that it reads.
    pub fn parameters(&self) -> Vec<ParameterId> {
        match *self {
            Op::WordEmbedding { table, .. } => vec![table],
            Op::PositionAndType { position, token_type, norm, .. } => {
                [Some(position), token_type, Some(norm.weight), Some(norm.bias)]
                    .into_iter()
                    .flatten()
                    .collect()
            }
            Op::Linear { weight, bias, norm, .. } => {
                let norm = norm.into_iter().flat_map(|norm| [norm.weight, norm.bias]);
                [weight, bias].into_iter().chain(norm).collect()
            }
            Op::Vocabulary { decoder, extra, bias, .. } => {
                [Some(decoder), extra, Some(bias)].into_iter().flatten().collect()
            }
            Op::Attention { .. } | Op::Select { .. } => Vec::new(),
        }
    }

    /// The values that it reads.
    pub fn inputs(&self) -> impl Iterator<Item = ValueId> {
        let inputs = match *self {
            Op::WordEmbedding { .. } => [None; 3],
            Op::PositionAndType { input, .. } | Op::Select { input, .. } | Op::Vocabulary { input, .. } => {
                [Some(input), None, None]
            }
            Op::Linear { input, residual, .. } => [Some(input), residual, None],
            Op::Attention { query, key, value, .. } => [Some(query), Some(key), Some(value)],
        };
        inputs.into_iter().flatten()
    }
}

/// An operation, its place in the model and the width of its output.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Module path, such as `encoder.layer.7.ffn.1.intermediate.dense`. Errors, profiles and traces use it.
    pub name: String,
    /// The operation.
    pub op: Op,
    /// Columns of the output.
    pub width: usize,
}

impl Node {
    /// The index of the encoder layer, 7 for `encoder.layer.7.attention`; `None` for embeddings and heads.
    pub fn layer(&self) -> Option<usize> {
        self.name.strip_prefix("encoder.layer.")?.split('.').next()?.parse().ok()
    }

    /// The prefix that all nodes of its module share: `embeddings`, `encoder.layer.7.`, `pooler`,
    /// `classifier` and the like, as [`crate::EngineOptions::keep_f32`] takes it. The prefix of a layer ends
    /// with a dot, so that the one of layer 1 does not match layer 10.
    pub fn module(&self) -> &str {
        let parts = if self.layer().is_some() { 3 } else { 1 };
        match self.name.match_indices('.').nth(parts - 1) {
            Some((dot, _)) if parts == 3 => &self.name[..=dot],
            Some((dot, _)) => &self.name[..dot],
            None => &self.name,
        }
    }
}

/// A whole model: its nodes in execution order. The output of the last node is the output of the model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Graph {
    /// All weights, each once.
    pub parameters: Vec<Parameter>,
    /// Node `i` produces value `i` and reads only values below `i`.
    pub nodes: Vec<Node>,
}

impl Graph {
    /// The value that a forward pass returns.
    pub fn output(&self) -> ValueId {
        ValueId(self.nodes.len() - 1)
    }

    /// The unit that a row of the output belongs to. The last [`Op::Select`] on the way to the output decides
    /// it; without one it is a token.
    ///
    /// ```
    /// use mobilebert::{Head, ModelConfig, RowUnit, model};
    ///
    /// let config = ModelConfig::from_json(r#"{"model_type": "mobilebert"}"#)?;
    /// assert_eq!(model::build(&config, Head::QuestionAnswering).row_unit(), RowUnit::Token);
    /// assert_eq!(model::build(&config, Head::SequenceClassification).row_unit(), RowUnit::Sequence);
    /// assert_eq!(model::build(&config, Head::MaskedLm).row_unit(), RowUnit::Requested);
    /// # Ok::<(), mobilebert::Error>(())
    /// ```
    pub fn row_unit(&self) -> RowUnit {
        let mut node = self.nodes.last();
        while let Some(Node { op, .. }) = node {
            match op {
                Op::Select { rows: Rows::First, .. } => return RowUnit::Sequence,
                Op::Select { rows: Rows::Requested, .. } => return RowUnit::Requested,
                _ => node = op.inputs().next().and_then(|input| self.nodes.get(input.0)),
            }
        }
        RowUnit::Token
    }

    /// Number of columns of a value.
    pub fn width(&self, value: ValueId) -> usize {
        self.nodes[value.0].width
    }

    /// The parameter behind an id.
    pub fn parameter(&self, id: ParameterId) -> &Parameter {
        &self.parameters[id.0]
    }

    /// Multiply-adds of one forward pass over sequences of these lengths, by the definition of each
    /// operation. Divided by the time of a pass, it can be compared with the peak of the machine.
    /// [`Rows::Requested`] counts as all rows.
    ///
    /// ```
    /// let config = mobilebert::ModelConfig::from_json(r#"{"model_type": "mobilebert"}"#)?;
    /// let graph = mobilebert::model::build(&config, mobilebert::Head::QuestionAnswering);
    /// assert_eq!(graph.macs(&[128]) / 1_000_000, 2692);
    /// # Ok::<(), mobilebert::Error>(())
    /// ```
    pub fn macs(&self, lengths: &[usize]) -> u64 {
        let tokens: usize = lengths.iter().sum();
        let squares: usize = lengths.iter().map(|n| n * n).sum();
        let mut rows = vec![tokens; self.nodes.len()];
        let mut macs = 0;
        for (i, node) in self.nodes.iter().enumerate() {
            if let Some(input) = node.op.inputs().next() {
                rows[i] = rows[input.0];
            }
            macs += match node.op {
                Op::Linear { input, .. } | Op::Vocabulary { input, .. } => {
                    rows[i] * self.width(input) * node.width
                }
                Op::Attention { .. } => 2 * squares * node.width,
                Op::Select { rows: Rows::First, .. } => {
                    rows[i] = lengths.len();
                    0
                }
                Op::WordEmbedding { .. } | Op::PositionAndType { .. } | Op::Select { .. } => 0,
            } as u64;
        }
        macs
    }

    /// Adds a weight.
    pub(crate) fn add_parameter(&mut self, name: String, shape: &[usize], quantizable: bool) -> ParameterId {
        self.parameters.push(Parameter { name, shape: shape.to_vec(), quantizable });
        ParameterId(self.parameters.len() - 1)
    }

    /// Appends a node.
    pub(crate) fn add_node(&mut self, name: impl Into<String>, op: Op, width: usize) -> ValueId {
        self.nodes.push(Node { name: name.into(), op, width });
        self.output()
    }
}
