//! Statuses of what is not answered: wrong requests, no key, no room, too large.

use std::collections::HashMap;

use prost::Message as _;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::inference::infer_parameter::ParameterChoice;
use super::inference::model_infer_request::InferInputTensor;
use super::inference::{
    self, InferParameter, ModelInferRequest, ModelReadyRequest, RepositoryIndexRequest,
    RepositoryModelLoadRequest, RepositoryModelUnloadRequest, ServerLiveRequest,
};
use super::{Client, channel, client, good, in_json, longs, raw, refused, request, runtime, start, texts};
use crate::support::{Server, wait_until};

/// Returns the status of a request with too short a time. tonic's client would give it up by itself, so this is
/// one of HTTP/2.
async fn late(server: &Server) -> String {
    let mut request = raw::post(raw::INFER, &good().encode_to_vec());
    request.headers_mut().insert("grpc-timeout", "1n".parse().unwrap());
    let response = raw::connect(server, 65_535, 65_535).await.send_request(request).await.unwrap();
    raw::head(&response).0
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
        let mut grpc = tonic::client::Grpc::new(channel(&server).await);
        for (path, code) in [
            ("/inference.GRPCInferenceService/Nothing", Code::Unimplemented),
            ("/nobody.Nobody/ServerLive", Code::Unimplemented),
            ("/inference.GRPCInferenceService/ServerLive", Code::Ok),
        ] {
            grpc.ready().await.unwrap();
            let codec =
                tonic_prost::ProstCodec::<ServerLiveRequest, inference::ServerLiveResponse>::default();
            let answer = grpc.unary(Request::new(ServerLiveRequest {}), path.parse().unwrap(), codec).await;
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
    // One thread, which each of these occupies for longer than the next one takes to arrive.
    let server = start(&["--queue-tokens", "600", "--threads", "1"]);
    let text = |i: usize| format!("{i} {}", "word ".repeat(240));
    runtime().block_on(async {
        let mut client = client(&server).await;
        let long = request("embed", vec![texts("text", &[&text(0), &text(1), &text(2)])]);
        assert_eq!(refused(client.model_infer(long).await), (Code::InvalidArgument, "too_large".to_owned()));
        // One of many at the same time finds no room.
        let many: Vec<_> = (0..60)
            .map(|i| {
                let mut client = client.clone();
                let request = request("embed", vec![texts("text", &[&text(i)])]);
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
