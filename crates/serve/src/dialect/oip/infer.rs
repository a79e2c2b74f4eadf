//! `POST /v2/models/{model}/infer`: the body, in JSON and with the extension for binary tensors.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::compute::{Made, compute};
use super::tensor::{Given, Written};
use super::{VERSION, versioned};
use crate::call::{Call, JSON, Reply, Step, json};
use crate::dialect::shape::Object;
use crate::error::{Refusal, Result};

/// How long the JSON part of a body or of an answer is.
const HEADER: &str = "inference-header-content-length";

#[derive(Deserialize)]
struct InferRequest {
    id: Option<String>,
    parameters: Option<Map<String, Value>>,
    inputs: Vec<Object<Given>>,
    outputs: Option<Vec<Object<Wanted>>>,
}

/// An output that the client asks for.
#[derive(Deserialize)]
struct Wanted {
    name: String,
    parameters: Option<Map<String, Value>>,
}

/// The form of the answer.
struct Form {
    model: String,
    id: Option<String>,
    /// The outputs that are asked for, and whether each is binary. Without any, all of them.
    wanted: Vec<(String, bool)>,
    binary: bool,
}

fn is_true(parameters: Option<&Map<String, Value>>, name: &str) -> Option<bool> {
    parameters?.get(name)?.as_bool()
}

/// `POST /v2/models/{model}/infer`
pub(crate) fn infer(call: &Call) -> Result<Step> {
    let (head, mut binary) = split(call)?;
    let request: InferRequest = json(&head)?;
    let model = versioned(call)?;
    let tensors = request.inputs.into_iter().map(|Object(given)| given.read(&mut binary));
    let tensors = tensors.collect::<Result<Vec<_>>>()?;
    if !binary.is_empty() {
        return Err(Refusal::malformed(format!(
            "{} bytes behind the last tensor belong to none",
            binary.len()
        )));
    }
    let all_binary = is_true(request.parameters.as_ref(), "binary_data_output").unwrap_or(false);
    let wanted = request.outputs.unwrap_or_default().into_iter().map(|Object(wanted)| {
        let binary = is_true(wanted.parameters.as_ref(), "binary_data").unwrap_or(all_binary);
        (wanted.name, binary)
    });
    let form =
        Form { model: model.name.clone(), id: request.id, wanted: wanted.collect(), binary: all_binary };
    let names: Vec<&str> = form.wanted.iter().map(|(name, _)| name.as_str()).collect();
    let mut run = compute(call, model, &tensors, &names)?.map(move |made| form.write(&made));
    run.deadline = timeout(request.parameters.as_ref())?;
    Ok(Step::Run(run))
}

/// Splits a body into its JSON and its binary part.
fn split(call: &Call) -> Result<(Bytes, Bytes)> {
    let Some(value) = call.headers.get(HEADER) else { return Ok((call.body.clone(), Bytes::new())) };
    let length = value.to_str().ok().and_then(|value| value.parse::<usize>().ok());
    let Some(length) = length.filter(|&length| length <= call.body.len()) else {
        let message =
            format!("{HEADER} is {value:?}; expected at most the {} bytes of the body", call.body.len());
        return Err(Refusal::malformed(message));
    };
    let mut head = call.body.clone();
    let binary = head.split_off(length);
    Ok((head, binary))
}

/// Reads the parameter `timeout`, in microseconds. 0 is none.
fn timeout(parameters: Option<&Map<String, Value>>) -> Result<Option<Duration>> {
    let Some(value) = parameters.and_then(|parameters| parameters.get("timeout")) else { return Ok(None) };
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    match number {
        Some(0) => Ok(None),
        Some(micros) => Ok(Some(Duration::from_micros(micros))),
        None => Err(Refusal::invalid("parameters", format!("`timeout` is {value}; expected microseconds"))),
    }
}

impl Form {
    /// Writes the outputs that are asked for.
    fn write(&self, made: &Made) -> Result<Reply> {
        #[derive(Serialize)]
        struct Body<'a> {
            model_name: &'a str,
            model_version: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<&'a str>,
            outputs: Vec<Written<'a>>,
        }
        let mut binary = Vec::new();
        let mut written = Vec::new();
        if self.wanted.is_empty() {
            written
                .extend(made.outputs.iter().map(|output| output.write(self.binary.then_some(&mut binary))));
        }
        for (name, in_binary) in &self.wanted {
            written.push(made.output(name)?.write(in_binary.then_some(&mut binary)));
        }
        let (model_name, id) = (self.model.as_str(), self.id.as_deref());
        let body = Body { model_name, model_version: VERSION, id, outputs: written };
        let mut bytes = serde_json::to_vec(&body).map_err(|error| Refusal::internal(error.to_string()))?;
        if binary.is_empty() {
            return Ok(Reply::new(200, JSON, bytes).truncated(made.truncated));
        }
        let length = bytes.len();
        bytes.append(&mut binary);
        let mut reply = Reply::new(200, "application/octet-stream", bytes).truncated(made.truncated);
        reply.headers.push((HEADER, length.to_string()));
        Ok(reply)
    }
}
