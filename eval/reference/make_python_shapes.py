"""What the pipelines of `transformers` return for each way of calling them, for the tests of the Python package.

Question answering needs a version before 5.3, the rest was recorded with a later one.
"""

import argparse
import json
from pathlib import Path

import torch
from transformers import pipeline

TEXT, OTHER = "Anna works in Paris.", "a very good film \U0001f600 in PARIS"
PAIR = {"text": "anna wrote it", "text_pair": "the king wrote it"}
MASK, MASKS = "anna works in [MASK].", "[MASK] wrote the [MASK]?"

CONTEXT = "Anna works in Paris \U0001f600. the king wrote it."
ASKED = {"question": "who wrote it?", "context": CONTEXT}
OTHER_ASKED = {"question": "where does anna work?", "context": CONTEXT}

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
        "question-answering",
        "mobilebert-f32",
        ({}, {"top_k": 2}),
        [
            (inputs, options)
            for inputs in (ASKED, [ASKED], [ASKED, OTHER_ASKED])
            for options in (
                {},
                {"top_k": 1},
                {"top_k": 3},
                {"max_answer_len": 3},
                {"handle_impossible_answer": True},
                {"handle_impossible_answer": True, "top_k": 2},
            )
        ]
        + [
            ({"question": ["who?", "where?"], "context": CONTEXT}, {}),
            ({"question": ["who?"], "context": CONTEXT}, {}),
            ({"question": ["who?"], "context": [CONTEXT]}, {"top_k": 2}),
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
    parser.add_argument("--task", action="append", required=True, choices=[case[0] for case in CASES])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    for task, model, all_options, calls in CASES:
        if task not in arguments.task:
            continue
        for options in all_options:
            called = pipeline(task, str(arguments.checkpoints / model), device="cpu", **options)
            for inputs, given in calls:
                case = {"task": task, "model": model, "options": options, "inputs": inputs, "call": given}
                # Questions as columns are keyword arguments.
                columns = isinstance(inputs, dict) and isinstance(inputs.get("question"), list)
                result = called(**inputs, **given) if columns else called(inputs, **given)
                lines.append(json.dumps({**case, "result": rounded(result)}))
    arguments.out.write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
