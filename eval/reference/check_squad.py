"""Compares our SQuAD scores with two ports of the official scripts that others keep: `transformers.data.metrics.squad_metrics`
(v2.0's script; in releases before 5) and torchmetrics (v1.1's). Needs requirements-squad.txt.

Without arguments: the items of tests/golden/metrics.json. With a SQuAD file and predictions ({id: text}): the two totals."""

import argparse
import json
from pathlib import Path

from torchmetrics.functional.text.squad import squad
from transformers.data.metrics import squad_metrics as v2

GOLDEN = Path(__file__).parents[2] / "tests/golden/metrics.json"


def score_v1(predictions: dict[str, str], references: dict[str, list[str]]) -> dict[str, float]:
    """Totals of v1.1's script, in percent."""
    asked = [{"id": i, "answers": {"text": r, "answer_start": [0] * len(r)}} for i, r in references.items()]
    given = [{"id": i, "prediction_text": predictions[i]} for i in references]
    found = squad(given, asked)
    return {"exact": float(found["exact_match"]), "f1": float(found["f1"])}


def score_v2(prediction: str, references: list[str]) -> dict[str, float]:
    """One question by v2.0's script."""
    references = [r for r in references if v2.normalize_answer(r)] or [""]
    return {
        "exact": max(v2.compute_exact(r, prediction) for r in references),
        "f1": max(v2.compute_f1(r, prediction) for r in references),
    }


def check_golden() -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))["squad"]
    items = {str(i): item for i, item in enumerate(golden["items"])}
    compared = 0
    for item in items.values():
        prediction, references = item["prediction"], item["references"]
        assert v2.normalize_answer(prediction) == item["normalized"], item
        assert score_v2(prediction, references) == item["v2"], item
        # Nothing against nothing is 0 in the original and 1 in this port.
        if item["v1"] and item["normalized"]:
            found = score_v1({"x": prediction}, {"x": references})
            assert all(abs(found[name] - 100 * item["v1"][name]) < 1e-4 for name in found), (item, found)
            compared += 1
    predictions = {i: item["prediction"] for i, item in items.items()}
    odds = {i: item["null_odds"] for i, item in items.items()}
    has_answer = {i: bool(item["references"]) for i, item in items.items()}
    for name, expected in golden["best"].items():
        scores = {i: item["v2"][name] for i, item in items.items()}
        assert list(v2.find_best_thresh(predictions, scores, odds, has_answer)) == expected, name
    print(f"{len(items)} items agree with v2.0's script, {compared} with v1.1's, both best thresholds too")


def score_file(data: Path, predictions: Path) -> None:
    articles = json.loads(data.read_text(encoding="utf-8"))["data"]
    given = json.loads(predictions.read_text(encoding="utf-8"))
    questions = [q for a in articles for p in a["paragraphs"] for q in p["qas"] if q["id"] in given]
    references = {q["id"]: [answer["text"] for answer in q["answers"]] for q in questions}
    each = [score_v2(given[i], r) for i, r in references.items()]
    totals = {name: 100 * sum(score[name] for score in each) / len(each) for name in ("exact", "f1")}
    answerable = {i: r for i, r in references.items() if r}
    print(json.dumps({"total": len(each), "v1.1": score_v1(given, answerable), "v2.0": totals}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("predictions", type=Path, nargs="?")
    arguments = parser.parse_args()
    if arguments.predictions:
        score_file(arguments.data, arguments.predictions)
    else:
        check_golden()


if __name__ == "__main__":
    main()
