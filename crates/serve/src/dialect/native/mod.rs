//! `/api/v1`: every task of every model, with the objects that the command prints as JSON, offsets in three
//! units, and a word about each text that was cut. Unknown fields are errors.

mod answer;
mod tokenize;

use std::sync::Arc;

use bytes::Bytes;
use mobilebert::{
    AggregationStrategy, ClassifyOptions, EmbedOptions, FillOptions, FunctionToApply, LabelScore, LongText,
    Pooling, TagOptions,
};
use serde::{Deserialize, Serialize};

use super::shape::{self, Items, Texts, Unit, count_truncated};
use crate::call::{Call, Reply, Run, Step};
use crate::error::{Refusal, Result};
use crate::models::{Served, Task};
use crate::work::Found;
pub(crate) use answer::{answer, place};
pub(crate) use tokenize::{offsets, tokenize};

/// Writes a refusal.
pub(crate) fn refuse(refusal: &Refusal) -> Reply {
    #[derive(Serialize)]
    struct Body<'a> {
        error: Inner<'a>,
    }
    #[derive(Serialize)]
    struct Inner<'a> {
        code: &'a str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        param: Option<&'a str>,
    }
    let error = Inner { code: refusal.code, message: &refusal.message, param: refusal.param.as_deref() };
    Reply::error(refusal.kind.status(), &Body { error })
}

/// `GET /live`, `GET /ready`
pub(crate) fn health(good: bool) -> Reply {
    #[derive(Serialize)]
    struct Body {
        ok: bool,
    }
    Reply::error(if good { 200 } else { 503 }, &Body { ok: good })
}

/// `GET /`
pub(crate) fn page() -> Reply {
    Reply::new(
        200,
        "text/html; charset=utf-8",
        Bytes::from_static(include_bytes!("../../../assets/page.html")),
    )
}

/// `GET /openapi.json`
pub(crate) fn openapi() -> Reply {
    Reply::new(200, crate::call::JSON, Bytes::from_static(include_bytes!("../../../assets/openapi.json")))
}

/// `GET /api/v1/models`
pub(crate) fn models(call: &Call) -> Result<Step> {
    #[derive(Serialize)]
    struct Body<'a> {
        models: Vec<Entry<'a>>,
    }
    #[derive(Serialize)]
    struct Entry<'a> {
        name: &'a str,
        task: &'a str,
        model_sha: &'a str,
        self_check: &'a str,
        precision: &'a str,
        architecture: String,
        max_tokens: usize,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        labels: &'a [String],
        dimensions: usize,
        trained_for_embeddings: bool,
    }
    let models = call.models.all().iter().map(|model| Entry {
        name: &model.name,
        task: model.task.name(),
        model_sha: &model.sha,
        self_check: &model.self_check,
        precision: model.precision(),
        architecture: model.config().class_name(),
        max_tokens: model.max_task_len(),
        labels: match model.task {
            Task::Classify | Task::Tag => &model.config().labels,
            _ => &[],
        },
        dimensions: model.embedder().dimensions(),
        trained_for_embeddings: model.embedder().is_trained_for_embeddings(),
    });
    Reply::json(&Body { models: models.collect() }).map(Step::Reply)
}

/// Results of several texts, with the weights that they come from.
#[derive(Serialize)]
struct Results<'a, T> {
    results: Vec<T>,
    model_sha: &'a str,
}

/// Makes the reply of results.
fn results<T: Serialize>(model: &Served, results: Vec<T>) -> Result<Reply> {
    Reply::json(&Results { results, model_sha: &model.sha })
}

