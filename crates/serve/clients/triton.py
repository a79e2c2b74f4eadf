"""Triton's clients, over HTTP and gRPC."""

import concurrent.futures

import numpy
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

import serving

TEXTS = ["a joy to watch", "naïve 😀"]
INPUTS = {
    "qa": {"question": ["Who built it?"], "context": ["It was built by Ada."]},
    "sentiment": {"text": TEXTS},
    "embed": {"text": TEXTS},
    "ner": {"text": TEXTS},
    "mlm": {"text": ["paris is the [MASK] of france."]},
}
OUTPUTS = {
    "qa": ["answer", "score", "start", "end"],
    "sentiment": ["label", "scores"],
    "embed": ["embedding"],
    "ner": ["entities"],
    "mlm": ["fills"],
}


def inputs(kind, model, **how):
    made = []
    for name, texts in INPUTS[model].items():
        tensor = kind.InferInput(name, [len(texts)], "BYTES")
        tensor.set_data_from_numpy(numpy.array([text.encode() for text in texts], dtype=object), **how)
        made.append(tensor)
    return made


def bits(array):
    # Texts are bytes in binary and text in JSON.
    if array.dtype == object:
        return [text.decode() if isinstance(text, bytes) else text for text in array.flatten()]
    return array.tobytes()


def check_all_ways_have_the_same_bits(http, grpc):
    over_http = tritonclient.http.InferenceServerClient(http)
    over_grpc = tritonclient.grpc.InferenceServerClient(grpc)
    for model, names in OUTPUTS.items():
        found = []
        for binary_in in [True, False]:
            for binary_out in [True, False]:
                outputs = [tritonclient.http.InferRequestedOutput(name, binary_data=binary_out) for name in names]
                tensors = inputs(tritonclient.http, model, binary_data=binary_in)
                found.append(over_http.infer(model, tensors, outputs=outputs))
        found.append(over_grpc.infer(model, inputs(tritonclient.grpc, model)))
        outputs = [tritonclient.grpc.InferRequestedOutput(name) for name in names]
        found.append(over_grpc.infer(model, inputs(tritonclient.grpc, model), outputs=outputs, model_version="1"))
        for compression in ["gzip", "deflate"]:
            tensors = inputs(tritonclient.grpc, model)
            found.append(over_grpc.infer(model, tensors, compression_algorithm=compression))
        for name in names:
            first = bits(found[0].as_numpy(name))
            assert all(bits(other.as_numpy(name)) == first for other in found), (model, name)


def check_token_ids_give_logits(http, grpc):
    ids = numpy.array([[101, 7592, 102, 0], [101, 2088, 999, 102]], dtype=numpy.int64)
    mask = numpy.array([[1, 1, 1, 0], [1, 1, 1, 1]], dtype=numpy.int64)
    found = []
    for kind, client in [
        (tritonclient.http, tritonclient.http.InferenceServerClient(http)),
        (tritonclient.grpc, tritonclient.grpc.InferenceServerClient(grpc)),
    ]:
        tensors = [kind.InferInput("input_ids", ids.shape, "INT64"), kind.InferInput("attention_mask", ids.shape, "INT64")]
        tensors[0].set_data_from_numpy(ids)
        tensors[1].set_data_from_numpy(mask)
        found.append(client.infer("sentiment", tensors).as_numpy("logits"))
    assert found[0].shape == (2, 2) and found[0].tobytes() == found[1].tobytes()


def check_the_server_describes_itself(http, grpc):
    client = tritonclient.grpc.InferenceServerClient(grpc)
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("qa")
    assert not client.is_model_ready("nobody")
    about = client.get_server_metadata(as_json=True)
    assert about["name"] == "mobilebert-serve"
    model = client.get_model_metadata("qa", as_json=True)
    assert [tensor["name"] for tensor in model["inputs"]] == ["question", "context"]
    assert tritonclient.http.InferenceServerClient(http).get_model_metadata("qa")["inputs"][0]["name"] == "question"


def check_errors_have_their_statuses(http, grpc):
    client = tritonclient.grpc.InferenceServerClient(grpc)
    tensors = inputs(tritonclient.grpc, "sentiment")
    for model, how, status in [
        ("nobody", {}, "StatusCode.NOT_FOUND"),
        ("qa", {}, "StatusCode.INVALID_ARGUMENT"),
        ("sentiment", {"timeout": 1}, "StatusCode.DEADLINE_EXCEEDED"),
        ("sentiment", {"client_timeout": 1e-6}, "StatusCode.DEADLINE_EXCEEDED"),
    ]:
        try:
            client.infer(model, tensors, **how)
        except InferenceServerException as error:
            assert error.status() == status, (model, how, error)
        else:
            raise AssertionError((model, how))
    assert client.infer("sentiment", tensors, timeout=30_000_000, client_timeout=30).as_numpy("label")[0] == b"positive"


def check_many_calls_at_once(http, grpc):
    client = tritonclient.grpc.InferenceServerClient(grpc)
    expected = client.infer("sentiment", inputs(tritonclient.grpc, "sentiment")).as_numpy("scores").tobytes()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        calls = [pool.submit(client.infer, "sentiment", inputs(tritonclient.grpc, "sentiment")) for _ in range(200)]
        assert all(call.result().as_numpy("scores").tobytes() == expected for call in calls)
    done = concurrent.futures.Future()
    tensors = inputs(tritonclient.grpc, "sentiment")
    client.async_infer("sentiment", tensors, lambda result, error: done.set_result((result, error)))
    result, error = done.result(timeout=60)
    assert error is None and result.as_numpy("scores").tobytes() == expected


if __name__ == "__main__":
    with serving.server() as (http, grpc, _):
        serving.run(globals(), http, grpc)
