//! What every pipeline is made of: a tokenizer and an engine that belong together.

use crate::config::{Head, ModelConfig};
use crate::engine::{Engine, EngineOptions, Output};
use crate::error::{ErrorKind, Result};
use crate::source::ModelFiles;
use crate::text::{Batch, Encoding, TokenizedText, Tokenizer};

/// Tokens per forward pass: enough to keep all threads busy, little enough that intermediate values stay in tens of
/// megabytes.
const TOKENS_PER_PASS: usize = 2048;

/// A tokenizer and an engine.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) tokenizer: Tokenizer,
    pub(super) engine: Engine,
    /// Longest sequence that both the model and its tokenizer allow.
    pub(super) max_len: usize,
}

impl Runner {
    /// `task` names the pipeline in errors. [`Head::None`] goes with every model.
    pub(super) fn open(
        source: &str,
        head: Head,
        task: &'static str,
        tokenizer: impl FnOnce(Tokenizer) -> Tokenizer,
        options: EngineOptions,
    ) -> Result<Self> {
        let files = ModelFiles::resolve(source)?;
        let config = ModelConfig::from_json(&files.config_json()?)?;
        check_head(&config, head, task)?;
        // Side by side: a vocabulary takes as long as the weights, 25 ms.
        let (engine, loaded) = std::thread::scope(|scope| {
            let loading = std::thread::Builder::new().spawn_scoped(scope, || files.tokenizer());
            let engine = Engine::from_files(&files, Some(head), options);
            let loaded = match loading {
                Ok(loading) => loading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                // WebAssembly has no threads.
                Err(_) => files.tokenizer(),
            };
            (engine, loaded)
        });
        let engine = engine?;
        let tokenizer = tokenizer(loaded?);
        tokenizer.check_vocab_size(engine.config().vocab_size)?;
        let max_len = tokenizer.sequence_limit(engine.config().max_position_embeddings);
        Ok(Self { tokenizer, engine, max_len })
    }

    /// Tokens of a text that has to have some.
    pub(super) fn tokenize(&self, text: &str, what: &'static str) -> Result<TokenizedText> {
        let tokens = self.tokenizer.tokenize(text)?;
        if tokens.is_empty() { Err(ErrorKind::EmptyText { what }.into()) } else { Ok(tokens) }
    }

    /// Checks an option against the model's limit, and resolves its default.
    pub(super) fn max_seq_len(&self, wanted: Option<usize>, default: usize) -> Result<usize> {
        match wanted {
            None => Ok(default.min(self.max_len)),
            Some(n) if n <= self.max_len => Ok(n),
            Some(n) => {
                let expected = format!("at most {}, the model's limit", self.max_len);
                Err(crate::Error::option("max_seq_len", expected, n))
            }
        }
    }

    /// Runs sequences in passes of bounded size and hands each one, its rows and their width to `consume`, in order.
    /// Only the sequences of one pass are held at a time.
    ///
    /// Heads that give one row per sequence pass that row; others all rows of the sequence.
    pub(super) fn run<S: AsRef<Encoding>>(
        &self,
        sequences: impl IntoIterator<Item = S>,
        mut consume: impl FnMut(S, &[f32], usize),
    ) -> Result<()> {
        let mut batch = Batch::new();
        let mut held: Vec<S> = Vec::new();
        let mut flush = |batch: &mut Batch, held: &mut Vec<S>| -> Result<()> {
            let output = self.engine.forward(batch)?;
            for (i, sequence) in held.drain(..).enumerate() {
                consume(sequence, rows_of(&output, batch, i), output.width());
            }
            batch.clear();
            Ok(())
        };
        for sequence in sequences {
            let encoding = sequence.as_ref();
            if batch.tokens() > 0 && batch.tokens() + encoding.len() > TOKENS_PER_PASS {
                flush(&mut batch, &mut held)?;
            }
            batch.push(encoding.ids(), encoding.type_ids())?;
            held.push(sequence);
        }
        flush(&mut batch, &mut held)
    }
}

/// Whether a model has the head that a task needs; [`Head::None`] goes with every model.
pub fn check_head(config: &ModelConfig, head: Head, task: &'static str) -> Result<()> {
    if head == Head::None || head == config.head {
        return Ok(());
    }
    let class = |family| format!("{family}{}", head.class_suffix());
    Err(ErrorKind::WrongTask {
        task,
        trained_for: task_of(config.head),
        expected: ["Bert", "MobileBert"].map(class).to_vec(),
        found: config.class_name(),
    }
    .into())
}

/// What a model with this head is for, as users call it.
fn task_of(head: Head) -> &'static str {
    match head {
        Head::None => "embeddings only",
        Head::QuestionAnswering => "question answering",
        Head::SequenceClassification => "text classification",
        Head::TokenClassification => "token classification",
        Head::MaskedLm => "fill-mask",
    }
}

fn rows_of<'o>(output: &'o Output, batch: &Batch, sequence: usize) -> &'o [f32] {
    let rows = if output.rows() == batch.tokens() { batch.range(sequence) } else { sequence..sequence + 1 };
    &output.values()[rows.start * output.width()..rows.end * output.width()]
}
