//! The messages of gRPC: tensors with elements of their own or in the form of the extension for binary
//! tensors.

use std::collections::HashMap;
use std::time::Duration;

use super::compute::{Made, compute};
use super::tensor::{Elements, Output, Tensor, Values, from_binary, unknown};
use super::{Described, PLATFORM, SERVER, VERSION, extensions, tensors_of, versioned};
use crate::call::{Call, Step};
use crate::config::Config;
use crate::error::{Refusal, Result};
use crate::messages::infer_parameter::ParameterChoice;
use crate::messages::model_infer_request::InferInputTensor;
use crate::messages::model_infer_response::InferOutputTensor;
use crate::messages::model_metadata_response::TensorMetadata;
use crate::messages::repository_index_response::ModelIndex;
use crate::messages::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse, ModelMetadataResponse,
    RepositoryIndexResponse, ServerMetadataResponse,
};

/// The number of the field in [`ModelInferRequest`] that holds tensors, and of that with the outputs asked
/// for.
const TENSOR_FIELDS: [u64; 2] = [5, 6];

/// The most tensors, and the most outputs, of a request. The protocol's models have three at most, and a
/// tensor takes a hundred times as much memory as the two bytes that an empty one has on the wire.
const MOST_TENSORS: usize = 64;

/// Checks the bytes of a [`ModelInferRequest`] before memory is taken for its tensors.
///
/// # Errors
/// [`Kind::Malformed`](crate::error::Kind::Malformed) for bytes that are no message and for too many tensors.
pub(crate) fn check_size(message: &[u8]) -> Result<()> {
    let broken = || Refusal::malformed("the message ends within a field, or has one of an unknown kind");
    let (mut rest, mut counts) = (message, [0; 2]);
    while !rest.is_empty() {
        let key = varint(&mut rest).ok_or_else(broken)?;
        let skipped = match key & 7 {
            0 => varint(&mut rest).map(|_| 0),
            1 => Some(8),
            2 => varint(&mut rest),
            5 => Some(4),
            _ => None,
        };
        let skipped = skipped.and_then(|length| usize::try_from(length).ok()).ok_or_else(broken)?;
        rest = rest.get(skipped..).ok_or_else(broken)?;
        for (count, field) in counts.iter_mut().zip(TENSOR_FIELDS) {
            *count += usize::from(key >> 3 == field);
            if *count > MOST_TENSORS {
                let message = format!("there are more than {MOST_TENSORS} tensors; send rows of one tensor");
                return Err(Refusal::malformed(message));
            }
        }
    }
    Ok(())
}

/// Takes a number of seven bits a byte from the front.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..10 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(7 * place)?;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// `ModelInfer`. The reply comes with the number of texts whose end was not read.
pub(crate) fn infer(call: &Call, request: ModelInferRequest) -> Result<Step<(ModelInferResponse, usize)>> {
    let model = versioned(call)?;
    let ModelInferRequest { id, parameters, inputs, outputs, raw_input_contents: raw, .. } = request;
    let is_raw = !raw.is_empty();
    if is_raw && raw.len() != inputs.len() {
        let (raw, inputs) = (raw.len(), inputs.len());
        let message =
            format!("`raw_input_contents` has {raw} entries for {inputs} inputs; expected one for each");
        return Err(Refusal::invalid("raw_input_contents", message));
    }
    let mut raw = raw.into_iter();
    let tensors = inputs.into_iter().map(|input| tensor(input, raw.next())).collect::<Result<Vec<_>>>()?;
    let wanted: Vec<String> = outputs.into_iter().map(|output| output.name).collect();
    let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let run = compute(call, model, &tensors, &names)?;
    let name = model.name.clone();
    let mut run = run.map(move |made| Ok((respond(&made, (name, id), &wanted, is_raw)?, made.truncated)));
    run.deadline = timeout(&parameters)?;
    Ok(Step::Run(run))
}

