//! The routes of text-embeddings-inference, for the default model of each task or for one that the path
//! names.

mod classify;
mod tokens;

use std::sync::Arc;

use mobilebert::EmbedOptions;
use serde::{Deserialize, Serialize};

use super::shape::{self, Object, Texts, count_truncated};
use crate::call::{Call, Reply, Run, Step, check_numbers};
use crate::error::{Kind, Refusal, Result, short};
use crate::models::{Served, Task};
use crate::work::{AnyJob, Found, RawJob};
pub(crate) use classify::{predict, rerank};
pub(crate) use tokens::{decode, info, tokenize};

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
            "`truncation_direction` is {:?}; only the end of a text is cut here, expected \"Right\"",
            short(other)
        );
        return Err(Refusal::invalid("truncation_direction", message));
    }
    match prompt {
        Some(name) => {
            let name = short(name);
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
    let options = EmbedOptions::with(|o| o.normalize = Some(request.normalize));
    let strict = is_strict(call, request.truncate);
    shape::embed(call, model, "inputs", &request.inputs, (&options, strict), move |mut vectors, _| {
        let truncated = count_truncated(vectors.iter().map(|vector| &vector.truncated));
        if let Some(dimensions) = dimensions {
            vectors.iter_mut().for_each(|vector| shape::cut(&mut vector.embedding, dimensions));
        }
        let vectors: Vec<Vec<f32>> = vectors.into_iter().map(|vector| vector.embedding).collect();
        Ok(Reply::json(&vectors)?.truncated(truncated))
    })
    .map(Step::Run)
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
    let width = model.config().hidden_size;
    let (embeds, cut) =
        shape::embed_jobs(model, "inputs", &request.inputs, (&EmbedOptions::default(), strict))?;
    // The sequences are those of `/embed`, with the folder's prompt and lower case; only the rows differ.
    let mut tokens = 0;
    let raw = |job: AnyJob| -> Result<AnyJob> {
        let unit = job.unit(0).unwrap_or_default();
        let rows = unit.ids.len();
        tokens += rows;
        check_numbers("the vectors of all tokens", tokens, width)?;
        Ok(Box::new(RawJob::new(unit, width).of_rows(rows)))
    };
    let jobs = embeds.into_iter().map(raw).collect::<Result<Vec<AnyJob>>>()?;
    Ok(Step::Run(Run {
        model: Arc::clone(model),
        lane: Arc::clone(&model.encoder),
        inputs: jobs.len(),
        jobs,
        deadline: None,
        render: Box::new(move |found| {
            fn rows(found: &Found) -> Result<Vec<&[f32]>> {
                match found {
                    Found::Rows(rows, width) => Ok(rows.chunks((*width).max(1)).collect()),
                    _ => Err(shape::mixed_up()),
                }
            }
            let all = found.iter().map(rows).collect::<Result<Vec<_>>>()?;
            Ok(Reply::json(&all)?.truncated(cut))
        }),
    }))
}

/// `POST /embed_sparse`
pub(crate) fn embed_sparse(call: &Call) -> Result<Step> {
    // What would be wrong everywhere is named first.
    let EmbedRequest { .. } = call.json()?;
    let model = call.model_for(Task::Embed)?;
    let message = format!(
        "`{}` was not trained for sparse vectors, which need a masked-LM head of that kind",
        model.name
    );
    Err(Refusal::new(Kind::NoModel, "wrong_task", message))
}

#[derive(Deserialize)]
struct SimilarityRequest {
    inputs: Object<SimilarityInputs>,
    #[serde(default)]
    parameters: Object<SimilarityParameters>,
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
    let SimilarityRequest { inputs: Object(inputs), parameters: Object(parameters) } = call.json()?;
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
    .map(Step::Run)
}
