//! The messages of gRPC: tensors with elements of their own or in the form of the extension for binary
//! tensors.

use std::collections::HashMap;
use std::time::Duration;

use super::compute::{Made, compute};
use super::tensor::{Elements, Output, Tensor, Values, from_binary, shown, unknown};
use super::{Described, PLATFORM, SERVER, VERSION, extensions, tensors_of, versioned};
use crate::call::{Call, Run};
use crate::config::Config;
use crate::error::{Refusal, Result, short};
use crate::messages::infer_parameter::ParameterChoice;
use crate::messages::model_infer_request::InferInputTensor;
use crate::messages::model_infer_response::InferOutputTensor;
use crate::messages::model_metadata_response::TensorMetadata;
use crate::messages::repository_index_response::ModelIndex;
use crate::messages::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse, ModelMetadataResponse,
    RepositoryIndexResponse, ServerMetadataResponse,
};

/// The most tensors, the most outputs and the most raw contents of a request. The protocol's models have three
/// at most, and a tensor takes a hundred times as much memory as the two bytes that an empty one has on the wire.
const MOST_TENSORS: usize = 64;

/// The most parameters of a request and its tensors together.
const MOST_PARAMETERS: usize = 256;

/// The fields of a message that become more in memory than they are on the wire, and what to count them as.
const REQUEST: &[Field] = &[
    Field { number: 4, counts: Some(Counted::Parameters), within: &[] },
    Field { number: 5, counts: Some(Counted::Tensors), within: TENSOR },
    Field { number: 6, counts: Some(Counted::Outputs), within: OUTPUT },
    Field { number: 7, counts: Some(Counted::Raw), within: &[] },
];
const TENSOR: &[Field] = &[
    Field { number: 4, counts: Some(Counted::Parameters), within: &[] },
    Field { number: 5, counts: None, within: CONTENTS },
];
const OUTPUT: &[Field] = &[Field { number: 2, counts: Some(Counted::Parameters), within: &[] }];
const CONTENTS: &[Field] = &[Field { number: 8, counts: Some(Counted::Texts), within: &[] }];

/// A field of a message.
struct Field {
    number: u64,
    counts: Option<Counted>,
    /// Those of the message in it that count.
    within: &'static [Field],
}

/// What there may be so many of.
#[derive(Clone, Copy)]
enum Counted {
    Tensors,
    Outputs,
    Raw,
    Parameters,
    Texts,
}

/// Checks the bytes of a [`ModelInferRequest`] before memory is taken for what it holds.
///
/// # Errors
/// [`Kind::Malformed`](crate::error::Kind::Malformed) for bytes that are no message and for too many tensors,
/// and [`Kind::TooLarge`](crate::error::Kind::TooLarge) for more texts than `inputs` questions and contexts.
pub(crate) fn check_size(message: &[u8], inputs: usize) -> Result<()> {
    count_in(message, REQUEST, &mut [0; 5], inputs)
}

fn count_in(mut rest: &[u8], fields: &[Field], counts: &mut [usize; 5], inputs: usize) -> Result<()> {
    let broken = || Refusal::malformed("the message ends within a field, or has one of an unknown kind");
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
        let (value, after) = rest.split_at_checked(skipped).ok_or_else(broken)?;
        rest = after;
        // A field of another type is none of these, which reading the message finds out.
        let Some(field) = fields.iter().find(|field| field.number == key >> 3).filter(|_| key & 7 == 2)
        else {
            continue;
        };
        if let Some(what) = field.counts {
            let count = &mut counts[what as usize];
            *count += 1;
            check_count(what, *count, inputs)?;
        }
        if !field.within.is_empty() {
            count_in(value, field.within, counts, inputs)?;
        }
    }
    Ok(())
}

fn check_count(what: Counted, count: usize, inputs: usize) -> Result<()> {
    let (names, most) = match what {
        Counted::Tensors => ("tensors", MOST_TENSORS),
        Counted::Outputs => ("outputs", MOST_TENSORS),
        Counted::Raw => ("entries of `raw_input_contents`", MOST_TENSORS),
        Counted::Parameters => ("parameters", MOST_PARAMETERS),
        Counted::Texts => ("texts", inputs.saturating_mul(2)),
    };
    match (count <= most, what) {
        (true, _) => Ok(()),
        (false, Counted::Texts) => {
            let message = format!("the tensors have more texts than {inputs} rows can have (--max-inputs)");
            Err(Refusal::too_large(message).of("inputs"))
        }
        (false, _) => {
            let message = format!("there are more than {most} {names}; send rows of one tensor");
            Err(Refusal::malformed(message))
        }
    }
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
pub(crate) fn infer(call: &Call, request: ModelInferRequest) -> Result<Run<(ModelInferResponse, usize)>> {
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
    Ok(run)
}

fn tensor(input: InferInputTensor, raw: Option<Vec<u8>>) -> Result<Tensor> {
    let InferInputTensor { name, datatype, shape, contents, .. } = input;
    let sizes = shape.iter().map(|&size| u64::try_from(size)).collect::<Result<Vec<_>, _>>();
    let sizes = sizes.map_err(|_| {
        Refusal::invalid(
            "inputs",
            format!("tensor {:?} has shape {}; expected sizes of 0 or more", short(&name), shown(&shape)),
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
        let check = |request: &ModelInferRequest| check_size(&request.encode_to_vec(), 3);
        assert!(check(&of(64, 64)).is_ok());
        assert!(check(&of(65, 0)).unwrap_err().message.contains("64 tensors"));
        assert!(check(&of(0, 65)).unwrap_err().message.contains("64 outputs"));
        let raw = |count| ModelInferRequest { raw_input_contents: vec![vec![]; count], ..of(1, 0) };
        assert!(check(&raw(64)).is_ok());
        assert!(check(&raw(65)).unwrap_err().message.contains("64 entries"));
        let parameters = |count: i32| -> HashMap<_, _> {
            (0..count).map(|i| (i.to_string(), InferParameter::default())).collect()
        };
        let texts = |count| InferTensorContents { bytes_contents: vec![vec![]; count], ..Default::default() };
        let tensor = |count, texts| InferInputTensor {
            parameters: parameters(count),
            contents: Some(texts),
            ..InferInputTensor::default()
        };
        let with = |own, inputs| ModelInferRequest { parameters: parameters(own), inputs, ..of(0, 0) };
        assert!(check(&with(6, vec![tensor(200, texts(3)), tensor(50, texts(3))])).is_ok());
        let problem = check(&with(7, vec![tensor(200, texts(3)), tensor(50, texts(3))])).unwrap_err();
        assert!(problem.message.contains("256 parameters"), "{problem:?}");
        let problem = check(&with(0, vec![tensor(0, texts(3)), tensor(0, texts(4))])).unwrap_err();
        assert!(problem.message.contains("--max-inputs"), "{problem:?}");
        // Cut anywhere, a message is one that ends within a field, or a shorter one.
        let whole = with(1, vec![tensor(2, texts(3))]).encode_to_vec();
        for end in 0..whole.len() {
            let _ = check_size(&whole[..end], 3);
        }
        for broken in [&[0x80][..], &[0x0a], &[0x0a, 5, 1], &[0x0b], &[0x0d, 1], &[0xff; 11]] {
            assert!(check_size(broken, 3).is_err(), "{broken:?}");
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
