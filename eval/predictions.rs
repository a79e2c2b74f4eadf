//! Writes predictions in the formats of official scripts and leaderboards.

use mobilebert_tools::dataset::{GlueTask, Labelled, Squad, Tagged};
use mobilebert_tools::metrics::squad::Version;
use mobilebert_tools::task::{Candidate, Dataset, Prediction, Task};
use serde_json::{Map, Value, json};

/// The file of `--predictions`.
pub(crate) fn official(
    task: Task,
    data: &Dataset,
    predictions: &[Prediction],
    null_threshold: f32,
) -> String {
    match data {
        Dataset::Squad(data) => {
            let null = (data.version == Version::V2).then_some(null_threshold);
            by_id(data, predictions, |p| p.answer(null).unwrap_or_default().into())
        }
        Dataset::Labelled(data) => labels(task, data, predictions),
        Dataset::Tagged(data) => tags(data, predictions),
    }
}

/// SQuAD's n-best file. Answers with the same text are listed once, with the logits of the best one.
pub(crate) fn n_best(data: &Squad, predictions: &[Prediction]) -> String {
    by_id(data, predictions, |prediction| {
        let Prediction::Answers { answers, .. } = prediction else { return Value::Null };
        let mut seen: Vec<&Candidate> = Vec::new();
        for answer in answers {
            if seen.iter().all(|before| before.text != answer.text) {
                seen.push(answer);
            }
        }
        // In the official file, the probabilities of the listed answers sum to 1.
        let logit = |c: &Candidate| f64::from(c.start_logit + c.end_logit);
        let most = seen.iter().map(|c| logit(c)).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = seen.iter().map(|c| (logit(c) - most).exp()).sum();
        let entry = |c: &&Candidate| {
            let probability = (logit(c) - most).exp() / sum;
            json!({"text": c.text, "probability": probability, "start_logit": c.start_logit, "end_logit": c.end_logit})
        };
        seen.iter().map(entry).collect::<Vec<_>>().into()
    })
}

/// SQuAD's null-odds file.
pub(crate) fn null_odds(data: &Squad, predictions: &[Prediction]) -> String {
    by_id(data, predictions, |prediction| match prediction {
        Prediction::Answers { null_odds, .. } => (*null_odds).into(),
        _ => Value::Null,
    })
}

fn by_id(data: &Squad, predictions: &[Prediction], value: impl Fn(&Prediction) -> Value) -> String {
    let ids = data.questions.iter().map(|question| question.id.clone());
    let entries: Map<String, Value> = ids.zip(predictions.iter().map(value)).collect();
    format!("{:#}\n", Value::Object(entries))
}

/// GLUE's submission: `index` and `prediction`. The index is the file's own; where it has none, the number of the
/// row, from 0.
fn labels(task: Task, data: &Labelled, predictions: &[Prediction]) -> String {
    let mut text = "index\tprediction\n".to_owned();
    for (number, (example, prediction)) in data.examples.iter().zip(predictions).enumerate() {
        let cell = match prediction {
            Prediction::Class { class, .. } => {
                data.classes.get(*class).map_or_else(String::new, |names| names[0].clone())
            }
            Prediction::Value { value } if task == Task::Glue(GlueTask::StsB) => {
                format!("{:.3}", value.clamp(0.0, 5.0))
            }
            Prediction::Value { value } => value.to_string(),
            _ => String::new(),
        };
        let index = example.index.clone().unwrap_or_else(|| number.to_string());
        text += &format!("{index}\t{}\n", cell.replace(['\t', '\r', '\n'], " "));
    }
    text
}

/// Word, tag and predicted tag, as `conlleval` reads them.
fn tags(data: &Tagged, predictions: &[Prediction]) -> String {
    let mut text = String::new();
    for (sentence, prediction) in data.sentences.iter().zip(predictions) {
        let Prediction::Tags { tags, .. } = prediction else { continue };
        for ((word, gold), tag) in sentence.words.iter().zip(&sentence.tags).zip(tags) {
            text += &format!("{word}\t{gold}\t{tag}\n");
        }
        text.push('\n');
    }
    text
}
