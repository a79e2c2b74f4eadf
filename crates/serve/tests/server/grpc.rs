//! The Open Inference Protocol over gRPC: the answers of HTTP, bit for bit, and the statuses of gRPC.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{Random, Server, count, root, tiny, wait_until};
use inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use inference::infer_parameter::ParameterChoice;
use inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use inference::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse, ModelMetadataRequest,
    ModelReadyRequest, RepositoryIndexRequest, RepositoryModelLoadRequest, RepositoryModelUnloadRequest,
    ServerLiveRequest, ServerMetadataRequest, ServerReadyRequest,
};

#[allow(missing_docs, dead_code, unreachable_pub, clippy::all, reason = "the code is generated")]
#[rustfmt::skip]
#[path = "../../src/messages/inference.rs"]
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

#[test]
fn the_server_and_its_models_describe_themselves() {
    let server = start(&[]);
    runtime().block_on(async {
        let mut client = client(&server).await;
        assert!(client.server_live(ServerLiveRequest {}).await.unwrap().into_inner().live);
        assert!(client.server_ready(ServerReadyRequest {}).await.unwrap().into_inner().ready);
        let about = client.server_metadata(ServerMetadataRequest {}).await.unwrap().into_inner();
        let expected = server.get("/v2").ok();
        let found = json!({"name": about.name, "version": about.version, "extensions": about.extensions});
        assert_eq!(found, expected);
        for model in ["embed", "tiny-qa", "tiny-classify", "tiny-ner", "tiny-mlm"] {
            let asked = ModelMetadataRequest { name: model.to_owned(), version: String::new() };
            let found = client.model_metadata(asked).await.unwrap().into_inner();
            let expected = server.get(&format!("/v2/models/{model}")).ok();
            let tensors = |all: &[inference::model_metadata_response::TensorMetadata]| {
                let one = |t: &inference::model_metadata_response::TensorMetadata| {
                    json!({"name": t.name, "datatype": t.datatype, "shape": t.shape})
                };
                all.iter().map(one).collect::<Vec<_>>()
            };
            let (inputs, outputs) = (tensors(&found.inputs), tensors(&found.outputs));
            let found = json!({"name": found.name, "versions": found.versions, "platform": found.platform,
                "inputs": inputs, "outputs": outputs});
            assert_eq!(found, expected);
        }
        for (name, version, expected) in
            [("tiny-qa", "", true), ("tiny-qa", "1", true), ("tiny-qa", "2", false), ("nobody", "", false)]
        {
            let asked = ModelReadyRequest { name: name.to_owned(), version: version.to_owned() };
            assert_eq!(client.model_ready(asked).await.unwrap().into_inner().ready, expected, "{name} {version}");
        }
    });
}

