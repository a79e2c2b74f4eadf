//! HOW GOOD: runs a pipeline over a dataset, example by example, and scores the predictions.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("dev.tsv");
//! # std::fs::write(&path, "sentence\tlabel\na joy to watch\t1\na waste of time\t0\n")?;
//! use mobilebert_tools::task::{Task, TaskOptions};
//!
//! let task: Task = "sst2".parse()?;
//! let data = task.read(&path)?;
//! let evaluator = TaskOptions::new(task).open("sentiment")?;
//! let predictions = evaluator.predictions(&data, 0..data.len()).collect::<mobilebert::Result<Vec<_>>>()?;
//! let scores = task.score(&data, &predictions)?;
//! assert_eq!((scores.metric, scores.main(), scores.total), ("accuracy", 100.0, 2));
//! # Ok(())
//! # }
//! ```

mod evaluator;
mod prediction;
mod scores;
mod similarity;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::dataset::{GlueTask, Gold, Labelled, Squad, TableOptions, Tagged};
use mobilebert::{EngineOptions, Error, Result};

pub use evaluator::{Evaluator, Predictions};
pub use prediction::{Candidate, Prediction};
pub use scores::{Items, Scores};
#[cfg(feature = "candle")]
pub(crate) use {evaluator::classes_of, similarity::SAME};

/// A task that a model can be scored on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Task {
    /// Answers to SQuAD's questions, v1.1 or v2.0 as the file says. Main score: F1.
    Squad,
    /// A task of GLUE.
    Glue(GlueTask),
    /// Named entities in a CoNLL file. Main score: F1 of entities.
    Entities,
    /// Labels of texts in any table. Main score: accuracy.
    Labels,
    /// Vectors of pairs of texts, whose cosines should rank the pairs as the scores of STS-B do. Main score:
    /// Spearman's correlation.
    Embeddings,
}

impl Task {
    /// The name on command lines: `squad`, `ner`, `classify`, `embed` or that of the [`GlueTask`].
    pub fn name(self) -> &'static str {
        match self {
            Task::Squad => "squad",
            Task::Glue(task) => task.name(),
            Task::Entities => "ner",
            Task::Labels => "classify",
            Task::Embeddings => "embed",
        }
    }

    /// Names of the scores. The first one is the main score, which the gate compares. Entities have the names
    /// that Hugging Face's `evaluate` gives seqeval's scores, so that `precision` stays free for that of the
    /// arithmetic.
    pub fn metrics(self) -> &'static [&'static str] {
        match self {
            Task::Squad => &["f1", "exact"],
            Task::Glue(GlueTask::Mrpc | GlueTask::Qqp) => &["f1", "accuracy"],
            Task::Glue(GlueTask::Cola) => &["matthews"],
            Task::Glue(GlueTask::StsB) => &["pearson", "spearman"],
            Task::Glue(_) => &["accuracy"],
            Task::Entities => &["f1", "overall_precision", "overall_recall", "accuracy"],
            Task::Labels => &["accuracy", "macro_f1"],
            Task::Embeddings => &["spearman", "pearson"],
        }
    }

    /// Reads a file of examples. [`Task::Labels`] reads the columns `text` and `label`, and
    /// [`Task::Embeddings`] those of STS-B: `sentence1`, `sentence2` and `score`, which is from 0 to 5.
    ///
    /// # Errors
    /// Those of the reader: [`Squad::read`], [`GlueTask::read`], [`Tagged::read`], [`TableOptions::read`].
    pub fn read(self, path: &Path) -> Result<Dataset> {
        match self {
            Task::Squad => Squad::read(path).map(Dataset::Squad),
            Task::Glue(task) => task.read(path).map(Dataset::Labelled),
            Task::Entities => Tagged::read(path).map(Dataset::Tagged),
            Task::Labels => TableOptions::new().read(path).map(Dataset::Labelled),
            Task::Embeddings => GlueTask::StsB.read(path).map(Dataset::Labelled),
        }
    }

    /// Scores predictions for the first examples of a dataset.
    ///
    /// # Errors
    /// [`mobilebert::ErrorKind::Input`] if an example has no label, or a prediction is of another kind than
    /// the examples.
    pub fn score(self, data: &Dataset, predictions: &[Prediction]) -> Result<Scores> {
        Scores::new(self, data, predictions, 0.0)
    }
}

impl FromStr for Task {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "squad" => Ok(Task::Squad),
            "ner" => Ok(Task::Entities),
            "classify" => Ok(Task::Labels),
            "embed" => Ok(Task::Embeddings),
            _ => name.parse().map(Task::Glue).map_err(|_| {
                let glue = GlueTask::ALL.map(GlueTask::name).join(", ");
                Error::option("task", format!("squad, {glue}, ner, classify or embed"), format!("`{name}`"))
            }),
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Examples of any task.
#[derive(Debug, Clone, PartialEq)]
pub enum Dataset {
    /// Questions.
    Squad(Squad),
    /// Texts, or pairs of texts.
    Labelled(Labelled),
    /// Sentences.
    Tagged(Tagged),
}

impl Dataset {
    /// The file's name.
    pub fn file(&self) -> &str {
        match self {
            Dataset::Squad(data) => &data.file,
            Dataset::Labelled(data) => &data.file,
            Dataset::Tagged(data) => &data.file,
        }
    }