fn step(
    model: &Arc<Served>,
    jobs: Vec<crate::work::AnyJob>,
    render: impl FnOnce(Vec<Found>) -> Result<Reply> + Send + 'static,
) -> Step {
    Step::Run(Run {
        model: Arc::clone(model),
        lane: Arc::clone(&model.lane),
        inputs: jobs.len(),
        jobs,
        deadline: None,
        render: Box::new(render),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassifyRequest {
    inputs: Items,
    top_k: Option<usize>,
    threshold: Option<f32>,
    #[serde(alias = "function")]
    function_to_apply: Option<FunctionToApply>,
    long_text: Option<LongText>,
    max_seq_len: Option<usize>,
    doc_stride: Option<usize>,
    #[serde(default)]
    labels: Vec<String>,
}

/// `POST /api/v1/{model}/classify`
pub(crate) fn classify(call: &Call) -> Result<Step> {
    let request: ClassifyRequest = call.json()?;
    let model = call.model()?;
    let pipeline = model.classifier()?;
    call.check_texts("inputs", request.inputs.texts().into_iter())?;
    let options = ClassifyOptions::with(|o| {
        o.top_k = request.top_k.unwrap_or(o.top_k);
        o.threshold = request.threshold;
        o.function_to_apply = request.function_to_apply.unwrap_or(o.function_to_apply);
        o.long_text = match (request.long_text, call.config.strict) {
            (Some(chosen), _) => chosen,
            (None, true) => LongText::Refuse,
            (None, false) => o.long_text,
        };
        (o.max_seq_len, o.doc_stride) = (request.max_seq_len, request.doc_stride);
        o.labels = request.labels;
    });
    let jobs = shape::classify_jobs(pipeline, &request.inputs.all, request.inputs.is_list, &options)?;
    let list = options.top_k > 1;
    let render = {
        let model = Arc::clone(model);
        move |found| {
            #[derive(Serialize)]
            struct Line {
                label: Option<String>,
                score: Option<f32>,
                #[serde(skip_serializing_if = "Option::is_none")]
                labels: Option<Vec<LabelScore>>,
                truncated: bool,
            }
            let found = shape::labels(found)?;
            let truncated = count_truncated(found.iter().map(|found| &found.truncated));
            let lines = found.into_iter().map(|found| Line {
                label: found.best().map(|best| best.label.clone()),
                score: found.best().map(|best| best.score),
                truncated: found.truncated,
                labels: list.then_some(found.labels),
            });
            Ok(results(&model, lines.collect())?.truncated(truncated))
        }
    };
    Ok(step(model, jobs, render))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TagRequest {
    inputs: Texts,
    #[serde(default)]
    offsets: Unit,
    aggregation_strategy: Option<AggregationStrategy>,
    ignore_labels: Option<Vec<String>>,
    max_seq_len: Option<usize>,
    doc_stride: Option<usize>,
}

/// `POST /api/v1/{model}/tag`
pub(crate) fn tag(call: &Call) -> Result<Step> {
    let request: TagRequest = call.json()?;
    let model = call.model()?;
    let pipeline = model.tagger()?;
    let TagRequest { inputs: texts, offsets: Unit(unit), .. } = request;
    call.check_texts("inputs", texts.iter())?;
    let options = TagOptions::with(|o| {
        o.aggregation_strategy = request.aggregation_strategy.unwrap_or(o.aggregation_strategy);
        (o.max_seq_len, o.doc_stride) = (request.max_seq_len, request.doc_stride);
        if let Some(labels) = request.ignore_labels {
            o.ignore_labels = labels;
        }
    });
    let jobs = shape::tag_jobs(pipeline, &texts, &options)?;
    let render = {
        let model = Arc::clone(model);
        move |found: Vec<Found>| {
            let mut lines = Vec::new();
            for (text, found) in texts.iter().zip(found) {
                let Found::Entities(mut entities) = found else { return Err(shape::mixed_up()) };
                unit.convert(text, entities.iter_mut().flat_map(|e| [&mut e.start, &mut e.end]))?;
                lines.push(entities);
            }
            results(&model, lines)
        }
    };
    Ok(step(model, jobs, render))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FillRequest {
    inputs: Texts,
    top_k: Option<usize>,
    #[serde(default)]
    targets: Vec<String>,
}

/// `POST /api/v1/{model}/fill-mask`
pub(crate) fn fill_mask(call: &Call) -> Result<Step> {
    let request: FillRequest = call.json()?;
    let model = call.model()?;
    let pipeline = model.filler()?;
    let texts = request.inputs;
    call.check_texts("inputs", texts.iter())?;
    let options = FillOptions::with(|o| {
        o.top_k = request.top_k.unwrap_or(o.top_k);
        o.targets = request.targets;
    });
    let jobs = shape::fill_jobs(pipeline, &texts, "text", &options)?;
    let render = {
        let model = Arc::clone(model);
        move |found: Vec<Found>| {
            let line = |found| match found {
                Found::Fills(masks) => one_or_all(masks),
                _ => Err(shape::mixed_up()),
            };
            results(&model, found.into_iter().map(line).collect::<Result<Vec<_>>>()?)
        }
    };
    Ok(step(model, jobs, render))
}

/// One element stands alone, as it does on the command line.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum OneOrAll<T> {
    One(T),
    All(Vec<T>),
}

pub(crate) fn one_or_all<T>(mut all: Vec<T>) -> Result<OneOrAll<T>> {
    match (all.len(), all.pop()) {
        (1, Some(one)) => Ok(OneOrAll::One(one)),
        (_, last) => {
            all.extend(last);
            Ok(OneOrAll::All(all))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmbedRequest {
    inputs: Texts,
    pooling: Option<Pooling>,
    normalize: Option<bool>,
    max_seq_len: Option<usize>,
}

/// `POST /api/v1/{model}/embed`
pub(crate) fn embed(call: &Call) -> Result<Step> {
    let request: EmbedRequest = call.json()?;
    let model = call.model()?;
    let options = EmbedOptions::with(|o| {
        (o.pooling, o.normalize, o.max_seq_len) = (request.pooling, request.normalize, request.max_seq_len);
    });
    let served = Arc::clone(model);
    shape::embed(call, model, "inputs", &request.inputs, (&options, call.config.strict), move |vectors, _| {
        let truncated = count_truncated(vectors.iter().map(|vector| &vector.truncated));
        Ok(results(&served, vectors)?.truncated(truncated))
    })
    .map(Step::Run)
}
