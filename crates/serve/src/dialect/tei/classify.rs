//! `/predict` and `/rerank`.

use std::sync::Arc;

use mobilebert::{ClassifyOptions, FunctionToApply, LongText};
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::{check_common, is_strict};
use crate::call::{Call, Reply, Run, Step};
use crate::dialect::native::OneOrAll;
use crate::dialect::shape::{self, Item, Texts, count_truncated};
use crate::error::{Kind, Refusal, Result};
use crate::models::{Served, Task};
use crate::work::AnyJob;

/// The inputs of `/predict`: a text, a flat list of one text or of the two of a pair, or a list of such lists.
struct PredictInputs {
    items: Vec<Item>,
    is_list: bool,
}

impl<'de> Deserialize<'de> for PredictInputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InputsVisitor;
        impl<'de> Visitor<'de> for InputsVisitor {
            type Value = PredictInputs;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text, a list of one or two texts, or a list of such lists")
            }

            fn visit_str<E>(self, text: &str) -> Result<PredictInputs, E> {
                let item = Item { first: text.to_owned(), second: None };
                Ok(PredictInputs { items: vec![item], is_list: false })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<PredictInputs, A::Error> {
                let mut all: Vec<Texts> = Vec::new();
                while let Some(texts) = list.next_element()? {
                    all.push(texts);
                }
                let wrong = |found| A::Error::invalid_length(found, &self);
                if all.iter().all(|texts| texts.is_list) {
                    let item = |texts: Texts| {
                        let found = texts.all.len();
                        let mut texts = texts.all.into_iter();
                        match (texts.next(), texts.next(), texts.next()) {
                            (Some(first), second, None) => Ok(Item { first, second }),
                            _ => Err(wrong(found)),
                        }
                    };
                    let items = all.into_iter().map(item).collect::<Result<Vec<_>, _>>()?;
                    return Ok(PredictInputs { items, is_list: true });
                }
                // A flat list of one text is that text, and one of two texts is a pair.
                let mut texts = all
                    .into_iter()
                    .map(|texts| if texts.is_list { None } else { texts.all.into_iter().next() });
                let found = texts.len();
                match (texts.next(), texts.next(), texts.next()) {
                    (Some(Some(first)), None, None) => {
                        Ok(PredictInputs { items: vec![Item { first, second: None }], is_list: false })
                    }
                    (Some(Some(first)), Some(Some(second)), None) => {
                        let items = vec![Item { first, second: Some(second) }];
                        Ok(PredictInputs { items, is_list: false })
                    }
                    _ => Err(wrong(found)),
                }
            }
        }
        deserializer.deserialize_any(InputsVisitor)
    }
}

#[derive(Deserialize)]
struct PredictRequest {
    inputs: PredictInputs,
    truncate: Option<bool>,
    truncation_direction: Option<String>,
    #[serde(default)]
    raw_scores: bool,
}

fn classify_options(raw_scores: bool, strict: bool) -> ClassifyOptions {
    ClassifyOptions::with(|o| {
        o.top_k = usize::MAX;
        o.function_to_apply = if raw_scores { FunctionToApply::None } else { FunctionToApply::Auto };
        o.long_text = if strict { LongText::Refuse } else { LongText::Truncate };
    })
}

fn classify_step(model: &Arc<Served>, jobs: Vec<AnyJob>, render: crate::call::Render) -> Step {
    Step::Run(Run {
        model: Arc::clone(model),
        lane: Arc::clone(&model.lane),
        inputs: jobs.len(),
        jobs,
        deadline: None,
        render,
    })
}

/// `POST /predict`
pub(crate) fn predict(call: &Call) -> Result<Step> {
    let request: PredictRequest = call.json()?;
    check_common(request.truncation_direction.as_deref(), None)?;
    let model = call.model_for(Task::Classify)?;
    let pipeline = model.classifier()?;
    let PredictInputs { items, is_list } = request.inputs;
    let all = shape::Items { all: items, is_list };
    call.check_texts("inputs", all.texts().into_iter())?;
    let options = classify_options(request.raw_scores, is_strict(call, request.truncate));
    let jobs = shape::classify_jobs(pipeline, &all.all, is_list, &options)?;
    let render = move |found| {
        #[derive(Serialize)]
        struct Label {
            score: f32,
            label: String,
        }
        let found = shape::labels(found)?;
        let truncated = count_truncated(found.iter().map(|found| &found.truncated));
        let labels = found.into_iter().map(|found| {
            let labels = found.labels.into_iter();
            labels.map(|label| Label { score: label.score, label: label.label }).collect::<Vec<_>>()
        });
        let mut labels: Vec<_> = labels.collect();
        let body = match (is_list, labels.pop()) {
            (false, Some(one)) => OneOrAll::One(one),
            (_, last) => {
                labels.extend(last);
                OneOrAll::All(labels)
            }
        };
        Ok(Reply::json(&body)?.truncated(truncated))
    };
    Ok(classify_step(model, jobs, Box::new(render)))
}

#[derive(Deserialize)]
struct RerankRequest {
    query: String,
    texts: Vec<String>,
    truncate: Option<bool>,
    truncation_direction: Option<String>,
    #[serde(default)]
    raw_scores: bool,
    #[serde(default)]
    return_text: bool,
}

/// `POST /rerank`
pub(crate) fn rerank(call: &Call) -> Result<Step> {
    let request: RerankRequest = call.json()?;
    check_common(request.truncation_direction.as_deref(), None)?;
    let model = call.model_for(Task::Classify)?;
    let pipeline = model.classifier()?;
    if model.config().labels.len() != 1 {
        let message = format!(
            "`{}` has {} labels, and a model that ranks has one; choose another model",
            model.name,
            model.config().labels.len()
        );
        return Err(Refusal::new(Kind::NoModel, "wrong_task", message));
    }
    let RerankRequest { query, texts, return_text, .. } = request;
    call.check_texts("texts", texts.iter().map(String::as_str))?;
    call.check_texts("query", std::iter::once(query.as_str()))?;
    // Each pair has a query of its own, so a short body could become a lot of text.
    let copied = query.len().checked_mul(texts.len());
    let most = call.config.max_body_bytes.saturating_mul(16);
    if copied.is_none_or(|copied| copied > most) {
        let message = format!(
            "a query of {} bytes for {} texts is more than {most} bytes of pairs; shorten the query, or send \
             fewer texts",
            query.len(),
            texts.len()
        );
        return Err(Refusal::too_large(message).of("query"));
    }
    let item = |text: &String| Item { first: query.clone(), second: Some(text.clone()) };
    let items: Vec<Item> = texts.iter().map(item).collect();
    let options = classify_options(request.raw_scores, is_strict(call, request.truncate));
    let jobs = shape::classify_jobs(pipeline, &items, true, &options)?;
    let render = move |found| {
        #[derive(Serialize)]
        struct Rank {
            index: usize,
            #[serde(skip_serializing_if = "Option::is_none")]
            text: Option<String>,
            score: f32,
        }
        let found = shape::labels(found)?;
        let truncated = count_truncated(found.iter().map(|found| &found.truncated));
        let each = found.iter().zip(texts).enumerate();
        let mut ranks: Vec<Rank> = each
            .filter_map(|(index, (found, text))| {
                Some(Rank { index, text: return_text.then_some(text), score: found.best()?.score })
            })
            .collect();
        ranks.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.index.cmp(&b.index)));
        Ok(Reply::json(&ranks)?.truncated(truncated))
    };
    Ok(classify_step(model, jobs, Box::new(render)))
}