    /// The SHA-256 of the file as it was read.
    pub fn sha256(&self) -> &str {
        match self {
            Dataset::Squad(data) => &data.sha256,
            Dataset::Labelled(data) => &data.sha256,
            Dataset::Tagged(data) => &data.sha256,
        }
    }

    /// Number of examples: questions, rows or sentences.
    pub fn len(&self) -> usize {
        match self {
            Dataset::Squad(data) => data.questions.len(),
            Dataset::Labelled(data) => data.examples.len(),
            Dataset::Tagged(data) => data.sentences.len(),
        }
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A name for an example: the id of a question, or the line of a row or sentence.
    ///
    /// # Panics
    /// If there is no such example, as [`Dataset::references`].
    pub fn id(&self, example: usize) -> String {
        match self {
            Dataset::Squad(data) => data.questions[example].id.clone(),
            Dataset::Labelled(data) => format!("line {}", data.examples[example].line),
            Dataset::Tagged(data) => format!("line {}", data.sentences[example].line),
        }
    }

    /// The right answers of an example, written as by [`Prediction::text`]. The list is empty if the example
    /// has no label, or if the context has no answer.
    pub fn references(&self, example: usize) -> Vec<String> {
        match self {
            Dataset::Squad(data) => {
                let mut answers: Vec<String> =
                    data.questions[example].answers.iter().map(|answer| answer.text.clone()).collect();
                answers.sort_unstable();
                answers.dedup();
                answers
            }
            Dataset::Labelled(data) => match data.examples[example].gold {
                Some(Gold::Class(class)) => data.classes[class].last().cloned().into_iter().collect(),
                Some(Gold::Value(value)) => vec![format!("{value:.2}")],
                None => Vec::new(),
            },
            Dataset::Tagged(data) => vec![data.sentences[example].tags.join(" ")],
        }
    }

    /// Keeps the first examples.
    pub fn truncate(&mut self, examples: usize) {
        match self {
            Dataset::Squad(data) => data.truncate(examples),
            Dataset::Labelled(data) => data.examples.truncate(examples),
            Dataset::Tagged(data) => data.sentences.truncate(examples),
        }
    }

    /// The end of a chunk that should end near `wanted`. Questions of one context stay together, because a
    /// chunk tokenises each context once.
    fn chunk_end(&self, wanted: usize) -> usize {
        let Dataset::Squad(data) = self else { return wanted };
        let Some(last) = wanted.checked_sub(1).and_then(|last| data.questions.get(last)) else {
            return wanted;
        };
        let more = data.questions[wanted..].iter().take_while(|question| question.context == last.context);
        wanted + more.count()
    }
}

/// How a model is run on a task. Defaults are those of the task's pipeline.
#[derive(Debug, Clone)]
#[must_use]
pub struct TaskOptions {
    task: Task,
    engine: EngineOptions,
    max_seq_len: Option<usize>,
    doc_stride: Option<usize>,
    max_question_len: Option<usize>,
    max_answer_len: Option<usize>,
    n_best: usize,
}

impl TaskOptions {
    /// The pipeline's defaults.
    pub fn new(task: Task) -> Self {
        Self {
            task,
            engine: EngineOptions::new(),
            max_seq_len: None,
            doc_stride: None,
            max_question_len: None,
            max_answer_len: None,
            n_best: 1,
        }
    }

    /// How the model is run.
    pub fn engine(mut self, engine: EngineOptions) -> Self {
        self.engine = engine;
        self
    }

    /// Longest sequence in tokens.
    pub fn max_seq_len(mut self, tokens: usize) -> Self {
        self.max_seq_len = Some(tokens);
        self
    }

    /// Tokens that neighbouring windows share; see [`mobilebert::WindowOptions`].
    pub fn doc_stride(mut self, tokens: usize) -> Self {
        self.doc_stride = Some(tokens);
        self
    }

    /// Longest question in tokens.
    pub fn max_question_len(mut self, tokens: usize) -> Self {
        self.max_question_len = Some(tokens);
        self
    }

    /// Longest answer in tokens.
    pub fn max_answer_len(mut self, tokens: usize) -> Self {
        self.max_answer_len = Some(tokens);
        self
    }

    /// Answers that are kept for each question. Default: 1.
    pub fn n_best(mut self, answers: usize) -> Self {
        self.n_best = answers;
        self
    }
}
