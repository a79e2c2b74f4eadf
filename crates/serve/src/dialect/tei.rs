//! The routes of text-embeddings-inference, for the default model of each task or for one that the path names.

use std::sync::Arc;

use mobilebert::{ClassifyOptions, EmbedOptions, Encoding, FunctionToApply, LongText, OffsetUnit};
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Map;

use super::native::{OneOrAll, offsets};
use super::shape::{self, Item, Texts, count_truncated};
use crate::call::{Call, Reply, Run, Step};
use crate::error::{Kind, Refusal, Result};
use crate::models::{Served, Task};
use crate::work::{AnyJob, Found, RawJob, Unit};

/// Writes a refusal.
pub(crate) fn refuse(refusal: &Refusal) -> Reply {
    #[derive(Serialize)]
    struct Body<'a> {
        error: &'a str,
        error_type: &'a str,
    }
    let (status, kind) = match refusal.kind {
        Kind::Invalid if refusal.code == "empty_text" => (400, "Empty"),
        Kind::Malformed | Kind::Invalid => (422, "Validation"),
        Kind::NoModel if refusal.code == "wrong_task" => (424, "Backend"),
        Kind::Internal => (424, "Backend"),
        Kind::Overloaded | Kind::Late => (429, "Overloaded"),
        Kind::Unavailable => (503, "Unhealthy"),
        other => (other.status(), "Validation"),
    };
    Reply::error(status, &Body { error: &refusal.message, error_type: kind })
}

/// `GET /health`, `GET /ping`
pub(crate) fn health(ready: bool) -> Reply {
    match ready {
        true => Reply::new(200, "text/plain; charset=utf-8", ""),
        false => refuse(&Refusal::unavailable("the server takes no requests now")),
    }
}

#[derive(Deserialize)]
struct EmbedRequest {
    inputs: Texts,
    truncate: Option<bool>,
    truncation_direction: Option<String>,
    #[serde(default = "yes")]
    normalize: bool,
    prompt_name: Option<String>,
    dimensions: Option<usize>,
}

fn yes() -> bool {
    true
}

/// Returns true if a text that does not fit is an error.
fn is_strict(call: &Call, truncate: Option<bool>) -> bool {
    call.config.strict || truncate == Some(false)
}

/// Refuses what would change results and is not there.
fn check_common(direction: Option<&str>, prompt: Option<&str>) -> Result<()> {
    if let Some(other) = direction.filter(|direction| !direction.eq_ignore_ascii_case("right")) {
        let message = format!(
            "`truncation_direction` is {other:?}; only the end of a text is cut here, expected \"Right\""
        );
        return Err(Refusal::invalid("truncation_direction", message));
    }
    match prompt {
        Some(name) => {
            let message =
                format!("`prompt_name` is {name:?}, and the model has no prompts by name; leave it out");
            Err(Refusal::invalid("prompt_name", message))
        }
        None => Ok(()),
    }
}

/// `POST /embed`
pub(crate) fn embed(call: &Call) -> Result<Step> {
    let request: EmbedRequest = call.json()?;
    check_common(request.truncation_direction.as_deref(), request.prompt_name.as_deref())?;
    let model = embedding_model(call)?;
    let dimensions = shape::check_dimensions(call, model, request.dimensions)?;
    let options = EmbedOptions::with(|o| o.normalize = (!request.normalize).then_some(false));
    let strict = is_strict(call, request.truncate);
    shape::embed(call, model, "inputs", &request.inputs, (&options, strict), move |mut vectors, _| {
        let truncated = count_truncated(vectors.iter().map(|vector| &vector.truncated));
        if let Some(dimensions) = dimensions {
            vectors.iter_mut().for_each(|vector| shape::cut(&mut vector.embedding, dimensions));
        }
        let vectors: Vec<Vec<f32>> = vectors.into_iter().map(|vector| vector.embedding).collect();
        Ok(Reply::json(&vectors)?.truncated(truncated))
    })
}

/// Finds a model that was trained for embeddings.
fn embedding_model(call: &Call) -> Result<&Arc<Served>> {
    let model = call.model_for(Task::Embed)?;
    match model.embedder().is_trained_for_embeddings() || model.task == Task::Embed {
        true => Ok(model),
        false => {
            let message = format!("`{}` was not trained for embeddings; choose another model", model.name);
            Err(Refusal::new(Kind::NoModel, "wrong_task", message))
        }
    }
}

