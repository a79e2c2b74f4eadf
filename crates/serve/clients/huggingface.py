"""Hugging Face's client."""

from huggingface_hub import InferenceClient

import serving


def client(address, path):
    return InferenceClient(model=f"http://{address}{path}", provider="hf-inference", token="none")


def check_tasks_have_their_shapes(address):
    answer = client(address, "/models/qa").question_answering(question="Who built it?", context="It was built by Ada.")
    assert (answer.answer, answer.start, answer.end) == ("Ada", 16, 19) and answer.score > 0.9
    best = client(address, "/models/sentiment").text_classification("a joy to watch")[0]
    assert best.label == "positive" and best.score > 0.9
    assert client(address, "/models/ner").token_classification("Ada lives in London")[0].entity_group
    filled = client(address, "/models/mlm").fill_mask("paris is the [MASK] of france.")
    assert filled[0].token_str and "paris" in filled[0].sequence
    vector = client(address, "/models/embed").feature_extraction("How old are you?")
    assert vector.shape[-1] == 384
    near = client(address, "/models/embed/pipeline/sentence-similarity").sentence_similarity(
        "How old are you?", other_sentences=["What is your age?", "It rains."]
    )
    assert near[0] > near[1]


if __name__ == "__main__":
    with serving.server() as (http, _, _):
        serving.run(globals(), http)
