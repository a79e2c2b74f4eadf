//! `/v1`, as OpenAI's clients speak it: vectors as numbers or in base64, and the list of models.

use std::sync::Arc;

use mobilebert::EmbedOptions;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::shape::{self, Texts, base64, count_truncated};
use crate::call::{Call, Reply, Step};
use crate::error::{Kind, Refusal, Result, short};
use crate::models::Served;

/// Writes a refusal.
pub(crate) fn refuse(refusal: &Refusal) -> Reply {
    #[derive(Serialize)]
    struct Body<'a> {
        error: Inner<'a>,
    }
    #[derive(Serialize)]
    struct Inner<'a> {
        message: &'a str,
        r#type: &'a str,
        param: Option<&'a str>,
        code: &'a str,
    }
    let (kind, code) = match refusal.kind {
        Kind::Unauthorized => ("invalid_request_error", "invalid_api_key"),
        Kind::NoModel => ("invalid_request_error", "model_not_found"),
        Kind::Overloaded => ("rate_limit_error", "rate_limit_exceeded"),
        Kind::Internal | Kind::Unavailable | Kind::Late => ("server_error", refusal.code),
        _ => ("invalid_request_error", refusal.code),
    };
    let error = Inner { message: &refusal.message, r#type: kind, param: refusal.param.as_deref(), code };
    Reply::error(refusal.kind.status(), &Body { error })
}

#[derive(Deserialize)]
struct EmbeddingsRequest {
    input: Box<RawValue>,
    model: String,
    encoding_format: Option<String>,
    dimensions: Option<usize>,
}

/// Reads the texts. Lists of token ids are refused: those that clients send belong to another vocabulary, and
/// would silently become the vectors of other texts.
fn texts(input: &RawValue) -> Result<Texts> {
    let is_number = |c: char| c.is_ascii_digit() || c == '-';
    let begin = input.get().trim_start_matches(|c: char| c == '[' || c.is_whitespace());
    if input.get().starts_with('[') && begin.starts_with(is_number) {
        let message = "`input` holds token ids, whose vocabulary is not this model's; send texts (with \
                       LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False))";
        return Err(Refusal::invalid("input", message));
    }
    serde_json::from_str(input.get())
        .map_err(|error| Refusal::malformed(format!("`input` cannot be read: {error}")).of("input"))
}

/// `POST /v1/embeddings`
pub(crate) fn embeddings(call: &Call) -> Result<Step> {
    let request: EmbeddingsRequest = call.json()?;
    let model = call.model_of(&request.model)?;
    let texts = texts(&request.input)?;
    let in_base64 = match request.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let other = short(other);
            let message = format!("`encoding_format` is {other:?}; expected float or base64");
            return Err(Refusal::invalid("encoding_format", message));
        }
    };
    if !model.embedder().is_trained_for_embeddings() {
        let message = format!("`{}` was not trained for embeddings; choose another model", model.name);
        return Err(Refusal::new(Kind::NoModel, "wrong_task", message).of("model"));
    }
    let dimensions = shape::check_dimensions(call, model, request.dimensions)?;
    let name = model.name.clone();
    // Vectors of this dialect have length 1, whatever the folder says.
    let options = EmbedOptions::with(|o| o.normalize = Some(true));
    shape::embed(call, model, "input", &texts, (&options, call.config.strict), move |mut vectors, tokens| {
        #[derive(Serialize)]
        struct Body {
            object: &'static str,
            data: Vec<Entry>,
            model: String,
            usage: Usage,
        }
        #[derive(Serialize)]
        struct Entry {
            object: &'static str,
            index: usize,
            embedding: Vector,
        }
        #[derive(Serialize)]
        #[serde(untagged)]
        enum Vector {
            Numbers(Vec<f32>),
            Base64(String),
        }
        #[derive(Serialize)]
        struct Usage {
            prompt_tokens: usize,
            total_tokens: usize,
        }
        let truncated = count_truncated(vectors.iter().map(|vector| &vector.truncated));
        if let Some(dimensions) = dimensions {
            vectors.iter_mut().for_each(|vector| shape::cut(&mut vector.embedding, dimensions));
        }
        let entry = |(index, vector): (usize, mobilebert::Embedding)| Entry {
            object: "embedding",
            index,
            embedding: match in_base64 {
                true => Vector::Base64(base64(&vector.embedding)),
                false => Vector::Numbers(vector.embedding),
            },
        };
        let data = vectors.into_iter().enumerate().map(entry).collect();
        let usage = Usage { prompt_tokens: tokens, total_tokens: tokens };
        Ok(Reply::json(&Body { object: "list", data, model: name, usage })?.truncated(truncated))
    })
    .map(Step::Run)
}

#[derive(Serialize)]
struct ModelEntry<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

fn entry(model: &Arc<Served>) -> ModelEntry<'_> {
    // Models have no date, and clients want a number.
    ModelEntry { id: &model.name, object: "model", created: 0, owned_by: "mobilebert" }
}

/// `GET /v1/models`
pub(crate) fn models(call: &Call) -> Result<Step> {
    #[derive(Serialize)]
    struct Body<'a> {
        object: &'static str,
        data: Vec<ModelEntry<'a>>,
    }
    let data = call.models.all().iter().map(entry).collect();
    Reply::json(&Body { object: "list", data }).map(Step::Reply)
}

/// `GET /v1/models/{model}`
pub(crate) fn model(call: &Call) -> Result<Step> {
    Reply::json(&entry(call.model()?)).map(Step::Reply)
}
