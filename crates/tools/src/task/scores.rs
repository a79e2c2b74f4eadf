//! Computes the scores of a task from predictions and references.

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::{Dataset, Prediction, Task};
use crate::dataset::{GlueTask, Labelled, Squad, Tagged};
use crate::metrics::classification::{accuracy, auroc, f1, macro_f1, matthews, pearson, spearman};
use crate::metrics::entities::{self, EntityScores};
use crate::metrics::interval::{self, Interval, RESAMPLES};
use crate::metrics::squad::{self, Best, Item, Score, Totals2, Version};
use mobilebert::{ErrorKind, Result};

/// The scores of a model's predictions. All are in points from 0 to 100 (correlations are multiplied by 100),
/// as on GLUE's leaderboard.
///
/// In JSON they are an object with a field for each score, and then `total`.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// Name of the main score.
    pub metric: &'static str,
    /// Names and values, the main one first.
    pub values: Vec<(&'static str, f64)>,
    /// Number of examples: questions, rows or sentences.
    pub total: usize,
    /// The contribution of each example to the main score.
    pub items: Items,
    /// SQuAD v2.0: scores of questions with and without an answer.
    pub parts: Option<Totals2>,
    /// SQuAD v2.0: the null threshold that is best for exact matches, and for F1, over the best non-empty
    /// answers.
    pub best: Option<(Best, Best)>,
    /// SQuAD v2.0: the area under the ROC curve of the null odds, which is how well they tell questions without
    /// an answer from others: 50 is chance. `None` if the data has only one of the two kinds.
    pub auroc: Option<f64>,
    /// Named entities: scores of each type.
    pub entities: Option<EntityScores>,
}

impl Scores {
    /// Scores predictions for the first examples. [`Prediction::answer`] describes `null_threshold`.
    ///
    /// # Errors
    /// The same as those of [`Task::score`].
    pub fn new(task: Task, data: &Dataset, predictions: &[Prediction], null_threshold: f32) -> Result<Self> {
        if predictions.is_empty() || predictions.len() > data.len() {
            return Err(mismatch(
                data,
                format!("{} predictions for {} examples", predictions.len(), data.len()),
            ));
        }
        match data {
            Dataset::Squad(squad) => of_squad(squad, data, predictions, null_threshold),
            Dataset::Labelled(labelled) => of_labels(task, labelled, data, predictions),
            Dataset::Tagged(tagged) => of_tags(tagged, data, predictions),
        }
    }

    /// The main score.
    pub fn main(&self) -> f64 {
        self.values.first().map_or(f64::NAN, |&(_, value)| value)
    }

    /// A score by its name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(n, _)| *n == name).map(|&(_, value)| value)
    }

    fn of(values: Vec<(&'static str, f64)>, total: usize, items: Items) -> Self {
        let metric = values.first().map_or("", |&(name, _)| name);
        Self { metric, values, total, items, parts: None, best: None, auroc: None, entities: None }
    }
}

impl Serialize for Scores {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &self.values {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("total", &self.total)?;
        map.end()
    }
}

/// The contribution of each example to the main score, so that the score of any selection of examples can be
/// computed.
#[derive(Debug, Clone, PartialEq)]
pub struct Items(Form);

#[derive(Debug, Clone, PartialEq)]
enum Form {
    /// The score is a mean.
    Mean(Vec<f64>),
    /// F1 of predicted and true classes.
    F1(Vec<usize>, Vec<usize>),
    /// Matthews' correlation of predicted and true classes.
    Matthews(Vec<usize>, Vec<usize>),
    /// Pearson's correlation.
    Values(Vec<f64>, Vec<f64>),
    /// Spearman's correlation.
    Ranks(Vec<f64>, Vec<f64>),
    /// F1 of entities: the numbers of right, predicted and true ones in each sentence.
    Entities(Vec<[usize; 3]>),
}