/// `POST /embed_all`: a vector for each token
pub(crate) fn embed_all(call: &Call) -> Result<Step> {
    let request: EmbedRequest = call.json()?;
    check_common(request.truncation_direction.as_deref(), request.prompt_name.as_deref())?;
    let model = embedding_model(call)?;
    call.check_texts("inputs", request.inputs.iter())?;
    let strict = is_strict(call, request.truncate);
    let (width, most) = (model.config().hidden_size, model.max_len());
    let mut cut = 0;
    let mut jobs: Vec<AnyJob> = Vec::new();
    for (i, text) in request.inputs.iter().enumerate() {
        let tokens = model.tokenizer().tokenize(text)?;
        if tokens.is_empty() {
            return Err(mobilebert::Error::from(mobilebert::ErrorKind::EmptyText { what: "text" }).into());
        }
        let (encoding, truncated) = tokens.encode_truncated(None, most)?;
        if truncated && strict {
            let message = format!("text {} has more tokens than the model's {most}; shorten it", i + 1);
            return Err(Refusal::invalid("inputs", message));
        }
        cut += usize::from(truncated);
        let unit =
            Unit { ids: encoding.ids().to_vec(), types: encoding.type_ids().to_vec(), requested: Vec::new() };
        jobs.push(Box::new(RawJob::new(unit, width)));
    }
    Ok(Step::Run(Run {
        model: Arc::clone(model),
        lane: Arc::clone(&model.encoder),
        inputs: jobs.len(),
        jobs,
        deadline: None,
        render: Box::new(move |found| {
            let rows = |found| match found {
                Found::Rows(rows, width) => {
                    Ok(rows.chunks(width.max(1)).map(<[f32]>::to_vec).collect::<Vec<_>>())
                }
                _ => Err(shape::mixed_up()),
            };
            let all = found.into_iter().map(rows).collect::<Result<Vec<_>>>()?;
            Ok(Reply::json(&all)?.truncated(cut))
        }),
    }))
}

/// `POST /embed_sparse`
pub(crate) fn embed_sparse(call: &Call) -> Result<Step> {
    let model = call.model_for(Task::Embed)?;
    let message = format!(
        "`{}` was not trained for sparse vectors, which need a masked-LM head of that kind",
        model.name
    );
    Err(Refusal::new(Kind::NoModel, "wrong_task", message))
}

