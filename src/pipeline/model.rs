//! A loaded model and the parts of it that any number of pipelines share.

use std::sync::Arc;

use super::sentence::SentenceSettings;
use crate::config::{Family, Head, ModelConfig};
use crate::engine::{Engine, EngineOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::source::{ModelFiles, Source};
use crate::text::{TextTokens, TokenizedText, Tokenizer, WindowOptions};

/// The options for loading a model. Options of a task, such as the number of answers, are not among them,
/// because they may differ from call to call.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct ModelOptions {
    engine: EngineOptions,
    head: Option<Head>,
    special_tokens_in_text: Option<bool>,
}

impl ModelOptions {
    /// Makes options for the model's own head on the default engine.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the options of the engine that runs the model.
    pub fn engine(mut self, engine: EngineOptions) -> Self {
        self.engine = engine;
        self
    }

    /// Loads the model with this head instead of its own; [`Head::None`] goes with every model. A pipeline
    /// that opens a model chooses its own head and ignores this one.
    pub fn head(mut self, head: Head) -> Self {
        self.head = Some(head);
        self
    }

    /// Sets whether `[SEP]` and the like in the user's text are special tokens, instead of what the model's
    /// files say; see [`Tokenizer::special_tokens_in_text`].
    pub fn special_tokens_in_text(mut self, matched: bool) -> Self {
        self.special_tokens_in_text = Some(matched);
        self
    }
}

impl From<EngineOptions> for ModelOptions {
    fn from(engine: EngineOptions) -> Self {
        Self::new().engine(engine)
    }
}

/// A loaded model: a tokenizer and an engine that belong together. Clones share both, so any number of
/// pipelines with different options cost the memory of one model.
///
/// ```
/// use mobilebert::{AnswerOptions, Model, ModelOptions, QuestionAnswering};
///
/// # fn main() -> mobilebert::Result<()> {
/// let model = Model::open("qa", ModelOptions::new())?;
/// let best = QuestionAnswering::from_parts(model.clone(), AnswerOptions::default())?;
/// let three = QuestionAnswering::from_parts(model, AnswerOptions::with(|o| o.top_k = 3))?;
/// let (question, context) = ("Who built it?", "It was built by Ada in New York.");
/// assert_eq!(best.answers(question, context)?.len(), 1);
/// assert_eq!(three.answers(question, context)?.len(), 3);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Model {
    tokenizer: Arc<Tokenizer>,
    engine: Arc<Engine>,
    head: Head,
    /// The longest sequence that both the model and its tokenizer allow.
    max_len: usize,
    /// The settings for embeddings in the model's folder.
    sentence: Option<Arc<SentenceSettings>>,
}

impl Model {
    /// Loads a model.
    ///
    /// # Errors
    /// The errors of [`Engine::open`] and of [`ModelFiles::tokenizer`]; [`ErrorKind::Tokenizer`] if the two
    /// do not fit.
    pub fn open(source: impl Into<Source>, options: impl Into<ModelOptions>) -> Result<Self> {
        let options = options.into();
        let files = ModelFiles::resolve(source)?;
        let config = ModelConfig::from_json(&files.config_json()?)?;
        let head = options.head.unwrap_or(config.head);
        Self::load(&files, head, options)
    }

    /// Loads a model for a pipeline. `task` names the pipeline's task in errors.
    pub(super) fn open_for(
        source: impl Into<Source>,
        head: Head,
        task: &'static str,
        options: impl Into<ModelOptions>,
    ) -> Result<Self> {
        let files = ModelFiles::resolve(source)?;
        check_head(&ModelConfig::from_json(&files.config_json()?)?, head, task)?;
        Self::load(&files, head, options.into())
    }

    fn load(files: &ModelFiles, head: Head, options: ModelOptions) -> Result<Self> {
        // The two are loaded side by side, because a vocabulary takes as long as the weights, 25 ms.
        let (engine, loaded) = std::thread::scope(|scope| {
            let loading = std::thread::Builder::new().spawn_scoped(scope, || files.tokenizer());
            let engine = Engine::from_files(files, Some(head), options.engine);
            let loaded = match loading {
                Ok(loading) => loading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                // WebAssembly has no threads.
                Err(_) => files.tokenizer(),
            };
            (engine, loaded)
        });
        let engine = engine?;
        let tokenizer = match options.special_tokens_in_text {
            Some(matched) => loaded?.special_tokens_in_text(matched),
            None => loaded?,
        };
        let read = |name: &str| Ok(files.read(name)?.map(|bytes| bytes.into_owned()));
        let sentence = match (SentenceSettings::read(&read), head) {
            (Ok(settings), _) => settings,
            (Err(error), Head::None) => return Err(error),
            // The task has no use for vectors.
            (Err(_), _) => None,
        };
        let model = Self::from_parts(tokenizer, engine, head)?;
        Ok(Self { sentence: sentence.map(Arc::new), ..model })
    }

