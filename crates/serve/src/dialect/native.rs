//! `/api/v1`: every task of every model, with the objects that the command prints as JSON, offsets in three
//! units, and a word about each text that was cut. Unknown fields are errors.

use std::sync::Arc;

use bytes::Bytes;
use mobilebert::{
    AggregationStrategy, Answer, AnswerOptions, ClassifyOptions, EmbedOptions, Encoding, FillOptions,
    FunctionToApply, LabelScore, LongText, OffsetUnit, Pooling, TagOptions,
};
use serde::{Deserialize, Serialize};

use super::shape::{self, Items, Texts, Unit, count_truncated};
use crate::call::{Call, Reply, Run, Step, at, check_answers};
use crate::error::{Refusal, Result};
use crate::models::{Served, Task};
use crate::work::{Found, work};

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
    Reply::new(200, "text/html; charset=utf-8", Bytes::from_static(include_bytes!("../../assets/page.html")))
}

/// `GET /openapi.json`
pub(crate) fn openapi() -> Reply {
    Reply::new(200, crate::call::JSON, Bytes::from_static(include_bytes!("../../assets/openapi.json")))
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerRequest {
    question: Texts,
    context: Texts,
    #[serde(default)]
    offsets: Unit,
    top_k: Option<usize>,
    doc_stride: Option<usize>,
    max_seq_len: Option<usize>,
    max_question_len: Option<usize>,
    max_answer_len: Option<usize>,
    handle_impossible_answer: Option<bool>,
    null_threshold: Option<f32>,
    merge_equal_texts: Option<bool>,
    null_competes: Option<bool>,
}

/// `POST /api/v1/{model}/answer`
pub(crate) fn answer(call: &Call) -> Result<Step> {
    let request: AnswerRequest = call.json()?;
    let model = call.model()?;
    let pipeline = model.answerer()?;
    let AnswerRequest { question: questions, context: contexts, offsets: Unit(unit), .. } = request;
    call.check_texts("question", questions.iter())?;
    call.check_texts("context", contexts.iter())?;
    let shared = contexts.all.len() == 1;
    if !shared && contexts.all.len() != questions.all.len() {
        let (found, expected) = (contexts.all.len(), questions.all.len());
        let message =
            format!("there are {found} contexts for {expected} questions; pass one for each, or one for all");
        return Err(Refusal::invalid("context", message));
    }
    let options = AnswerOptions::with(|o| {
        o.top_k = request.top_k.unwrap_or(o.top_k);
        (o.doc_stride, o.max_seq_len) = (request.doc_stride, request.max_seq_len);
        o.max_question_len = request.max_question_len.unwrap_or(o.max_question_len);
        o.max_answer_len = request.max_answer_len.unwrap_or(o.max_answer_len);
        o.handle_impossible_answer = request.handle_impossible_answer.unwrap_or(o.handle_impossible_answer);
        o.null_threshold = request.null_threshold;
        o.merge_equal_texts = request.merge_equal_texts.unwrap_or(o.merge_equal_texts);
        o.null_competes = request.null_competes.unwrap_or(o.null_competes);
    });
    let questions_of_each = if shared { questions.all.len() } else { 1 };
    check_answers(model, &options, contexts.iter().map(|context| (context, questions_of_each)))?;
    let is_list = questions.is_list;
    // A context is tokenised once, however many questions it has.
    let prepared = contexts.iter().enumerate();
    let prepared =
        prepared.map(|(i, text)| pipeline.prepare(text).map_err(at("context", contexts.is_list, i)));
    let prepared = prepared.collect::<Result<Vec<_>>>()?;
    let mut windows = 0;
    let mut jobs = Vec::new();
    for (i, question) in questions.iter().enumerate() {
        let context = &prepared[if shared { 0 } else { i }];
        let job = pipeline.prepare_answer(question, context, &options).map_err(at("question", is_list, i))?;
        windows += mobilebert::Job::count(&job);
        jobs.push(work(job, Found::Answers));
    }
    let render = {
        let model = Arc::clone(model);
        move |found: Vec<Found>| {
            #[derive(Serialize)]
            struct Body<'a> {
                answers: Vec<Vec<Answer>>,
                windows: usize,
                model_sha: &'a str,
            }
            let mut answers = Vec::new();
            for (i, found) in found.into_iter().enumerate() {
                let Found::Answers(mut found) = found else { return Err(shape::mixed_up()) };
                place(unit, &contexts.all[if shared { 0 } else { i }], &mut found)?;
                answers.push(found);
            }
            Reply::json(&Body { answers, windows, model_sha: &model.sha })
        }
    };
    Ok(step(model, jobs, render))
}

/// Counts the places of answers in another unit.
pub(crate) fn place(unit: OffsetUnit, context: &str, answers: &mut [Answer]) -> Result<()> {
    let offsets = answers.iter_mut().flat_map(|answer| {
        let others = answer.others.iter_mut().flat_map(|other| [&mut other.start, &mut other.end]);
        [&mut answer.start, &mut answer.end].into_iter().chain(others)
    });
    Ok(unit.convert(context, offsets)?)
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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenizeRequest {
    inputs: Items,
    #[serde(default)]
    offsets: Unit,
}

/// `POST /api/v1/{model}/tokenize`
pub(crate) fn tokenize(call: &Call) -> Result<Step> {
    let TokenizeRequest { inputs, offsets: Unit(unit) } = call.json()?;
    let model = call.model()?;
    call.check_texts("inputs", inputs.texts().into_iter())?;
    #[derive(Serialize)]
    struct Line {
        ids: Vec<u32>,
        tokens: Vec<String>,
        offsets: Vec<(usize, usize)>,
        #[serde(skip_serializing_if = "Option::is_none")]
        type_ids: Option<Vec<u32>>,
    }
    let line = |item: &shape::Item| {
        let encoding = match &item.second {
            Some(second) => model.tokenizer().encode_pair(&item.first, second)?,
            None => model.tokenizer().encode(&item.first)?,
        };
        let texts: Vec<&str> =
            [Some(item.first.as_str()), item.second.as_deref()].into_iter().flatten().collect();
        Ok(Line {
            ids: encoding.ids().to_vec(),
            tokens: encoding.tokens().map(str::to_owned).collect(),
            offsets: offsets(&encoding, &texts, unit)?,
            type_ids: (texts.len() > 1).then(|| encoding.type_ids().to_vec()),
        })
    };
    let lines = inputs.all.iter().map(line).collect::<Result<Vec<_>>>()?;
    results(model, lines).map(Step::Reply)
}

/// Returns the place of each token in its text. Special tokens that the tokenizer added have 0 and 0.
pub(crate) fn offsets(encoding: &Encoding, texts: &[&str], unit: OffsetUnit) -> Result<Vec<(usize, usize)>> {
    let span = |position| match encoding.sequence(position) {
        Some(_) => (encoding.span(position).start, encoding.span(position).end),
        None => (0, 0),
    };
    let mut offsets: Vec<(usize, usize)> = (0..encoding.len()).map(span).collect();
    for (number, text) in texts.iter().enumerate() {
        let of_text = offsets.iter_mut().enumerate().filter(|(i, _)| encoding.sequence(*i) == Some(number));
        unit.convert(text, of_text.flat_map(|(_, (start, end))| [start, end]))?;
    }
    Ok(offsets)
}