/// All tasks, in texts and in token ids, with elements of their own and in binary.
#[test]
fn answers_have_the_bits_of_those_over_http() {
    let server = start(&[]);
    let two = ["a good film", "naïve 😀"];
    let requests = [
        request("tiny-classify", vec![texts("text", &two)]),
        request("tiny-ner", vec![texts("text", &two)]),
        request("tiny-mlm", vec![texts("text", &["paris is the [MASK] of france"])]),
        request("embed", vec![texts("text", &two)]),
        request(
            "tiny-qa",
            vec![
                texts("question", &["who?", "where?"]),
                texts("context", &["anna works", "in paris, she works"]),
            ],
        ),
        request(
            "tiny-qa",
            vec![
                longs("input_ids", &[2, 3], &[2, 3, 4, 5, 6, 0]),
                longs("attention_mask", &[2, 3], &[1, 1, 1, 1, 1, 0]),
            ],
        ),
        request("tiny-classify", vec![longs("input_ids", &[1, 4], &[2, 7, 8, 3])]),
    ];
    runtime().block_on(async {
        let mut client = client(&server).await;
        for request in requests {
            let path = format!("/v2/models/{}/infer", request.model_name);
            let expected = server.post(&path, &in_json(&request).to_string()).ok();
            for is_raw in [false, true] {
                let mut request = request.clone();
                request.id = "seven".to_owned();
                let request = if is_raw { raw(request) } else { request };
                let model = request.model_name.clone();
                let answer = client.model_infer(request).await.unwrap();
                assert_eq!(answer.metadata().get("x-model").unwrap(), model.as_str());
                assert!(answer.metadata().contains_key("x-compute-ms"));
                let found = answer.into_inner();
                assert_eq!((found.id.as_str(), found.model_version.as_str()), ("seven", "1"));
                assert_eq!(found.raw_output_contents.is_empty(), !is_raw);
                let outputs = expected["outputs"].as_array().unwrap();
                assert_eq!(found.outputs.len(), outputs.len());
                for (place, expected) in outputs.iter().enumerate() {
                    let output = &found.outputs[place];
                    assert_eq!(json!(output.name), expected["name"]);
                    assert_eq!(json!(output.shape), expected["shape"]);
                    assert_eq!(json!(output.datatype), expected["datatype"]);
                    assert_eq!(elements(&found, place), of_json(expected), "{model}");
                }
            }
        }
        let outputs = ["scores", "label"];
        let outputs =
            outputs.map(|name| InferRequestedOutputTensor { name: name.to_owned(), ..Default::default() });
        let request = request("tiny-classify", vec![texts("text", &two)]);
        let request = ModelInferRequest { outputs: outputs.to_vec(), ..request };
        let found = client.model_infer(request).await.unwrap().into_inner();
        assert_eq!(
            found.outputs.iter().map(|output| output.name.as_str()).collect::<Vec<_>>(),
            ["scores", "label"]
        );
    });
    let metrics = server.get("/metrics").text().to_owned();
    let line = "mb_requests_total{model=\"tiny-qa\",task=\"infer\",dialect=\"grpc\",code=\"200\"} 4";
    assert!(metrics.contains(line), "{metrics}");
    assert!(server.log.text().contains("POST /inference.GRPCInferenceService/ModelInfer 200"));
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

/// Returns the status of a request with too short a time. tonic's client would give it up by itself, so this is
/// one of HTTP/2.
async fn late(server: &Server) -> String {
    use prost::Message as _;
    let address = server.running.grpc_address().unwrap();
    let stream = hyper_util::rt::TokioIo::new(tokio::net::TcpStream::connect(address).await.unwrap());
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, stream).await.unwrap();
    tokio::spawn(connection);
    let message = good().encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let body = http_body_util::Full::new(bytes::Bytes::from([&[0], &length[..], &message].concat()));
    let request = hyper::Request::post(format!("http://{address}/inference.GRPCInferenceService/ModelInfer"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "1n")
        .body(body)
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    response.headers()["grpc-status"].to_str().unwrap().to_owned()
}

#[test]
fn what_cannot_be_answered_has_a_status() {
    let server = start(&["--max-body-bytes", "20000", "--max-inputs", "3"]);
    runtime().block_on(async {
        let mut client = client(&server).await;
        let timeout =
            |choice| HashMap::from([("timeout".to_owned(), InferParameter { parameter_choice: choice })]);
        let with = |change: &dyn Fn(&mut ModelInferRequest)| {
            let mut request = good();
            change(&mut request);
            request
        };
        let tensor = |name: &str, shape: &[i64], numbers: &[i64]| vec![longs(name, shape, numbers)];
        for (request, code, name, message) in [
            (with(&|r| r.model_name = "nobody".to_owned()), Code::NotFound, "unknown_model", "nobody"),
            (with(&|r| r.model_version = "2".to_owned()), Code::NotFound, "unknown_version", "version"),
            (with(&|r| r.inputs.clear()), Code::InvalidArgument, "invalid", "no tensor"),
            (with(&|r| r.inputs[0].name = "texts".to_owned()), Code::InvalidArgument, "invalid", "no tensor"),
            (with(&|r| r.inputs[0].shape = vec![2]), Code::InvalidArgument, "invalid", "1 elements"),
            (with(&|r| r.inputs[0].shape = vec![i64::MAX, 9]), Code::InvalidArgument, "invalid", "shape"),
            (with(&|r| r.raw_input_contents = vec![vec![]]), Code::InvalidArgument, "invalid", "both"),
            (
                with(&|r| r.raw_input_contents = vec![vec![], vec![]]),
                Code::InvalidArgument,
                "invalid",
                "2 entries",
            ),
            (
                with(&|r| r.inputs = vec![texts("text", &["a"; 4])]),
                Code::InvalidArgument,
                "too_large",
                "max-inputs",
            ),
            (
                with(&|r| r.inputs = vec![texts("text", &[" "])]),
                Code::InvalidArgument,
                "empty_text",
                "text 1",
            ),
            (
                with(&|r| r.inputs = vec![InferInputTensor::default(); 65]),
                Code::InvalidArgument,
                "malformed",
                "64 tensors",
            ),
            (
                with(&|r| r.inputs = tensor("input_ids", &[1, 2], &[2, 99_999])),
                Code::InvalidArgument,
                "",
                "vocab_size",
            ),
            (with(&|r| r.outputs = vec![Default::default()]), Code::InvalidArgument, "invalid", "no output"),
            (with(&|r| r.parameters = timeout(None)), Code::InvalidArgument, "invalid", "timeout"),
            (
                with(&|r| r.parameters = timeout(Some(ParameterChoice::Int64Param(1)))),
                Code::DeadlineExceeded,
                "deadline_exceeded",
                "deadline",
            ),
            (with(&|r| r.id = "x".repeat(30_000)), Code::InvalidArgument, "too_large", "max-body-bytes"),
        ] {
            let status = client.model_infer(request).await.unwrap_err();
            assert_eq!(status.code(), code, "{status}");
            assert!(status.message().contains(message), "{status}");
            if !name.is_empty() {
                assert_eq!(refused::<()>(Err(status)), (code, name.to_owned()));
            }
        }
        assert_eq!(late(&server).await, "4", "DEADLINE_EXCEEDED");
        let mut odd = Request::new(good());
        odd.metadata_mut().insert("grpc-timeout", "soon".parse().unwrap());
        assert_eq!(client.model_infer(odd).await.unwrap_err().code(), Code::InvalidArgument);
        // A method that there is not, and one that there is.
        let mut raw = tonic::client::Grpc::new(channel(&server).await);
        for (path, code) in [
            ("/inference.GRPCInferenceService/Nothing", Code::Unimplemented),
            ("/nobody.Nobody/ServerLive", Code::Unimplemented),
            ("/inference.GRPCInferenceService/ServerLive", Code::Ok),
        ] {
            raw.ready().await.unwrap();
            let codec =
                tonic_prost::ProstCodec::<ServerLiveRequest, inference::ServerLiveResponse>::default();
            let answer = raw.unary(Request::new(ServerLiveRequest {}), path.parse().unwrap(), codec).await;
            assert_eq!(answer.map_or_else(|status| status.code(), |_| Code::Ok), code, "{path}");
        }
        assert!(client.model_infer(good()).await.is_ok());
    });
    assert_eq!(server.post("/v2/models/tiny-classify/infer", &in_json(&good()).to_string()).status, 200);
}

#[test]
fn keys_are_asked_for_as_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, key: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, key).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (keys, admins) = (file("keys", "0123456789abcdef"), file("admins", "fedcba9876543210"));
    let server = start(&["--api-key-file", &keys, "--admin-key-file", &admins]);
    fn with<T>(message: T, name: &'static str, value: &str) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert(name, value.parse().unwrap());
        request
    }
    runtime().block_on(async {
        let mut client = client(&server).await;
        let unknown = (Code::Unauthenticated, "invalid_api_key".to_owned());
        assert_eq!(refused(client.model_infer(good()).await), unknown);
        assert_eq!(refused(client.model_infer(with(good(), "x-api-key", "fedcba9876543210")).await), unknown);
        assert!(client.model_infer(with(good(), "authorization", "Bearer 0123456789abcdef")).await.is_ok());
        assert!(client.model_infer(with(good(), "x-api-key", "0123456789abcdef")).await.is_ok());
        // Health needs none.
        assert!(client.server_live(ServerLiveRequest {}).await.is_ok());
        let mut health = HealthClient::new(channel(&server).await);
        assert!(health.check(HealthCheckRequest::default()).await.is_ok());
        // The repository has keys of its own.
        let (key, admin) = ("0123456789abcdef", "fedcba9876543210");
        assert_eq!(
            refused(client.repository_index(with(RepositoryIndexRequest::default(), "x-api-key", key)).await),
            unknown
        );
        let index = RepositoryIndexRequest::default();
        let index = client.repository_index(with(index, "x-api-key", admin)).await.unwrap().into_inner();
        assert_eq!(index.models.len(), 5);
        assert!(index.models.iter().all(|model| model.state == "READY"));
        // Triton's clients name the model in one field, and KServe's in another.
        let unload = RepositoryModelUnloadRequest { model_name: "tiny-ner".to_owned(), ..Default::default() };
        client.repository_model_unload(with(unload, "x-api-key", admin)).await.unwrap();
        let asked = || {
            with(ModelReadyRequest { name: "tiny-ner".to_owned(), ..Default::default() }, "x-api-key", key)
        };
        assert!(!client.model_ready(asked()).await.unwrap().into_inner().ready);
        let load =
            RepositoryModelLoadRequest { repository_name: "tiny-ner".to_owned(), ..Default::default() };
        let loaded = client.repository_model_load(with(load, "x-api-key", admin)).await.unwrap().into_inner();
        assert_eq!((loaded.model_name.as_str(), loaded.is_loaded), ("tiny-ner", true));
        assert!(client.model_ready(asked()).await.unwrap().into_inner().ready);
        let load = RepositoryModelLoadRequest { model_name: "nobody".to_owned(), ..Default::default() };
        let nobody = client.repository_model_load(with(load, "x-api-key", admin)).await;
        assert_eq!(refused(nobody), (Code::NotFound, "unknown_model".to_owned()));
        let mut load = RepositoryModelLoadRequest { model_name: "tiny-ner".to_owned(), ..Default::default() };
        load.parameters.insert("config".to_owned(), Default::default());
        let refused = refused(client.repository_model_load(with(load, "x-api-key", admin)).await);
        assert_eq!(refused, (Code::InvalidArgument, "invalid".to_owned()));
    });
    let public = ["mobilebert-serve", "--grpc-listen", "0.0.0.0:0"].map(std::ffi::OsString::from);
    let problem = mobilebert_serve::Config::from_args(public).unwrap_err().to_string();
    assert!(problem.contains("--grpc-listen") && problem.contains("--api-key-file"), "{problem}");
}

