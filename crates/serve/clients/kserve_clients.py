"""KServe's clients, over HTTP and gRPC."""

import asyncio

import numpy
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

import serving


def request(model):
    text = InferInput(name="text", shape=[2], datatype="BYTES")
    text.set_data_from_numpy(numpy.array([b"a joy to watch", b"never again"], dtype=object), binary_data=True)
    return InferRequest(model_name=model, infer_inputs=[text])


def outputs(answer):
    return {output.name: output.as_numpy() for output in answer.outputs}


def check_both_wires_agree(http, grpc):
    async def ask():
        rest = InferenceRESTClient(config=RESTConfig(protocol="v2"))
        url = f"http://{http}"
        assert await rest.is_server_ready(url) and await rest.is_server_live(url)
        over_rest = outputs(await rest.infer(url, request("sentiment"), model_name="sentiment"))
        client = InferenceGRPCClient(url=grpc)
        assert await client.is_server_ready() and await client.is_server_live()
        assert await client.is_model_ready("sentiment")
        over_grpc = outputs(await client.infer(request("sentiment")))
        await client.close()
        await rest.close()
        return over_rest, over_grpc

    rest, grpc = asyncio.run(ask())
    assert rest["scores"].tobytes() == grpc["scores"].tobytes() and rest["scores"].shape == (2, 2)
    texts = lambda array: [text.decode() if isinstance(text, bytes) else text for text in array.flatten()]
    assert texts(rest["label"]) == texts(grpc["label"]) == ["positive", "negative"]


if __name__ == "__main__":
    with serving.server() as (http, grpc, _):
        serving.run(globals(), http, grpc)