fn tensor(input: InferInputTensor, raw: Option<Vec<u8>>) -> Result<Tensor> {
    let InferInputTensor { name, datatype, shape, contents, .. } = input;
    let sizes = shape.iter().map(|&size| u64::try_from(size)).collect::<Result<Vec<_>, _>>();
    let sizes = sizes.map_err(|_| {
        Refusal::invalid(
            "inputs",
            format!("tensor {name:?} has shape {shape:?}; expected sizes of 0 or more"),
        )
    })?;
    let contents = contents.filter(|contents| *contents != InferTensorContents::default());
    Tensor::new(name, &sizes, |count| match (raw, contents) {
        (Some(_), Some(_)) => Err("has both `contents` and `raw_input_contents`".to_owned()),
        (Some(bytes), None) => from_binary(&datatype, &bytes, count),
        (None, contents) => from_contents(&datatype, contents.unwrap_or_default()),
    })
}

/// Takes the elements from the field that belongs to the datatype.
fn from_contents(datatype: &str, mut contents: InferTensorContents) -> Result<Elements, String> {
    let elements = match datatype {
        "BYTES" => {
            let text = |(i, bytes)| {
                String::from_utf8(bytes).map_err(|error| {
                    let at = error.utf8_error().valid_up_to();
                    format!("is not UTF-8 at byte {at} of element {i}")
                })
            };
            let texts = std::mem::take(&mut contents.bytes_contents);
            Elements::Texts(texts.into_iter().enumerate().map(text).collect::<Result<_, _>>()?)
        }
        "INT64" => Elements::Integers(std::mem::take(&mut contents.int64_contents)),
        "INT32" => {
            let numbers = std::mem::take(&mut contents.int_contents);
            Elements::Integers(numbers.into_iter().map(i64::from).collect())
        }
        other => return Err(unknown(other)),
    };
    match contents == InferTensorContents::default() {
        true => Ok(elements),
        false => Err(format!("has elements in a field of `contents` that is not the one for {datatype}")),
    }
}

/// Reads the parameter `timeout`, in microseconds. 0 is none.
fn timeout(parameters: &HashMap<String, InferParameter>) -> Result<Option<Duration>> {
    let Some(parameter) = parameters.get("timeout") else { return Ok(None) };
    let micros = match &parameter.parameter_choice {
        Some(ParameterChoice::Int64Param(number)) => u64::try_from(*number).ok(),
        Some(ParameterChoice::Uint64Param(number)) => Some(*number),
        Some(ParameterChoice::StringParam(text)) => text.parse().ok(),
        _ => None,
    };
    match micros {
        Some(0) => Ok(None),
        Some(micros) => Ok(Some(Duration::from_micros(micros))),
        None => Err(Refusal::invalid("parameters", "`timeout` is no number of microseconds")),
    }
}

fn respond(
    made: &Made,
    (model_name, id): (String, String),
    wanted: &[String],
    is_raw: bool,
) -> Result<ModelInferResponse> {
    let chosen: Vec<&Output> = match wanted {
        [] => made.outputs.iter().collect(),
        names => names.iter().map(|name| made.output(name)).collect::<Result<_>>()?,
    };
    let mut raw_output_contents = Vec::new();
    let output = |output: &Output| {
        let contents = match is_raw {
            true => {
                let mut bytes = Vec::new();
                output.append_to(&mut bytes);
                raw_output_contents.push(bytes);
                None
            }
            false => Some(contents(&output.values)),
        };
        let shape = output.shape.iter().map(|&size| i64::try_from(size).unwrap_or(i64::MAX)).collect();
        let (name, datatype) = (output.name.to_owned(), output.datatype().to_owned());
        InferOutputTensor { name, datatype, shape, parameters: HashMap::new(), contents }
    };
    let outputs = chosen.into_iter().map(output).collect();
    let (model_version, parameters) = (VERSION.to_owned(), HashMap::new());
    Ok(ModelInferResponse { model_name, model_version, id, parameters, outputs, raw_output_contents })
}

fn contents(values: &Values) -> InferTensorContents {
    let mut contents = InferTensorContents::default();
    match values {
        Values::Texts(texts) => {
            contents.bytes_contents = texts.iter().map(|text| text.clone().into_bytes()).collect();
        }
        Values::Floats(numbers) => contents.fp32_contents.clone_from(numbers),
        Values::Integers(numbers) => contents.int64_contents.clone_from(numbers),
    }
    contents
}

/// `ServerMetadata`
pub(crate) fn server(config: &Config) -> ServerMetadataResponse {
    ServerMetadataResponse {
        name: SERVER.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: extensions(config).into_iter().map(str::to_owned).collect(),
    }
}

