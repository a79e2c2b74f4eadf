//! Loaded models.

use std::sync::Arc;

use mobilebert_bindings::Task;

use crate::failure::{Result, count};
use crate::options::Loading;
use crate::source::ModelSource;

/// A loaded model, shared by any number of tasks.
#[derive(Debug, uniffi::Object)]
pub(crate) struct Model {
    pub(crate) model: mobilebert_bindings::Model,
}

/// What a caller may want to know of a loaded model.
#[derive(Debug, Clone, uniffi::Record)]
pub(crate) struct ModelFacts {
    /// The task, unless the model has a head that no task here uses.
    pub task: Option<String>,
    /// The labels of a classifier or tagger.
    pub labels: Vec<String>,
    /// The numbers in a hidden state.
    pub hidden_size: i32,
    /// The longest sequence in tokens.
    pub max_length: i32,
    /// The most threads that a pass runs on.
    pub threads: i32,
    /// The form in which the weights are computed with.
    pub precision: String,
    /// The kernels that were chosen for this processor.
    pub kernel: String,
}

#[uniffi::export]
impl Model {
    /// Loads a model with its own head, or with that of a task by its name.
    #[uniffi::constructor]
    fn open(source: Arc<ModelSource>, loading: Loading, task: Option<String>) -> Result<Self> {
        let task = task.as_deref().map(Task::named).transpose()?;
        Ok(Self { model: loading.opening()?.open(source.get(), task)? })
    }

    /// Describes the model.
    fn facts(&self) -> ModelFacts {
        facts(&self.model)
    }
}

pub(crate) fn facts(model: &mobilebert_bindings::Model) -> ModelFacts {
    let (config, engine) = (model.config(), model.engine());
    ModelFacts {
        task: Task::of(model).map(|task| task.name().to_owned()),
        labels: config.labels.clone(),
        hidden_size: count(config.hidden_size),
        max_length: count(model.max_len()),
        threads: count(engine.threads()),
        precision: engine.backend().precision().to_string(),
        kernel: engine.backend().kernel().to_owned(),
    }
}