#[test]
fn overload_is_refused_with_the_time_to_wait() {
    let server = start(&["--queue-tokens", "6"]);
    runtime().block_on(async {
        let mut client = client(&server).await;
        let long = request("tiny-classify", vec![texts("text", &["a b c", "d e f"])]);
        assert_eq!(refused(client.model_infer(long).await), (Code::InvalidArgument, "too_large".to_owned()));
        // One of many at the same time finds no room.
        let many: Vec<_> = (0..200)
            .map(|i| {
                let mut client = client.clone();
                let request = request("tiny-classify", vec![texts("text", &[&format!("a {i}")])]);
                tokio::spawn(async move { client.model_infer(request).await })
            })
            .collect();
        let (mut answered, mut busy) = (0, 0);
        for one in many {
            match one.await.unwrap() {
                Ok(_) => answered += 1,
                Err(status) => {
                    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                    let wait = status.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap();
                    assert!(wait.parse::<u64>().unwrap() >= 1);
                    busy += 1;
                }
            }
        }
        assert!(answered > 0 && busy > 0, "{answered} answered, {busy} refused");
    });
}

#[test]
fn packed_requests_are_read() {
    use tonic::codec::CompressionEncoding::{Deflate, Gzip};
    let server = start(&["--max-body-bytes", "20000"]);
    runtime().block_on(async {
        let channel = channel(&server).await;
        let expected = Client::new(channel.clone()).model_infer(good()).await.unwrap().into_inner();
        for encoding in [Gzip, Deflate] {
            let mut client = Client::new(channel.clone()).send_compressed(encoding);
            assert_eq!(client.model_infer(good()).await.unwrap().into_inner(), expected);
            // What it becomes has the same limit.
            let mut bomb = good();
            bomb.id = "x".repeat(1_000_000);
            assert_eq!(
                refused(client.model_infer(bomb).await),
                (Code::InvalidArgument, "too_large".to_owned())
            );
        }
        let mut odd = Request::new(good());
        odd.metadata_mut().insert("grpc-encoding", "br".parse().unwrap());
        // The frame says that the message is not packed.
        assert_eq!(Client::new(channel).model_infer(odd).await.unwrap().into_inner(), expected);
    });
    wait_until("all memory for bodies has come back", || {
        server.get("/metrics").text().contains("\nmb_body_bytes 0\n")
    });
}

