//! Details behind a score: scores of groups of examples, calibration, and errors by layer.

use mobilebert::{Engine, Precision};
use mobilebert_tools::BackendKind;
use mobilebert_tools::dataset::Question;
use mobilebert_tools::metrics::squad::score;
use mobilebert_tools::task::{Dataset, Prediction};
use serde::{Deserialize, Serialize};

use crate::evaluate::Evaluation;
use crate::failure::Failure;
use crate::{inputs, layers};

/// How many sequences layers are compared on.
const COMPARED: usize = 8;
/// The number of bins of the calibration curve.
const BINS: usize = 10;

/// Examples in groups, and the score of each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) title: String,
    pub(crate) metric: String,
    pub(crate) rows: Vec<GroupRow>,
}

/// One group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct GroupRow {
    pub(crate) name: String,
    pub(crate) examples: usize,
    /// 0 to 100.
    pub(crate) score: f64,
}

/// How often the model is right at each level of confidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Calibration {
    /// Mean distance of confidence and accuracy, weighted by examples (expected calibration error), 0 to 1.
    pub(crate) error: f64,
    pub(crate) bins: Vec<Bin>,
}

/// Predictions with about the same confidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bin {
    pub(crate) examples: usize,
    pub(crate) confidence: f64,
    pub(crate) accuracy: f64,
}

/// One example: names of its groups, score, confidence and whether it is right.
struct Judged {
    groups: Vec<(&'static str, String)>,
    score: f64,
    confidence: f32,
    right: bool,
}

/// Fills the report's parts of a run.
pub(crate) fn add(evaluation: &mut Evaluation) -> Result<(), Failure> {
    let judged = judge(evaluation);
    if !judged.is_empty() {
        let metric = if matches!(evaluation.data, Dataset::Squad(_)) { "f1" } else { "accuracy" };
        evaluation.run.groups = groups(&judged, metric);
        evaluation.run.calibration = Some(calibration(&judged));
    }
    if let Some(entities) = evaluation.scores.as_ref().and_then(|scores| scores.entities.as_ref()) {
        let row = |(name, score): (&String, &mobilebert_tools::metrics::entities::EntityScore)| GroupRow {
            name: name.clone(),
            examples: score.support,
            score: 100.0 * score.f1,
        };
        let rows = entities.types.iter().map(row).collect();
        evaluation.run.groups = vec![Group { title: "Entity".to_owned(), metric: "f1".to_owned(), rows }];
    }
    let engine = evaluation.evaluator.engine();
    if engine.backend().precision() == Precision::Int8 {
        let options = mobilebert::EngineOptions::new().precision(Precision::F32).backend(BackendKind::Native);
        let reference = Engine::open(&evaluation.run.model, options)?;
        let inputs = inputs::encodings(&evaluation.evaluator, &evaluation.data, COMPARED)?;
        evaluation.run.layers = layers::errors(engine, &reference, &inputs)?;
    }
    Ok(())
}

fn judge(evaluation: &Evaluation) -> Vec<Judged> {
    let Some(scores) = &evaluation.scores else { return Vec::new() };
    match &evaluation.data {
        Dataset::Squad(data) => {
            let pairs = data.questions.iter().zip(&evaluation.predictions);
            let items = pairs.zip(scores.items.means().unwrap_or_default());
            let judged = items.filter_map(|((question, prediction), &f1)| {
                let Prediction::Answers { answers, .. } = prediction else { return None };
                let best = answers.first()?;
                let groups = vec![
                    ("Words of the answer", answer_length(question)),
                    ("Kind of question", question_kind(&question.question)),
                ];
                let right = score(data.version, &best.text, &question.references()).exact == 1.0;
                Some(Judged { groups, score: f1, confidence: best.score, right })
            });
            judged.collect()
        }
        Dataset::Labelled(data) => {
            let judged =
                data.examples.iter().zip(&evaluation.predictions).filter_map(|(example, prediction)| {
                    let (
                        Prediction::Class { class, probabilities },
                        Some(mobilebert_tools::dataset::Gold::Class(gold)),
                    ) = (prediction, example.gold)
                    else {
                        return None;
                    };
                    let right = *class == gold;
                    let words = example.text.split_whitespace().count();
                    let words =
                        words + example.pair.as_ref().map_or(0, |pair| pair.split_whitespace().count());
                    let name =
                        data.classes.get(gold).and_then(|names| names.last()).cloned().unwrap_or_default();
                    let groups = vec![("Words of the text", length(words)), ("Class", name)];
                    let confidence = probabilities.iter().copied().fold(0.0, f32::max);
                    Some(Judged { groups, score: if right { 100.0 } else { 0.0 }, confidence, right })
                });
            judged.collect()
        }
        Dataset::Tagged(_) => Vec::new(),
    }
}

fn answer_length(question: &Question) -> String {
    match question.answers.first().map(|answer| answer.text.split_whitespace().count()) {
        None => "no answer".to_owned(),
        Some(words @ 0..=3) => words.to_string(),
        Some(4..=5) => "4-5".to_owned(),
        Some(6..=9) => "6-9".to_owned(),
        Some(_) => "10 or more".to_owned(),
    }
}

fn length(words: usize) -> String {
    let (low, high) = match words {
        0..=9 => return "1-9".to_owned(),
        10..=19 => (10, 19),
        20..=29 => (20, 29),
        30..=49 => (30, 49),
        _ => return "50 or more".to_owned(),
    };
    format!("{low}-{high}")
}

/// The question word.
fn question_kind(question: &str) -> String {
    const KINDS: [&str; 8] = ["what", "who", "when", "where", "which", "why", "how", "whose"];
    let words: Vec<String> = question
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let Some(at) = words.iter().position(|word| KINDS.contains(&word.as_str()) || word == "whom") else {
        return "other".to_owned();
    };
    match (words[at].as_str(), words.get(at + 1).map(String::as_str)) {
        ("how", Some("many" | "much")) => "how many".to_owned(),
        ("whom" | "whose", _) => "who".to_owned(),
        (kind, _) => kind.to_owned(),
    }
}

/// Groups sorted by size, or by the numbers that their names begin with.
fn groups(judged: &[Judged], metric: &str) -> Vec<Group> {
    let titles = judged.first().map_or(0, |j| j.groups.len());
    let group = |k: usize| {
        let mut rows: Vec<GroupRow> = Vec::new();
        for item in judged {
            let name = &item.groups[k].1;
            let found = rows.iter().position(|row| row.name == *name);
            let row = found.unwrap_or_else(|| {
                rows.push(GroupRow { name: name.clone(), examples: 0, score: 0.0 });
                rows.len() - 1
            });
            rows[row].examples += 1;
            rows[row].score += item.score;
        }
        rows.iter_mut().for_each(|row| row.score /= row.examples as f64);
        let number = |name: &str| {
            name.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse::<usize>().ok())
        };
        rows.sort_by_key(|row| (number(&row.name).unwrap_or(usize::MAX), usize::MAX - row.examples));
        Group { title: judged[0].groups[k].0.to_owned(), metric: metric.to_owned(), rows }
    };
    (0..titles).map(group).collect()
}

