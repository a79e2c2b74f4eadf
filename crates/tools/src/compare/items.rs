//! Two models on the same examples: which answers differ, and whether one model is better.

use serde::Serialize;

use crate::metrics::interval::{self, Interval};
use crate::task::{Dataset, Evaluator, Prediction, Scores};
use mobilebert::Result;

/// The seed of all intervals, so that the same scores give the same interval.
const SEED: u64 = 0;

/// A model's predictions for the first examples of a dataset, and their scores.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Answered {
    /// The predictions, in the order of the examples.
    pub predictions: Vec<Prediction>,
    /// The scores of these predictions.
    pub scores: Scores,
}

impl Answered {
    /// Runs a model over a dataset. `progress` is called with the number of finished examples.
    ///
    /// # Errors
    /// Those of [`Evaluator::predictions`] and [`crate::task::Task::score`].
    pub fn new(evaluator: &Evaluator, data: &Dataset, progress: &dyn Fn(usize)) -> Result<Self> {
        let mut predictions = Vec::with_capacity(data.len());
        for prediction in evaluator.predictions(data, 0..data.len()) {
            predictions.push(prediction?);
            progress(predictions.len());
        }
        let scores = evaluator.task().score(data, &predictions)?;
        Ok(Self { predictions, scores })
    }
}

/// Scores with the interval of the main one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Measured {
    /// The scores.
    #[serde(flatten)]
    pub scores: Scores,
    /// 95 % interval of the main score; see [`crate::task::Items::interval`].
    pub interval: Option<Interval>,
}

impl From<&Scores> for Measured {
    fn from(scores: &Scores) -> Self {
        Self { scores: scores.clone(), interval: scores.items.interval(SEED) }
    }
}

/// An example that two models answer differently.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// Its index in the dataset.
    pub index: usize,
    /// See [`Dataset::id`].
    pub id: String,
    /// The first model's answer; see [`Prediction::text`].
    pub a: String,
    /// The second model's answer.
    pub b: String,
    /// The right answers.
    pub references: Vec<String>,
    /// Score of the first one's answer, 0 to 100, where the main score is a mean over examples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub a_score: Option<f64>,
    /// Score of the second one's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub b_score: Option<f64>,
    /// The first module that changes the answer; see [`crate::compare::first_to_flip`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flipped_by: Option<String>,
}

/// McNemar's test; see [`interval::mcnemar`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct McNemar {
    /// Examples that only the first model gets right.
    pub only_a: usize,
    /// Examples that only the second one gets right.
    pub only_b: usize,
    /// The probability of a split at least this uneven if both models are equally good.
    pub p: f64,
}

/// The result of [`item_by_item`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ItemComparison {
    /// Name of the main score.
    pub metric: &'static str,
    /// Number of examples.
    pub total: usize,
    /// The first model.
    pub a: Measured,
    /// The second one.
    pub b: Measured,
    /// The second model's main score minus that of the first.
    pub difference: f64,
    /// Its 95 % interval, by the paired bootstrap.
    pub difference_interval: Option<Interval>,
    /// McNemar's test; `None` if an answer can be partly right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcnemar: Option<McNemar>,
    /// The examples with different answers, in order.
    pub differing: Vec<Difference>,
}

/// Compares the answers of two models to the same examples.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("dev.tsv");
/// # std::fs::write(&path, "sentence\tlabel\na joy to watch\t1\na waste of time\t0\n")?;
/// use mobilebert_tools::compare::{Answered, item_by_item};
/// use mobilebert_tools::task::{Task, TaskOptions};
/// use mobilebert::{EngineOptions, Precision};
///
/// let task: Task = "sst2".parse()?;
/// let data = task.read(&path)?;
/// let answered = |precision| {
///     let options = TaskOptions::new(task).engine(EngineOptions::new().precision(precision));
///     Answered::new(&options.open("sentiment")?, &data, &|_| {})
/// };
/// let found = item_by_item(&data, &answered(Precision::F32)?, &answered(Precision::Int8)?);
/// assert_eq!((found.difference, found.differing.len()), (0.0, 0));
/// # Ok(())
/// # }
/// ```
pub fn item_by_item(data: &Dataset, a: &Answered, b: &Answered) -> ItemComparison {
    let (of_a, of_b) = (a.scores.items.means(), b.scores.items.means());
    let score = |means: Option<&[f64]>, index: usize| means.and_then(|means| means.get(index).copied());
    let pairs = a.predictions.iter().zip(&b.predictions).take(data.len());
    let difference = |(index, (a, b)): (usize, (&Prediction, &Prediction))| {
        let (a, b) = (a.text(data), b.text(data));
        (a != b).then(|| Difference {
            index,
            id: data.id(index),
            a,
            b,
            references: data.references(index),
            a_score: score(of_a, index),
            b_score: score(of_b, index),
            flipped_by: None,
        })
    };
    ItemComparison {
        metric: a.scores.metric,
        total: a.scores.total,
        a: Measured::from(&a.scores),
        b: Measured::from(&b.scores),
        difference: b.scores.main() - a.scores.main(),
        difference_interval: a.scores.items.difference(&b.scores.items, SEED),
        mcnemar: of_a.zip(of_b).and_then(|(a, b)| mcnemar(a, b)),
        differing: pairs.enumerate().filter_map(difference).collect(),
    }
}

/// `None` if an answer can be partly right.
fn mcnemar(a: &[f64], b: &[f64]) -> Option<McNemar> {
    if a.iter().chain(b).any(|&score| score != 0.0 && score != 100.0) {
        return None;
    }
    let only = |a: &[f64], b: &[f64]| a.iter().zip(b).filter(|(a, b)| a > b).count();
    let (only_a, only_b) = (only(a, b), only(b, a));
    Some(McNemar { only_a, only_b, p: interval::mcnemar(only_a, only_b) })
}
