"""OpenAI's client, and LangChain over it."""

import struct

import openai
from langchain_openai import OpenAIEmbeddings

import serving

TEXTS = ["How old are you?", "naïve 😀"]


def check_vectors_have_the_same_bits_in_both_forms(address):
    client = openai.OpenAI(base_url=f"http://{address}/v1", api_key="none")
    base64 = client.embeddings.create(model="embed", input=TEXTS)
    floats = client.embeddings.create(model="embed", input=TEXTS, encoding_format="float")
    plain = serving.post(address, "/embed", {"inputs": TEXTS})
    bits = lambda vector: struct.pack(f"{len(vector)}f", *vector)
    for one, other, expected in zip(base64.data, floats.data, plain, strict=True):
        assert bits(one.embedding) == bits(other.embedding) == bits(expected)
    assert base64.usage.prompt_tokens == base64.usage.total_tokens > 0


def check_models_are_listed(address):
    client = openai.OpenAI(base_url=f"http://{address}/v1", api_key="none")
    assert "embed" in [model.id for model in client.models.list()]
    assert client.models.retrieve("embed").id == "embed"


def check_errors_have_their_classes(address):
    client = openai.OpenAI(base_url=f"http://{address}/v1", api_key="none", max_retries=0)
    for arguments, expected in [
        ({"model": "nobody", "input": "a"}, openai.NotFoundError),
        ({"model": "embed", "input": ""}, openai.BadRequestError),
        ({"model": "embed", "input": "a", "dimensions": 8}, openai.BadRequestError),
    ]:
        try:
            client.embeddings.create(**arguments)
        except expected as error:
            assert error.code and error.body["message"], error
        else:
            raise AssertionError(arguments)


def check_langchain_sends_long_lists(address):
    embeddings = OpenAIEmbeddings(
        base_url=f"http://{address}/v1", api_key="none", model="embed", check_embedding_ctx_length=False
    )
    vectors = embeddings.embed_documents([f"text {i % 50}" for i in range(1000)])
    assert len(vectors) == 1000 and vectors[0] == vectors[50] != vectors[1]
    assert embeddings.embed_query("text 1") == vectors[1]


if __name__ == "__main__":
    with serving.server() as (http, _, _):
        serving.run(globals(), http)