/// `ModelMetadata`
pub(crate) fn model(call: &Call) -> Result<ModelMetadataResponse> {
    let model = versioned(call)?;
    let tensor = |tensor: Described| {
        let Described { name, datatype, shape } = tensor;
        TensorMetadata { name: name.to_owned(), datatype: datatype.to_owned(), shape }
    };
    let (inputs, outputs) = tensors_of(model);
    Ok(ModelMetadataResponse {
        name: model.name.clone(),
        versions: vec![VERSION.to_owned()],
        platform: PLATFORM.to_owned(),
        inputs: inputs.into_iter().map(tensor).collect(),
        outputs: outputs.into_iter().map(tensor).collect(),
    })
}

/// `RepositoryIndex`: the models, each with the reason why it is not served.
pub(crate) fn index(only_ready: bool, models: Vec<(String, Option<String>)>) -> RepositoryIndexResponse {
    let models = models.into_iter().filter(|(_, reason)| !only_ready || reason.is_none());
    let index = |(name, reason): (String, Option<String>)| ModelIndex {
        name,
        version: VERSION.to_owned(),
        state: if reason.is_none() { "READY" } else { "UNAVAILABLE" }.to_owned(),
        reason: reason.unwrap_or_default(),
    };
    RepositoryIndexResponse { models: models.map(index).collect() }
}

/// Checks that the model exists in that version.
pub(crate) fn ready(call: &Call) -> Result<()> {
    versioned(call).map(drop)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::messages::model_infer_request::InferRequestedOutputTensor;

    #[test]
    fn a_message_of_many_tensors_takes_no_memory() {
        let of = |inputs, outputs| ModelInferRequest {
            model_name: "a".to_owned(),
            inputs: vec![InferInputTensor::default(); inputs],
            outputs: vec![InferRequestedOutputTensor::default(); outputs],
            raw_input_contents: vec![vec![1, 2, 3]],
            ..ModelInferRequest::default()
        };
        assert!(check_size(&of(64, 64).encode_to_vec()).is_ok());
        assert!(check_size(&of(65, 0).encode_to_vec()).unwrap_err().message.contains("64 tensors"));
        assert!(check_size(&of(0, 65).encode_to_vec()).is_err());
        // Cut anywhere, a message is one that ends within a field, or a shorter one.
        let whole = of(1, 1).encode_to_vec();
        for end in 0..whole.len() {
            let _ = check_size(&whole[..end]);
        }
        for broken in [&[0x80][..], &[0x0a], &[0x0a, 5, 1], &[0x0b], &[0x0d, 1], &[0xff; 11]] {
            assert!(check_size(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn elements_are_in_the_field_of_their_datatype() {
        let input = |datatype: &str, shape: &[i64], contents| InferInputTensor {
            name: "a".to_owned(),
            datatype: datatype.to_owned(),
            shape: shape.to_vec(),
            contents: Some(contents),
            ..InferInputTensor::default()
        };
        let texts = |texts: &[&[u8]]| InferTensorContents {
            bytes_contents: texts.iter().map(|text| text.to_vec()).collect(),
            ..InferTensorContents::default()
        };
        let longs = InferTensorContents { int64_contents: vec![1, 2], ..InferTensorContents::default() };
        let good = tensor(input("BYTES", &[2], texts(&[b"x", "é".as_bytes()])), None).unwrap();
        assert_eq!(good.elements, Elements::Texts(vec!["x".to_owned(), "é".to_owned()]));
        let good = tensor(input("INT64", &[1, 2], longs.clone()), None).unwrap();
        assert_eq!(good.elements, Elements::Integers(vec![1, 2]));
        for (bad, raw, expected) in [
            (input("INT32", &[2], longs.clone()), None, "not the one for INT32"),
            (input("INT64", &[3], longs.clone()), None, "2 elements"),
            (input("INT64", &[-1], longs.clone()), None, "0 or more"),
            (input("INT64", &[2], longs.clone()), Some(vec![0; 16]), "both"),
            (input("FP32", &[2], longs), None, "datatype"),
            (input("BYTES", &[1], texts(&[b"\xff"])), None, "UTF-8 at byte 0 of element 0"),
            (input("INT64", &[1], InferTensorContents::default()), Some(vec![0; 7]), "7 bytes"),
            (input("INT64", &[1], InferTensorContents::default()), None, "0 elements"),
        ] {
            let problem = tensor(bad, raw).unwrap_err().message;
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
