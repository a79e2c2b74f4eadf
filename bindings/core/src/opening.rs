//! How models are opened.

use mobilebert::{
    AnswerOptions, ClassifyOptions, EmbedOptions, Embedder, EngineOptions, FillMask, FillOptions, Head,
    Model, ModelOptions, QuestionAnswering, Source, TagOptions, TextClassification, TokenClassification,
};
use serde_json::{Map, Value};

use crate::backend::backend;
use crate::failure::{Failure, Result};
use crate::options::changed;

/// How to load and run a model, as callers in other languages say it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opening {
    /// The number of threads for each pass. Default: one for each processor that the process may use.
    ///
    /// 1 means the calling thread, so several threads of the caller run side by side.
    pub threads: Option<usize>,
    /// `int8`, `bf16` or `f32`. Default: that of the stored weights.
    pub precision: Option<String>,
    /// False if `[SEP]` and the like in a text are plain characters. Default: they are special tokens.
    pub special_tokens_in_text: Option<bool>,
    /// The name of the backend: [`crate::NATIVE`], which is the default, or a name that
    /// [`crate::register_backend`] was given.
    pub backend: Option<String>,
}

impl Opening {
    /// Returns the options of the engine.
    ///
    /// # Errors
    /// `option` for an unknown precision or backend.
    pub fn engine(&self) -> Result<EngineOptions> {
        let mut engine = match self.threads {
            None => EngineOptions::new(),
            Some(1) => EngineOptions::new().on_caller(),
            Some(threads) => EngineOptions::new().threads(threads),
        };
        if let Some(precision) = &self.precision {
            engine = engine.precision(precision.parse()?);
        }
        if let Some(factory) = self.backend.as_deref().map(backend).transpose()?.flatten() {
            engine = engine.backend(factory);
        }
        Ok(engine)
    }

    fn model(&self) -> Result<ModelOptions> {
        let options = ModelOptions::new().engine(self.engine()?);
        Ok(options.special_tokens_in_text(self.special_tokens_in_text.unwrap_or(true)))
    }

    /// Loads a model that several tasks share, with its own head or that of `task`.
    ///
    /// # Errors
    /// The errors of [`Model::open`], as all functions here.
    pub fn open(&self, source: Source, task: Option<Task>) -> Result<Model> {
        let mut options = self.model()?;
        if let Some(task) = task {
            options = options.head(task.head());
        }
        Ok(Model::open(source, options)?)
    }

    /// Opens a model for question answering. `options` are those of calls that bring none.
    ///
    /// # Errors
    /// The errors of [`QuestionAnswering::open_with`] and of [`changed`].
    pub fn answers(&self, source: Source, options: &Map<String, Value>) -> Result<QuestionAnswering> {
        let options = changed(&AnswerOptions::default(), options)?;
        Ok(QuestionAnswering::open_with(source, self.model()?, options)?)
    }

    /// Opens a model for text classification.
    ///
    /// # Errors
    /// The errors of [`TextClassification::open_with`] and of [`changed`].
    pub fn labels(&self, source: Source, options: &Map<String, Value>) -> Result<TextClassification> {
        let options = changed(&ClassifyOptions::default(), options)?;
        Ok(TextClassification::open_with(source, self.model()?, options)?)
    }

    /// Opens a model for token classification.
    ///
    /// # Errors
    /// The errors of [`TokenClassification::open_with`] and of [`changed`].
    pub fn entities(&self, source: Source, options: &Map<String, Value>) -> Result<TokenClassification> {
        let options = changed(&TagOptions::default(), options)?;
        Ok(TokenClassification::open_with(source, self.model()?, options)?)
    }

    /// Opens a model for filling masks.
    ///
    /// # Errors
    /// The errors of [`FillMask::open_with`] and of [`changed`].
    pub fn fills(&self, source: Source, options: &Map<String, Value>) -> Result<FillMask> {
        let options = changed(&FillOptions::default(), options)?;
        Ok(FillMask::open_with(source, self.model()?, options)?)
    }

    /// Opens a model for embeddings.
    ///
    /// # Errors
    /// The errors of [`Embedder::open_with`] and of [`changed`].
    pub fn vectors(&self, source: Source, options: &Map<String, Value>) -> Result<Embedder> {
        let options = changed(&EmbedOptions::default(), options)?;
        Ok(Embedder::open_with(source, self.model()?, options)?)
    }
}

/// A task, by the name that `transformers` gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// `question-answering`.
    QuestionAnswering,
    /// `text-classification`.
    TextClassification,
    /// `token-classification`.
    TokenClassification,
    /// `fill-mask`.
    FillMask,
    /// `feature-extraction`: hidden states and embeddings.
    FeatureExtraction,
}

impl Task {
    /// All tasks.
    pub const ALL: [Self; 5] = [
        Self::QuestionAnswering,
        Self::TextClassification,
        Self::TokenClassification,
        Self::FillMask,
        Self::FeatureExtraction,
    ];

    /// Returns the name.
    pub fn name(self) -> &'static str {
        match self {
            Self::QuestionAnswering => "question-answering",
            Self::TextClassification => "text-classification",
            Self::TokenClassification => "token-classification",
            Self::FillMask => "fill-mask",
            Self::FeatureExtraction => "feature-extraction",
        }
    }

    /// Finds a task by its name.
    ///
    /// # Errors
    /// `option` for an unknown name.
    pub fn named(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|task| task.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(|task| format!("`{}`", task.name())).join(", ");
            Failure::option("task", format!("one of {known}"), format!("`{name}`"))
        })
    }

    /// Returns the task of a loaded model, unless it has a head that no task here uses.
    pub fn of(model: &Model) -> Option<Self> {
        Self::ALL.into_iter().find(|task| task.head() == model.head())
    }

    fn head(self) -> Head {
        match self {
            Self::QuestionAnswering => Head::QuestionAnswering,
            Self::TextClassification => Head::SequenceClassification,
            Self::TokenClassification => Head::TokenClassification,
            Self::FillMask => Head::MaskedLm,
            Self::FeatureExtraction => Head::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_found_by_name() {
        for task in Task::ALL {
            assert_eq!(Task::named(task.name()).unwrap(), task);
        }
        assert_eq!(Task::named("summarization").unwrap_err().code(), "option");
    }

    #[test]
    fn a_wrong_precision_is_refused_before_anything_is_loaded() {
        let opening = Opening { precision: Some("int3".to_owned()), ..Opening::default() };
        assert_eq!(opening.engine().unwrap_err().place(), Some("precision"));
    }
}
