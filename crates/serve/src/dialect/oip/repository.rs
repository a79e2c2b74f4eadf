//! `/v2/repository`: which models there are, and loading and unloading of one, for administrators.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::call::{Reply, json};
use crate::error::{Kind, Refusal, Result, short};

/// What an index is asked for.
#[derive(Deserialize, Default)]
struct IndexRequest {
    #[serde(default)]
    ready: bool,
}

/// What a change is asked with.
#[derive(Deserialize, Default)]
struct ChangeRequest {
    #[serde(default)]
    parameters: Map<String, Value>,
}

/// Reads a body that may be left away.
fn body<T: serde::de::DeserializeOwned + Default>(bytes: &[u8]) -> Result<T> {
    if bytes.trim_ascii().is_empty() { Ok(T::default()) } else { json(bytes) }
}

/// `POST /v2/repository/index`: the models, each with the reason why it is not served.
pub(crate) fn index(bytes: &[u8], models: &[(String, Option<String>)]) -> Result<Reply> {
    #[derive(Serialize)]
    struct Entry<'a> {
        name: &'a str,
        version: &'static str,
        state: &'static str,
        reason: &'a str,
    }
    let IndexRequest { ready } = body(bytes)?;
    let entries = models.iter().filter(|(_, reason)| !ready || reason.is_none());
    let entries: Vec<Entry<'_>> = entries
        .map(|(name, reason)| Entry {
            name,
            version: super::VERSION,
            state: if reason.is_none() { "READY" } else { "UNAVAILABLE" },
            reason: reason.as_deref().unwrap_or_default(),
        })
        .collect();
    Reply::json(&entries)
}

/// Checks what a model is to be loaded or unloaded with.
///
/// # Errors
/// Those of [`check_parameters`], and of a body that cannot be read.
pub(crate) fn check_change(bytes: &[u8]) -> Result<()> {
    let ChangeRequest { parameters } = body(bytes)?;
    check_parameters(parameters.keys())
}

/// Checks the names of parameters. Sources come from the settings only.
///
/// # Errors
/// [`Kind::Invalid`] for a configuration or files.
pub(crate) fn check_parameters<'p>(mut names: impl Iterator<Item = &'p String>) -> Result<()> {
    match names.find(|name| *name == "config" || name.starts_with("file:")) {
        Some(_) => Err(Refusal::invalid(
            "parameters",
            "a model is loaded from the source of --model only; leave `config` and files out",
        )),
        None => Ok(()),
    }
}

/// The reply to a change that was made.
pub(crate) fn changed() -> Reply {
    Reply::new(200, crate::call::JSON, "{}")
}

/// There is no such model in the settings.
pub(crate) fn unknown(name: &str, known: &[(String, Option<String>)]) -> Refusal {
    let known: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
    let name = short(name);
    let message =
        format!("there is no model {name:?} among the settings; expected one of {}", known.join(", "));
    Refusal::new(Kind::NoModel, "unknown_model", message).of("model")
}