#[test]
fn health_is_told_while_models_load_and_while_the_server_stops() {
    let server =
        Server::start_unloaded(&tiny(), &["--grpc-listen", "127.0.0.1:0", "--drain-delay-ms", "300"]);
    let runtime = runtime();
    let (mut watched, mut calls) = runtime.block_on(async {
        let channel = channel(&server).await;
        let mut health = HealthClient::new(channel.clone());
        let mut client = Client::new(channel.clone());
        let check = |service: &str| HealthCheckRequest { service: service.to_owned() };
        let not_yet = health.check(check("")).await.unwrap().into_inner().status();
        assert_eq!(not_yet, ServingStatus::NotServing);
        assert!(!client.server_ready(ServerReadyRequest {}).await.unwrap().into_inner().ready);
        assert_eq!(refused(client.model_infer(good()).await), (Code::Unavailable, "unavailable".to_owned()));
        let mut watched = health.watch(check("tiny-qa")).await.unwrap().into_inner();
        assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        server.running.load().unwrap();
        assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
        for service in ["", "inference.GRPCInferenceService", "tiny-ner"] {
            let found = health.check(check(service)).await.unwrap().into_inner().status();
            assert_eq!(found, ServingStatus::Serving, "{service}");
        }
        assert_eq!(health.check(check("nobody")).await.unwrap_err().code(), Code::NotFound);
        let calls: Vec<_> = (0..20)
            .map(|i| {
                let mut client = client.clone();
                let request = request("tiny-classify", vec![texts("text", &[&format!("a {i}")])]);
                tokio::spawn(async move { client.model_infer(request).await })
            })
            .collect();
        (watched, calls)
    });
    assert!(server.running.drain(), "all that was accepted was answered");
    runtime.block_on(async {
        assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        assert!(watched.message().await.unwrap().is_none(), "the server says that it ends");
        for call in calls.drain(..) {
            call.await.unwrap().unwrap();
        }
    });
}

