//! What the server says of itself, and what its models find.

use serde_json::json;

use super::inference::model_infer_request::InferRequestedOutputTensor;
use super::inference::{
    self, ModelInferRequest, ModelMetadataRequest, ModelReadyRequest, ServerLiveRequest,
    ServerMetadataRequest, ServerReadyRequest,
};
use super::{client, elements, in_json, longs, of_json, raw, request, runtime, start, texts};

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
