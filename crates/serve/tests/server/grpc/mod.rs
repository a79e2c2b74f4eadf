//! The Open Inference Protocol over gRPC: the answers of HTTP, bit for bit, and the statuses of gRPC.

mod answers;
mod connections;
mod damaged;
mod heads;
mod open;
mod raw;
mod refusals;
mod slow;

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::support::{Server, root, tiny};
use inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use inference::model_infer_request::InferInputTensor;
use inference::{InferTensorContents, ModelInferRequest, ModelInferResponse};

#[allow(missing_docs, dead_code, unreachable_pub, clippy::all, reason = "the code is generated")]
#[rustfmt::skip]
#[path = "../../../src/messages/inference.rs"]
pub(crate) mod inference;

type Client = GrpcInferenceServiceClient<Channel>;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn start(flags: &[&str]) -> Server {
    let models = [vec![format!("embed={}", root("models/embed"))], tiny()].concat();
    Server::start(&models, &[&["--grpc-listen", "127.0.0.1:0"], flags].concat())
}

async fn channel(server: &Server) -> Channel {
    let address = format!("http://{}", server.running.grpc_address().unwrap());
    Endpoint::from_shared(address).unwrap().connect().await.unwrap()
}

async fn client(server: &Server) -> Client {
    Client::new(channel(server).await)
}

fn input(
    name: &str,
    datatype: &str,
    shape: &[i64],
    contents: Option<InferTensorContents>,
) -> InferInputTensor {
    InferInputTensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        contents,
        ..InferInputTensor::default()
    }
}

fn texts(name: &str, texts: &[&str]) -> InferInputTensor {
    let bytes_contents = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    let contents = InferTensorContents { bytes_contents, ..InferTensorContents::default() };
    input(name, "BYTES", &[texts.len() as i64], Some(contents))
}

fn longs(name: &str, shape: &[i64], numbers: &[i64]) -> InferInputTensor {
    let contents = InferTensorContents { int64_contents: numbers.to_vec(), ..InferTensorContents::default() };
    input(name, "INT64", shape, Some(contents))
}

fn request(model: &str, inputs: Vec<InferInputTensor>) -> ModelInferRequest {
    ModelInferRequest { model_name: model.to_owned(), inputs, ..ModelInferRequest::default() }
}

/// Moves the elements of all inputs into `raw_input_contents`.
fn raw(mut request: ModelInferRequest) -> ModelInferRequest {
    for input in &mut request.inputs {
        let contents = input.contents.take().unwrap();
        let mut bytes = Vec::new();
        for text in &contents.bytes_contents {
            bytes.extend((text.len() as u32).to_le_bytes());
            bytes.extend(text);
        }
        contents.int64_contents.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        request.raw_input_contents.push(bytes);
    }
    request
}

/// The same request in JSON.
fn in_json(request: &ModelInferRequest) -> Value {
    let input = |input: &InferInputTensor| {
        let contents = input.contents.as_ref().unwrap();
        let texts =
            contents.bytes_contents.iter().map(|text| Value::from(std::str::from_utf8(text).unwrap()));
        let numbers = contents.int64_contents.iter().map(|&number| Value::from(number));
        let data: Vec<Value> = texts.chain(numbers).collect();
        json!({"name": input.name, "shape": input.shape, "datatype": input.datatype, "data": data})
    };
    json!({"inputs": request.inputs.iter().map(input).collect::<Vec<_>>()})
}

/// The elements of an output, whichever form they have, as JSON has them.
fn elements(response: &ModelInferResponse, place: usize) -> Value {
    let output = &response.outputs[place];
    if let Some(bytes) = response.raw_output_contents.get(place) {
        assert!(output.contents.is_none());
        let mut rest = &bytes[..];
        let mut values: Vec<Value> = Vec::new();
        while !rest.is_empty() {
            let mut take = |bytes: usize| {
                let (taken, after) = rest.split_at(bytes);
                rest = after;
                taken.to_vec()
            };
            values.push(match output.datatype.as_str() {
                "FP32" => f32::from_le_bytes(take(4).try_into().unwrap()).into(),
                "INT64" => i64::from_le_bytes(take(8).try_into().unwrap()).into(),
                _ => {
                    let length = u32::from_le_bytes(take(4).try_into().unwrap());
                    String::from_utf8(take(length as usize)).unwrap().into()
                }
            });
        }
        return values.into();
    }
    let contents = output.contents.as_ref().unwrap();
    match output.datatype.as_str() {
        "FP32" => contents.fp32_contents.iter().map(|&number| Value::from(number)).collect(),
        "INT64" => contents.int64_contents.iter().map(|&number| Value::from(number)).collect(),
        _ => contents.bytes_contents.iter().map(|text| std::str::from_utf8(text).unwrap()).collect(),
    }
}

/// The elements of an output in JSON, with the bits that their decimals stand for.
fn of_json(output: &Value) -> Value {
    let data = output["data"].as_array().unwrap();
    match output["datatype"].as_str().unwrap() {
        "FP32" => data.iter().map(|number| Value::from(number.as_f64().unwrap() as f32)).collect(),
        _ => data.clone().into(),
    }
}

/// Returns the status and the name of the refusal.
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.unwrap_err();
    let name = status.metadata().get("x-error-code").map(|name| name.to_str().unwrap().to_owned());
    (status.code(), name.unwrap_or_default())
}

fn good() -> ModelInferRequest {
    request("tiny-classify", vec![texts("text", &["a good film"])])
}