/// Connections that say nothing are closed, and so are those whose client does not take its answers.
#[test]
fn connections_that_do_nothing_are_closed() {
    use std::io::{Read as _, Write as _};
    let server =
        start(&["--header-timeout-ms", "300", "--body-timeout-ms", "500", "--idle-timeout-ms", "400"]);
    let open = || {
        let stream = std::net::TcpStream::connect(server.running.grpc_address().unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    };
    let closes = |mut stream: std::net::TcpStream| {
        let mut rest = Vec::new();
        assert!(
            !matches!(stream.read_to_end(&mut rest), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        );
    };
    closes(open());
    // The beginning of HTTP/2, and then nothing.
    let mut begun = open();
    begun.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    closes(begun);
    // HTTP/1.1 is another protocol.
    let mut other = open();
    other.write_all(b"GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    closes(other);
    // A request whose body does not come.
    let mut slow = open();
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    let literal = |name: &str, value: &str| {
        [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
    };
    let head = [
        literal(":method", "POST"),
        literal(":scheme", "http"),
        literal(":path", "/inference.GRPCInferenceService/ModelInfer"),
        literal(":authority", "localhost"),
        literal("content-type", "application/grpc"),
    ]
    .concat();
    let begin =
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[]), frame(1, 4, 1, &head)].concat();
    slow.write_all(&begin).unwrap();
    closes(slow);
    let metrics = server.get("/metrics").text().to_owned();
    let line = "task=\"infer\",dialect=\"grpc\",code=\"408\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    // One that lets no byte of its answer come: its window has no room, as its first settings say.
    let mut deaf = open();
    use prost::Message as _;
    let message = good().encode_to_vec();
    let body = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
    let no_window = [&[0, 4][..], &0u32.to_be_bytes()].concat();
    let begin = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &no_window),
        frame(1, 4, 1, &head),
        frame(0, 1, 1, &body),
    ]
    .concat();
    deaf.write_all(&begin).unwrap();
    closes(deaf);
    wait_until("all connections are closed", || {
        server.get("/metrics").text().contains("\nmb_connections 1\n")
    });
}