fn calibration(judged: &[Judged]) -> Calibration {
    let mut sums = [(0usize, 0.0, 0.0); BINS];
    for item in judged {
        let bin = ((f64::from(item.confidence) * BINS as f64) as usize).min(BINS - 1);
        sums[bin].0 += 1;
        sums[bin].1 += f64::from(item.confidence);
        sums[bin].2 += f64::from(u8::from(item.right));
    }
    let filled = sums.iter().filter(|(n, ..)| *n > 0);
    let bins: Vec<Bin> = filled
        .map(|&(n, confidence, right)| Bin {
            examples: n,
            confidence: confidence / n as f64,
            accuracy: right / n as f64,
        })
        .collect();
    let weighted = bins.iter().map(|bin| bin.examples as f64 * (bin.confidence - bin.accuracy).abs());
    Calibration { error: weighted.sum::<f64>() / judged.len() as f64, bins }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_by_kind() {
        for (question, kind) in [
            ("Who built it?", "who"),
            ("In what year did it end?", "what"),
            ("How many are there?", "how many"),
            ("How is it made?", "how"),
            ("To whom was it given?", "who"),
            ("Name the river.", "other"),
        ] {
            assert_eq!(question_kind(question), kind, "{question}");
        }
    }

    #[test]
    fn calibration_by_hand() {
        let judged = |confidence, right| Judged { groups: vec![], score: 0.0, confidence, right };
        let found =
            calibration(&[judged(0.95, true), judged(0.95, false), judged(0.15, false), judged(1.0, true)]);
        assert_eq!(found.bins.iter().map(|b| b.examples).collect::<Vec<_>>(), [1, 3]);
        let expected = (0.15 + 3.0 * (2.9f64 / 3.0 - 2.0 / 3.0)) / 4.0;
        assert!((found.error - expected).abs() < 1e-6, "{found:?}");
    }
}
