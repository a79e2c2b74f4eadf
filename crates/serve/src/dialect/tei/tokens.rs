//! `/tokenize`, `/decode` and `/info`.

use std::sync::Arc;

use mobilebert::{Encoding, OffsetUnit};
use serde::{Deserialize, Serialize};
use serde_json::Map;

use super::{check_common, yes};
use crate::call::{Call, Reply, Step};
use crate::dialect::native::offsets;
use crate::dialect::shape::Texts;
use crate::error::{Refusal, Result};
use crate::models::{Served, Task};

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
#[serde(untagged, expecting = "expected a list of token ids, or a list of such lists")]
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
        max_input_length: model.max_task_len(),
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