/// Clients that vanish leave nothing behind.
#[test]
fn calls_that_are_given_up_leave_nothing_behind() {
    let server = start(&["--threads", "1"]);
    let runtime = runtime();
    let given_up = count("DISCONNECTS", 200);
    runtime.block_on(async {
        let client = client(&server).await;
        let mut random = Random(7);
        for i in 0..given_up {
            let mut client = client.clone();
            let request =
                request("embed", vec![texts("text", &[&format!("a long text about {i} ").repeat(20)])]);
            let call = tokio::spawn(async move { client.model_infer(request).await });
            tokio::time::sleep(Duration::from_micros(random.below(2000) as u64)).await;
            call.abort();
        }
    });
    drop(runtime);
    wait_until("nothing waits", || {
        let metrics = server.get("/metrics").text().to_owned();
        ["mb_queue_requests 0", "mb_queue_tokens 0", "mb_body_bytes 0", "mb_connections 1"]
            .iter()
            .all(|line| metrics.contains(&format!("\n{line}\n")))
    });
}

/// Messages that are damaged get a status, and nothing breaks. `MALFORMED` is their number.
#[test]
fn damaged_messages_are_refused_and_nothing_breaks() {
    use prost::Message as _;
    let server = start(&[]);
    let seed = 3;
    eprintln!("seed {seed}");
    let mut random = Random(seed);
    let two = request("tiny-qa", vec![texts("question", &["who?"]), texts("context", &["anna works"])]);
    let ids = request("tiny-qa", vec![longs("input_ids", &[1, 3], &[2, 3, 4])]);
    let bases = [good(), raw(good()), two, ids.clone(), raw(ids)].map(|request| request.encode_to_vec());
    runtime().block_on(async {
        let mut client = tonic::client::Grpc::new(channel(&server).await);
        let mut statuses: HashMap<Code, usize> = HashMap::new();
        for case in 0..count("MALFORMED", 2000) {
            let mut bytes = bases[random.below(bases.len())].clone();
            for _ in 0..random.below(4) + 1 {
                let at = random.below(bytes.len());
                match random.below(5) {
                    0 => bytes.truncate(at),
                    1 => bytes[at] = random.next() as u8,
                    2 => bytes.insert(at, random.next() as u8),
                    3 => bytes[at] ^= 1 << random.below(8),
                    _ => drop(bytes.remove(at)),
                }
                if bytes.is_empty() {
                    break;
                }
            }
            client.ready().await.unwrap();
            let path = "/inference.GRPCInferenceService/ModelInfer".parse().unwrap();
            let answer = client.unary(Request::new(Raw(bytes)), path, RawCodec).await;
            let code = answer.map_or_else(|status| status.code(), |_| Code::Ok);
            *statuses.entry(code).or_default() += 1;
            let known =
                [Code::Ok, Code::InvalidArgument, Code::NotFound, Code::Internal, Code::DeadlineExceeded];
            assert!(known.contains(&code), "case {case}: {code}");
        }
        eprintln!("{statuses:?}");
    });
    let metrics = server.get("/metrics").text().to_owned();
    assert!(metrics.contains("\nmb_panics_total 0\n") && !metrics.contains("why=\"panic\""), "{metrics}");
    assert_eq!(server.post("/v2/models/tiny-classify/infer", &in_json(&good()).to_string()).status, 200);
}

/// A message whose bytes are given.
struct Raw(Vec<u8>);

/// Sends bytes as they are.
struct RawCodec;

impl tonic::codec::Codec for RawCodec {
    type Encode = Raw;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl tonic::codec::Encoder for RawCodec {
    type Item = Raw;
    type Error = Status;

    fn encode(&mut self, item: Raw, buffer: &mut tonic::codec::EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(buffer, &item.0);
        Ok(())
    }
}

impl tonic::codec::Decoder for RawCodec {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, buffer: &mut tonic::codec::DecodeBuf<'_>) -> Result<Option<()>, Status> {
        let left = bytes::Buf::remaining(buffer);
        bytes::Buf::advance(buffer, left);
        Ok(Some(()))
    }
}
