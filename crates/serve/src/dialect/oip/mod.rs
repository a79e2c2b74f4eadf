//! `/v2`, the Open Inference Protocol, as KServe's and Triton's clients speak it: texts or token ids as
//! tensors, in JSON or in binary.

mod compute;
#[cfg(feature = "grpc")]
pub(crate) mod grpc;
mod ids;
mod infer;
pub(crate) mod repository;
mod tensor;

use serde::Serialize;

use crate::call::{Call, Reply, Step};
use crate::config::Config;
use crate::error::{Kind, Refusal, Result};
use crate::models::{Served, Task};
pub(crate) use infer::infer;

/// The only version of each model. The weights have a hash of their own.
const VERSION: &str = "1";

/// What runs the models, and what their weights are, in the protocol's form.
const PLATFORM: &str = "mobilebert_safetensors";

/// The name of the server.
const SERVER: &str = "mobilebert-serve";

/// Writes a refusal.
pub(crate) fn refuse(refusal: &Refusal) -> Reply {
    #[derive(Serialize)]
    struct Body<'a> {
        error: &'a str,
    }
    Reply::error(refusal.kind.status(), &Body { error: &refusal.message })
}

/// `GET /v2/health/live`
pub(crate) fn live(live: bool) -> Reply {
    #[derive(Serialize)]
    struct Body {
        live: bool,
    }
    Reply::error(if live { 200 } else { 503 }, &Body { live })
}

/// `GET /v2/health/ready`
pub(crate) fn ready(ready: bool) -> Reply {
    #[derive(Serialize)]
    struct Body {
        ready: bool,
    }
    Reply::error(if ready { 200 } else { 503 }, &Body { ready })
}

/// `GET /v2`
pub(crate) fn server(call: &Call) -> Result<Step> {
    #[derive(Serialize)]
    struct Body {
        name: &'static str,
        version: &'static str,
        extensions: Vec<&'static str>,
    }
    let (name, version) = (SERVER, env!("CARGO_PKG_VERSION"));
    Reply::json(&Body { name, version, extensions: extensions(&call.config) }).map(Step::Reply)
}

fn extensions(config: &Config) -> Vec<&'static str> {
    let repository = config.admin_key_file.is_some().then_some("model_repository");
    std::iter::once("binary_tensor_data").chain(repository).collect()
}

/// Finds the model of the path, in the version that it has.
fn versioned(call: &Call) -> Result<&std::sync::Arc<Served>> {
    let model = call.model()?;
    match call.param("version") {
        None | Some(VERSION) => Ok(model),
        Some(_) => {
            let message = format!("`{}` has no such version; expected {VERSION}", model.name);
            Err(Refusal::new(Kind::NoModel, "unknown_version", message))
        }
    }
}

/// `GET /v2/models/{model}/ready`
pub(crate) fn model_ready(call: &Call) -> Result<Step> {
    #[derive(Serialize)]
    struct Body<'a> {
        name: &'a str,
        ready: bool,
    }
    Reply::json(&Body { name: &versioned(call)?.name, ready: true }).map(Step::Reply)
}

/// The description of a tensor.
#[derive(Serialize)]
struct Described {
    name: &'static str,
    datatype: &'static str,
    shape: Vec<i64>,
}

fn described(name: &'static str, datatype: &'static str, shape: &[i64]) -> Described {
    Described { name, datatype, shape: shape.to_vec() }
}

/// `GET /v2/models/{model}`
pub(crate) fn model(call: &Call) -> Result<Step> {
    #[derive(Serialize)]
    struct Body<'a> {
        name: &'a str,
        versions: [&'static str; 1],
        platform: &'static str,
        inputs: Vec<Described>,
        outputs: Vec<Described>,
    }
    let model = versioned(call)?;
    let (inputs, outputs) = tensors_of(model);
    Reply::json(&Body { name: &model.name, versions: [VERSION], platform: PLATFORM, inputs, outputs })
        .map(Step::Reply)
}

/// Describes the tensors of a model in text mode.
fn tensors_of(model: &Served) -> (Vec<Described>, Vec<Described>) {
    let labels = model.config().labels.len() as i64;
    let text = || vec![described("text", "BYTES", &[-1])];
    match model.task {
        Task::Answer => (
            vec![described("question", "BYTES", &[-1]), described("context", "BYTES", &[-1])],
            vec![
                described("answer", "BYTES", &[-1]),
                described("score", "FP32", &[-1]),
                described("start", "INT64", &[-1]),
                described("end", "INT64", &[-1]),
            ],
        ),
        Task::Classify => {
            (text(), vec![described("label", "BYTES", &[-1]), described("scores", "FP32", &[-1, labels])])
        }
        Task::Tag => (text(), vec![described("entities", "BYTES", &[-1])]),
        Task::FillMask => (text(), vec![described("fills", "BYTES", &[-1])]),
        Task::Embed => {
            let width = model.embedder().dimensions() as i64;
            (text(), vec![described("embedding", "FP32", &[-1, width])])
        }
    }
}