impl Items {
    /// The score of each example, 0 to 100; `None` if the main score is not their mean.
    pub fn means(&self) -> Option<&[f64]> {
        match &self.0 {
            Form::Mean(items) => Some(items),
            _ => None,
        }
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Mean(items) => items.len(),
            Form::F1(items, _) | Form::Matthews(items, _) => items.len(),
            Form::Values(items, _) | Form::Ranks(items, _) => items.len(),
            Form::Entities(items) => items.len(),
        }
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The main score over these examples, each as often as it is listed.
    ///
    /// # Panics
    /// If an index is out of range.
    pub fn score(&self, indices: &[usize]) -> f64 {
        fn pick<T: Copy>(from: &[T], indices: &[usize]) -> Vec<T> {
            indices.iter().map(|&i| from[i]).collect()
        }
        match &self.0 {
            Form::Mean(items) => indices.iter().map(|&i| items[i]).sum::<f64>() / indices.len() as f64,
            Form::F1(predicted, actual) => 100.0 * f1(&pick(predicted, indices), &pick(actual, indices)),
            Form::Matthews(predicted, actual) => {
                100.0 * matthews(&pick(predicted, indices), &pick(actual, indices))
            }
            Form::Values(predicted, actual) => {
                100.0 * pearson(&pick(predicted, indices), &pick(actual, indices))
            }
            Form::Ranks(predicted, actual) => {
                100.0 * spearman(&pick(predicted, indices), &pick(actual, indices))
            }
            Form::Entities(items) => {
                let sum = |k: usize| indices.iter().map(|&i| items[i][k]).sum::<usize>() as f64;
                let both = sum(1) + sum(2);
                if both == 0.0 { 0.0 } else { 100.0 * 2.0 * sum(0) / both }
            }
        }
    }

    /// The 95 % interval of the main score: Wilson's interval for an accuracy, otherwise the percentile
    /// bootstrap.
    pub fn interval(&self, seed: u64) -> Option<Interval> {
        if let Form::Mean(items) = &self.0
            && items.iter().all(|&item| item == 0.0 || item == 100.0)
        {
            let right = items.iter().filter(|&&item| item == 100.0).count();
            let share = interval::wilson(right, items.len());
            return Some(Interval { low: 100.0 * share.low, high: 100.0 * share.high });
        }
        interval::bootstrap(self.len(), RESAMPLES, seed, |indices| self.score(indices))
    }

    /// The 95 % interval of the score of `other` minus this one on the same examples, by the paired
    /// bootstrap; `None` if they have different numbers of examples.
    pub fn difference(&self, other: &Self, seed: u64) -> Option<Interval> {
        if self.len() != other.len() {
            return None;
        }
        interval::bootstrap(self.len(), RESAMPLES, seed, |indices| other.score(indices) - self.score(indices))
    }
}

fn mismatch(data: &Dataset, problem: impl Into<String>) -> mobilebert::Error {
    ErrorKind::Input { place: data.file().to_owned(), problem: problem.into() }.into()
}

fn of_squad(squad: &Squad, data: &Dataset, predictions: &[Prediction], threshold: f32) -> Result<Scores> {
    let null = (squad.version == Version::V2).then_some(threshold);
    let mut items = Vec::with_capacity(predictions.len());
    let mut raw = Vec::with_capacity(predictions.len());
    for (question, prediction) in squad.questions.iter().zip(predictions) {
        let (Prediction::Answers { null_odds, .. }, Some(decided), Some(best)) =
            (prediction, prediction.answer(null), prediction.answer(None))
        else {
            return Err(mismatch(data, "predictions are not answers"));
        };
        let references = question.references();
        // As in the official script, a question has an answer if it has references; `is_impossible` does not
        // count.
        let has_answer = !references.is_empty();
        let item = |answer: &str| Item {
            score: squad::score(squad.version, answer, &references),
            has_answer,
            answered: !answer.is_empty(),
            no_answer: f64::from(*null_odds),
        };
        items.push(item(decided));
        raw.push(item(best));
    }
    let totals = squad::totals2(&items, f64::INFINITY).ok_or_else(|| mismatch(data, "no predictions"))?;
    let means = items.iter().map(|item| 100.0 * item.score.f1).collect();
    let values = vec![("f1", totals.all.f1), ("exact", totals.all.exact)];
    let mut scores = Scores::of(values, items.len(), Items(Form::Mean(means)));
    if squad.version == Version::V2 {
        let best = |of: fn(&Score) -> f64| squad::best_threshold(&raw, of);
        scores.parts = Some(totals);
        scores.best = best(|s| s.exact).zip(best(|s| s.f1));
        let odds: Vec<f64> = items.iter().map(|item| item.no_answer).collect();
        let unanswerable: Vec<bool> = items.iter().map(|item| !item.has_answer).collect();
        scores.auroc = auroc(&odds, &unanswerable).map(|area| 100.0 * area);
    }
    Ok(scores)
}

