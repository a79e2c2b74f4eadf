"""What the pipelines of `transformers` answer with the tiny checkpoints: labels, scores and offsets."""

import argparse
import json
from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer, pipeline

STRATEGIES = ("none", "simple", "first", "average", "max")
TEXTS = (
    "Anna works in Paris.",
    "who wrote the book, anna or the king of France?",
    "the bookers worksing in citys: goodsed, badlyer!",
    "a very good film \U0001f600 in PARIS and unknownword was it",
    "Caf\u00e9 PAR\u00cdS, a  city\r\n\tof time.",
)
MASKED = ("anna works in [MASK].", "[MASK] wrote the [MASK]?", "the caf\u00e9 [MASK]")
PAIRS = (("anna wrote it", "the king wrote it"), ("a good film?", "not very good"))


def byte_offset(text: str, characters: int) -> int:
    return len(text[:characters].encode())


def entities(model: str, text: str) -> dict:
    """Nothing is ignored, so that every token shows up. Their `word` is decoded, not a piece of the text: left out."""
    by_strategy = {}
    for strategy in STRATEGIES:
        tagger = pipeline("token-classification", model, aggregation_strategy=strategy, ignore_labels=[], device="cpu")
        by_strategy[strategy] = [
            {
                "label": entity["entity" if strategy == "none" else "entity_group"],
                "score": float(entity["score"]),
                "start": byte_offset(text, entity["start"]),
                "end": byte_offset(text, entity["end"]),
            }
            for entity in tagger(text)
        ]
    return {"text": text, "entities": by_strategy}


def fills(model: str, text: str) -> dict:
    found = pipeline("fill-mask", model, top_k=5, device="cpu")(text)
    masks = found if isinstance(found[0], list) else [found]
    best = [[{"token": fill["token"], "score": fill["score"]} for fill in mask] for mask in masks]
    return {"text": text, "fills": best}


def classes(model: str, text: str, pair: str | None) -> dict:
    classifier = pipeline("text-classification", model, device="cpu")
    sequence = {"text": text} if pair is None else {"text": text, "text_pair": pair}
    by_function = {
        function: classifier(sequence, function_to_apply=function, top_k=None)
        for function in ("none", "sigmoid", "softmax")
    }
    return {**sequence, "labels": by_function}


def embeddings(model: str, text: str) -> dict:
    tokenizer, encoder = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).eval()
    with torch.inference_mode():
        states = encoder(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
    return {"text": text, "mean": states.mean(dim=0).tolist(), "cls": states[0].tolist()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the golden folder, with its folder checkpoints")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    checkpoint = lambda name: str(out / "checkpoints" / name)
    goldens = {
        "token-classification": {
            "mobilebert-ner-f32": [entities(checkpoint("mobilebert-ner-f32"), text) for text in TEXTS]
        },
        "fill-mask": {"mobilebert-mlm-f32": [fills(checkpoint("mobilebert-mlm-f32"), text) for text in MASKED]},
        "text-classification": {
            "bert-f32": [
                classes(checkpoint("bert-f32"), text, pair) for text, pair in [(text, None) for text in TEXTS] + [*PAIRS]
            ]
        },
        "embedding": {
            name: [embeddings(checkpoint(name), text) for text in TEXTS] for name in ("mobilebert-f32", "bert-f32")
        },
    }
    (out / "pipelines.json").write_text(json.dumps(goldens, indent=1) + "\n")


if __name__ == "__main__":
    main()