/// The inputs of `/predict`: a text, a pair as a flat list, or a list of one-element lists and pairs.
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
                f.write_str("a text, a pair of texts, or a list of lists of one or two texts")
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
                // A flat list of two texts is one pair.
                let mut texts = all
                    .into_iter()
                    .map(|texts| if texts.is_list { None } else { texts.all.into_iter().next() });
                match (texts.next().flatten(), texts.next().flatten(), texts.next()) {
                    (Some(first), Some(second), None) => {
                        let items = vec![Item { first, second: Some(second) }];
                        Ok(PredictInputs { items, is_list: false })
                    }
                    _ => Err(wrong(texts.len())),
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

#[derive(Deserialize)]
struct SimilarityRequest {
    inputs: SimilarityInputs,
    #[serde(default)]
    parameters: SimilarityParameters,
}

/// A sentence and those to compare it with.
#[derive(Deserialize)]
pub(super) struct SimilarityInputs {
    source_sentence: String,
    sentences: Vec<String>,
}

#[derive(Deserialize, Default)]
struct SimilarityParameters {
    truncate: Option<bool>,
    truncation_direction: Option<String>,
    prompt_name: Option<String>,
}

/// `POST /similarity`
pub(crate) fn similarity(call: &Call) -> Result<Step> {
    let SimilarityRequest { inputs, parameters } = call.json()?;
    check_common(parameters.truncation_direction.as_deref(), parameters.prompt_name.as_deref())?;
    let model = embedding_model(call)?;
    similarities(call, model, inputs, is_strict(call, parameters.truncate))
}

/// Makes the step that compares sentences by the cosines of their vectors.
pub(super) fn similarities(
    call: &Call,
    model: &Arc<Served>,
    inputs: SimilarityInputs,
    strict: bool,
) -> Result<Step> {
    call.check_texts("sentences", inputs.sentences.iter().map(String::as_str))?;
    let all = std::iter::once(inputs.source_sentence).chain(inputs.sentences).collect();
    let texts = Texts { all, is_list: true };
    let options = EmbedOptions::default();
    shape::embed(call, model, "inputs", &texts, (&options, strict), |vectors, _| {
        let truncated = count_truncated(vectors.iter().map(|vector| &vector.truncated));
        let cosines: Vec<f32> = match vectors.split_first() {
            Some((source, others)) => others.iter().map(|other| source.cosine(other)).collect(),
            None => Vec::new(),
        };
        Ok(Reply::json(&cosines)?.truncated(truncated))
    })
}

#[derive(Deserialize)]
struct TokenizeRequest {
    inputs: Texts,
    #[serde(default = "yes")]
    add_special_tokens: bool,
    prompt_name: Option<String>,
}

/// Returns the model whose tokenizer is meant.
fn any_model(call: &Call) -> Result<&Arc<Served>> {
    call.model_for(Task::Embed).or_else(|_| call.model_for(Task::Classify))
}

/// `POST /tokenize`
pub(crate) fn tokenize(call: &Call) -> Result<Step> {
    let request: TokenizeRequest = call.json()?;
    check_common(None, request.prompt_name.as_deref())?;
    call.check_texts("inputs", request.inputs.iter())?;
    let model = any_model(call)?;
    #[derive(Serialize)]
    struct Token {
        id: u32,
        text: String,
        special: bool,
        start: Option<usize>,
        stop: Option<usize>,
    }
    let line = |text: &str| -> Result<Vec<Token>> {
        let encoding: Encoding = model.tokenizer().encode(text)?;
        let places = offsets(&encoding, &[text], OffsetUnit::Char)?;
        let token = |i: usize| {
            let added = encoding.sequence(i).is_none();
            if added && !request.add_special_tokens {
                return None;
            }
            Some(Token {
                id: encoding.ids()[i],
                text: encoding.token(i).unwrap_or_default().to_owned(),
                special: encoding.is_special(i),
                start: (!added).then_some(places[i].0),
                stop: (!added).then_some(places[i].1),
            })
        };
        Ok((0..encoding.len()).filter_map(token).collect())
    };
    let lines = request.inputs.iter().map(line).collect::<Result<Vec<_>>>()?;
    Reply::json(&lines).map(Step::Reply)
}

#[derive(Deserialize)]
struct DecodeRequest {
    ids: Ids,
    #[serde(default = "yes")]
    skip_special_tokens: bool,
}

/// One list of ids, or a list of them.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a list of token ids, or a list of such lists")]
enum Ids {
    One(Vec<u32>),
    All(Vec<Vec<u32>>),
}

/// `POST /decode`
pub(crate) fn decode(call: &Call) -> Result<Step> {
    let DecodeRequest { ids, skip_special_tokens } = call.json()?;
    let model = any_model(call)?;
    let all = match ids {
        Ids::One(ids) => vec![ids],
        Ids::All(all) => all,
    };
    let line = |ids: &Vec<u32>| {
        let special = model.tokenizer().special_ids();
        let roles = [special.pad, special.mask, Some(special.cls), Some(special.sep), Some(special.unk)];
        let is_special = |id: u32| roles.contains(&Some(id));
        let mut text = String::new();
        for &id in ids.iter().filter(|&&id| !(skip_special_tokens && is_special(id))) {
            let token = model.tokenizer().id_to_token(id).ok_or_else(|| {
                let most = model.tokenizer().vocab_size();
                Refusal::invalid("ids", format!("there is no token {id}; the vocabulary has {most}"))
            })?;
            match token.strip_prefix("##") {
                Some(rest) => text.push_str(rest),
                None => {
                    // As `transformers` cleans up: no blank in front of these.
                    let is_mark = matches!(token, "." | "?" | "!" | ",");
                    if !text.is_empty() && !is_mark {
                        text.push(' ');
                    }
                    text.push_str(token);
                }
            }
        }
        Ok(text)
    };
    Reply::json(&all.iter().map(line).collect::<Result<Vec<_>>>()?).map(Step::Reply)
}

/// `GET /info`
pub(crate) fn info(call: &Call) -> Result<Step> {
    let model = any_model(call)?;
    #[derive(Serialize)]
    struct Info<'a> {
        model_id: &'a str,
        model_sha: &'a str,
        model_dtype: &'a str,
        served_model_name: &'a str,
        model_type: ModelType,
        max_concurrent_requests: usize,
        max_input_length: usize,
        max_batch_tokens: usize,
        max_batch_requests: Option<usize>,
        max_client_batch_size: usize,
        auto_truncate: bool,
        tokenization_workers: usize,
        version: &'a str,
        sha: Option<&'a str>,
        docker_label: Option<&'a str>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "lowercase")]
    enum ModelType {
        Classifier(Labels),
        Embedding(Pooled),
        Reranker(Labels),
    }
    #[derive(Serialize)]
    struct Labels {
        id2label: Map<String, serde_json::Value>,
        label2id: Map<String, serde_json::Value>,
    }
    #[derive(Serialize)]
    struct Pooled {
        pooling: serde_json::Value,
    }
    let labels = &model.config().labels;
    let both = || Labels {
        id2label: labels
            .iter()
            .enumerate()
            .map(|(i, label)| (i.to_string(), label.as_str().into()))
            .collect(),
        label2id: labels.iter().enumerate().map(|(i, label)| (label.clone(), i.into())).collect(),
    };
    let model_type = match model.task {
        Task::Classify if labels.len() == 1 => ModelType::Reranker(both()),
        Task::Classify => ModelType::Classifier(both()),
        _ => {
            let pooling = model.embedder().poolings().first().map(serde_json::to_value);
            ModelType::Embedding(Pooled { pooling: pooling.and_then(Result::ok).unwrap_or_default() })
        }
    };
    Reply::json(&Info {
        model_id: &model.name,
        model_sha: &model.sha,
        model_dtype: model.precision(),
        served_model_name: &model.name,
        model_type,
        max_concurrent_requests: call.config.max_connections,
        max_input_length: model.max_len(),
        max_batch_tokens: call.config.budget_tokens,
        max_batch_requests: None,
        max_client_batch_size: call.config.max_inputs,
        auto_truncate: !call.config.strict,
        tokenization_workers: call.config.io_threads,
        version: env!("CARGO_PKG_VERSION"),
        sha: None,
        docker_label: None,
    })
    .map(Step::Reply)
}
