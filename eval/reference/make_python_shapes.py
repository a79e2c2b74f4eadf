"""What the pipelines of `transformers` return for each way of calling them, for the tests of the Python package."""

import argparse
import json
from pathlib import Path

import torch
from transformers import pipeline

TEXT, OTHER = "Anna works in Paris.", "a very good film \U0001f600 in PARIS"
PAIR = {"text": "anna wrote it", "text_pair": "the king wrote it"}
MASK, MASKS = "anna works in [MASK].", "[MASK] wrote the [MASK]?"

#: Task, folder, options of the pipeline, and calls: inputs and options.
CASES = (
    (
        "text-classification",
        "bert-f32",
        ({}, {"top_k": 1}, {"top_k": 2}, {"top_k": None}, {"function_to_apply": "sigmoid"}),
        [
            (inputs, options)
            for inputs in (TEXT, [TEXT], [TEXT, OTHER], PAIR, [PAIR], [PAIR, PAIR], {"text": TEXT})
            for options in ({}, {"top_k": 1}, {"top_k": 2}, {"top_k": None}, {"function_to_apply": "none"})
        ],
    ),
    (
        "token-classification",
        "mobilebert-ner-f32",
        ({}, {"aggregation_strategy": "simple"}, {"ignore_labels": []}),
        [
            (inputs, options)
            for inputs in (TEXT, [TEXT], [TEXT, OTHER])
            for options in (
                {},
                *({"aggregation_strategy": s} for s in ("none", "simple", "first", "average", "max")),
            )
        ],
    ),
    (
        "fill-mask",
        "mobilebert-mlm-f32",
        ({}, {"top_k": 2}),
        [
            (inputs, options)
            for inputs in (MASK, [MASK], [MASK, MASK], MASKS, [MASKS], [MASK, MASKS])
            for options in (
                {},
                {"top_k": 1},
                {"targets": "paris"},
                {"targets": ["paris", "anna"], "top_k": 1},
            )
        ],
    ),
    (
        "feature-extraction",
        "mobilebert-f32",
        ({},),
        [(inputs, {}) for inputs in (TEXT, [TEXT], [TEXT, MASK])],
    ),
)


def rounded(value: object) -> object:
    """Keeps the digits that two implementations in f32 share."""
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return value if isinstance(value, (str, int)) or value is None else round(float(value), 6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoints", type=Path, required=True, help="the folder tests/golden/checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    for task, model, all_options, calls in CASES:
        for options in all_options:
            called = pipeline(task, str(arguments.checkpoints / model), device="cpu", **options)
            for inputs, given in calls:
                case = {"task": task, "model": model, "options": options, "inputs": inputs, "call": given}
                lines.append(json.dumps({**case, "result": rounded(called(inputs, **given))}))
    arguments.out.write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