fn of_labels(task: Task, labelled: &Labelled, data: &Dataset, predictions: &[Prediction]) -> Result<Scores> {
    let unlabelled = || mismatch(data, "has rows without a label, so there is nothing to score");
    let n = predictions.len();
    if labelled.classes.is_empty() {
        let mut gold = labelled.gold_values().ok_or_else(unlabelled)?;
        gold.truncate(n);
        let value = |prediction: &Prediction| match prediction {
            Prediction::Value { value } => Some(f64::from(*value)),
            _ => None,
        };
        let values: Option<Vec<f64>> = predictions.iter().map(value).collect();
        let values = values.ok_or_else(|| mismatch(data, "predictions are not numbers"))?;
        let by_value = ("pearson", 100.0 * pearson(&values, &gold));
        let by_rank = ("spearman", 100.0 * spearman(&values, &gold));
        return Ok(match task {
            Task::Embeddings => Scores::of(vec![by_rank, by_value], n, Items(Form::Ranks(values, gold))),
            _ => Scores::of(vec![by_value, by_rank], n, Items(Form::Values(values, gold))),
        });
    }
    let mut gold = labelled.gold_classes().ok_or_else(unlabelled)?;
    gold.truncate(n);
    let class = |prediction: &Prediction| match prediction {
        Prediction::Class { class, .. } => Some(*class),
        _ => None,
    };
    let classes: Option<Vec<usize>> = predictions.iter().map(class).collect();
    let classes = classes.ok_or_else(|| mismatch(data, "predictions are not classes"))?;
    let right = ("accuracy", 100.0 * accuracy(&classes, &gold));
    let items = classes.iter().zip(&gold).map(|(p, g)| if p == g { 100.0 } else { 0.0 }).collect();
    let mean = Items(Form::Mean(items));
    Ok(match task {
        Task::Glue(GlueTask::Mrpc | GlueTask::Qqp) => {
            let values = vec![("f1", 100.0 * f1(&classes, &gold)), right];
            Scores::of(values, n, Items(Form::F1(classes, gold)))
        }
        Task::Glue(GlueTask::Cola) => {
            let values = vec![("matthews", 100.0 * matthews(&classes, &gold)), right];
            Scores::of(values, n, Items(Form::Matthews(classes, gold)))
        }
        Task::Labels => Scores::of(vec![right, ("macro_f1", 100.0 * macro_f1(&classes, &gold))], n, mean),
        _ => Scores::of(vec![right], n, mean),
    })
}

fn of_tags(tagged: &Tagged, data: &Dataset, predictions: &[Prediction]) -> Result<Scores> {
    let mut predicted = Vec::with_capacity(predictions.len());
    let mut scheme = tagged.scheme;
    for (sentence, prediction) in tagged.sentences.iter().zip(predictions) {
        match prediction {
            Prediction::Tags { tags, scheme: found } if tags.len() == sentence.words.len() => {
                scheme = *found;
                predicted.push(tags.clone());
            }
            _ => return Err(mismatch(data, format!("line {}: one tag a word expected", sentence.line))),
        }
    }
    let actual: Vec<Vec<String>> =
        tagged.sentences[..predicted.len()].iter().map(|s| s.tags.clone()).collect();
    let scores = entities::score_in((scheme, &predicted), (tagged.scheme, &actual));
    let counts = predicted.iter().zip(&actual).map(|(p, a)| {
        let (found, there) = (entities::chunks_in(scheme, p), entities::chunks_in(tagged.scheme, a));
        [found.iter().filter(|chunk| there.contains(chunk)).count(), found.len(), there.len()]
    });
    let items = Items(Form::Entities(counts.collect()));
    let all = scores.all;
    let values = vec![
        ("f1", 100.0 * all.f1),
        ("overall_precision", 100.0 * all.precision),
        ("overall_recall", 100.0 * all.recall),
        ("accuracy", 100.0 * scores.accuracy),
    ];
    Ok(Scores { entities: Some(scores), ..Scores::of(values, predicted.len(), items) })
}