    /// Puts a tokenizer and an engine together. `head` is the one that the engine was loaded with.
    ///
    /// # Errors
    /// [`ErrorKind::Tokenizer`] if the vocabulary is larger than the model's.
    pub fn from_parts(
        tokenizer: impl Into<Arc<Tokenizer>>,
        engine: impl Into<Arc<Engine>>,
        head: Head,
    ) -> Result<Self> {
        let (tokenizer, engine) = (tokenizer.into(), engine.into());
        tokenizer.check_vocab_size(engine.config().vocab_size)?;
        let longest = engine.config().max_position_embeddings;
        let max_len = tokenizer.model_max_length().map_or(longest, |limit| limit.min(longest));
        Ok(Self { tokenizer, engine, head, max_len, sentence: None })
    }

    /// Makes a model of the same tokenizer and head with another engine, such as one whose weights were
    /// quantised.
    ///
    /// # Errors
    /// The errors of [`Model::from_parts`].
    pub fn with_engine(&self, engine: impl Into<Arc<Engine>>) -> Result<Self> {
        let model = Self::from_parts(Arc::clone(&self.tokenizer), engine, self.head)?;
        Ok(Self { sentence: self.sentence.clone(), ..model })
    }

    /// Returns the same model without its head, so that it gives hidden states; see [`Engine::encoder`]. It
    /// shares the tokenizer and the weights.
    ///
    /// # Errors
    /// The errors of [`Engine::encoder`].
    pub fn encoder(&self) -> Result<Self> {
        match self.head {
            Head::None => Ok(self.clone()),
            _ => {
                let engine = self.engine.encoder()?;
                let model = Self::from_parts(Arc::clone(&self.tokenizer), engine, Head::None)?;
                Ok(Self { sentence: self.sentence.clone(), ..model })
            }
        }
    }

    /// Returns the engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Returns the tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// Returns the model's configuration.
    pub fn config(&self) -> &ModelConfig {
        self.engine.config()
    }

    /// Returns the head that the model was loaded with.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Returns the length of the longest sequence, in tokens, that both the model and its tokenizer allow.
    pub fn max_len(&self) -> usize {
        self.max_len
    }

    /// Returns the settings for embeddings in the model's folder.
    pub(super) fn sentence(&self) -> Option<&SentenceSettings> {
        self.sentence.as_deref()
    }

    /// Checks that a pipeline can run on this model as it was loaded.
    pub(super) fn check_loaded(&self, head: Head, task: &'static str) -> Result<()> {
        check_head(self.config(), head, task)?;
        if self.head == head {
            return Ok(());
        }
        let expected = format!("the model's own, which {task} needs");
        Err(Error::option("head", expected, format!("that of a model for {}", task_of(self.head))))
    }

    /// Tokenises a text that must not be empty.
    pub(super) fn tokenize(&self, text: &str, what: &'static str) -> Result<TokenizedText> {
        let tokens = self.tokenizer.tokenize(text)?;
        if tokens.is_empty() { Err(ErrorKind::EmptyText { what }.into()) } else { Ok(tokens) }
    }

    /// Tokenises a text of any length that must not be empty.
    pub(super) fn read(&self, text: &Arc<str>, what: &'static str) -> Result<TextTokens> {
        let tokens = TextTokens::read(&self.tokenizer, text)?;
        if tokens.len() == 0 { Err(ErrorKind::EmptyText { what }.into()) } else { Ok(tokens) }
    }

    /// Returns the window options of a task, with their defaults resolved and checked against the model's
    /// limit.
    pub(super) fn windows(
        &self,
        max_seq_len: Option<usize>,
        default: usize,
        doc_stride: Option<usize>,
    ) -> Result<WindowOptions> {
        let max_seq_len = match max_seq_len {
            None => default.min(self.max_len),
            Some(n) if n <= self.max_len => n,
            Some(n) => {
                let expected = format!("at most {}, the model's limit", self.max_len);
                return Err(Error::option("max_seq_len", expected, n));
            }
        };
        let windows = WindowOptions::new(max_seq_len);
        Ok(match doc_stride {
            Some(tokens) => windows.doc_stride(tokens),
            None => windows,
        })
    }
}

/// Checks that a model has the head that a task needs. [`Head::None`] goes with every model. `task` names the
/// task in errors.
///
/// # Errors
/// [`ErrorKind::WrongTask`].
pub fn check_head(config: &ModelConfig, head: Head, task: &'static str) -> Result<()> {
    if head == Head::None || head == config.head {
        return Ok(());
    }
    Err(ErrorKind::WrongTask {
        task,
        trained_for: task_of(config.head),
        expected: Family::all().map(|family| family.class_name(head)).collect(),
        found: config.class_name(),
    }
    .into())
}

/// Names the task of a head in the words of users.
fn task_of(head: Head) -> &'static str {
    match head {
        Head::None => "embeddings only",
        Head::QuestionAnswering => "question answering",
        Head::SequenceClassification => "text classification",
        Head::TokenClassification => "token classification",
        Head::MaskedLm => "fill-mask",
        Head::MultipleChoice => "multiple choice",
    }
}
