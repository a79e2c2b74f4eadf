//! The teacher: a model whose logits the student learns instead of the data's labels.

use candle_core::Tensor;

use super::{FinetuneOptions, examples};
use crate::candle::backend_error;
use crate::task::{Dataset, Task};
use crate::train::examples::Examples;
use mobilebert::backend::Precision;
use mobilebert::text::Batch;
use mobilebert::{Engine, EngineOptions, Error, Head, ModelConfig, ModelFiles, Result};

pub(super) struct Teacher(Engine);

impl Teacher {
    /// Opens a model in f32. It needs the student's tokenizer, and its labels or, for vectors, its
    /// width and pooling.
    pub(super) fn open(
        source: &str,
        student: &ModelConfig,
        lessons: &Examples,
        data: &Dataset,
        options: &FinetuneOptions,
    ) -> Result<Self> {
        let files = ModelFiles::resolve(source)?;
        let mut config = ModelConfig::from_json(&files.config_json()?)?;
        if options.task == Task::Embeddings {
            config.head = Head::None;
        }
        super::check_task(options.task, &config)?;
        let theirs = examples(&files, &config, data, options)?;
        let differs = |expected, found: String| Err(Error::option("teacher", expected, found));
        let other_targets = theirs.targets != lessons.targets;
        if options.task == Task::Embeddings {
            // Vectors have no labels.
            if config.hidden_size != student.hidden_size || other_targets {
                let expected = "a model with hidden states of the student's width, pooled alike";
                return differs(expected, format!("hidden_size {}, or other pooling", config.hidden_size));
            }
        } else if config.labels.len() != student.labels.len() || other_targets {
            return differs("a model with the student's labels, in their order", config.labels.join(", "));
        }
        let tokens = theirs.sequences.iter().zip(&lessons.sequences);
        if theirs.sequences.len() != lessons.sequences.len()
            || !tokens.clone().all(|(a, b)| a.ids() == b.ids())
        {
            return differs("a model with the student's vocabulary", format!("other tokens in `{source}`"));
        }
        let options = EngineOptions::new().precision(Precision::F32);
        Ok(Self(Engine::from_files(&files, Some(config.head), options)?))
    }

    /// The teacher's logits for a batch, in the shape of the student's logits `like`.
    pub(super) fn logits(&self, batch: &Batch, like: &Tensor) -> Result<Tensor> {
        let values = self.0.forward(batch)?.values().to_vec();
        Tensor::from_vec(values, like.shape(), like.device()).map_err(|e| backend_error("teacher", e))
    }
}
