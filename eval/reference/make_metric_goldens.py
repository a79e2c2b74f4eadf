"""Scores of random predictions by the original implementations: scikit-learn, SciPy (what GLUE uses), seqeval,
and SQuAD's two scripts by their published definitions, written down here again. Needs requirements-metrics.txt."""

import argparse
import collections
import json
import random
import re
import string
from pathlib import Path

from scipy.stats import pearsonr, spearmanr
from seqeval.metrics import accuracy_score as tag_accuracy
from seqeval.metrics import classification_report
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

SEED = 20261122
WORDS = "the a an The A's theory cat, dog. dog-cat U.S. café naïve 12 12.5 (x) \u00a0 \u201cquoted\u201d an. the-the É ΟΔΟΣ straße".split(" ")
TYPES = ["PER", "LOC", "creative-work"]


def normalize(text: str) -> str:
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def overlap(prediction: list[str], gold: list[str]) -> float:
    common = sum((collections.Counter(prediction) & collections.Counter(gold)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(prediction), common / len(gold)
    return 2 * precision * recall / (precision + recall)


def score_v1(prediction: str, references: list[str]) -> tuple[float, float]:
    exact = max(float(normalize(prediction) == normalize(r)) for r in references)
    return exact, max(overlap(normalize(prediction).split(), normalize(r).split()) for r in references)


def score_v2(prediction: str, references: list[str]) -> tuple[float, float]:
    def f1(reference: str) -> float:
        a, b = normalize(prediction).split(), normalize(reference).split()
        return float(a == b) if not a or not b else overlap(a, b)

    references = [r for r in references if normalize(r)] or [""]
    return max(float(normalize(prediction) == normalize(r)) for r in references), max(map(f1, references))


def best_threshold(items: list[dict], name: str) -> tuple[float, float]:
    score = best = sum(not item["references"] for item in items)
    threshold = 0.0
    for item in sorted(items, key=lambda item: item["null_odds"]):
        if item["references"]:
            score += item["v2"][name]
        elif item["prediction"]:
            score -= 1
        if score > best:
            best, threshold = score, item["null_odds"]
    return 100.0 * best / len(items), threshold


def squad(rng: random.Random) -> dict:
    def text(most: int) -> str:
        return " ".join(rng.choices(WORDS, k=rng.randrange(most)))

    items = []
    for _ in range(200):
        references = [text(5) for _ in range(rng.randrange(1, 4))] if rng.random() < 0.7 else []
        prediction = rng.choice(references) if references and rng.random() < 0.4 else text(6)
        item = {"prediction": prediction, "references": references, "null_odds": round(rng.gauss(0, 3), 3)}
        item["normalized"] = normalize(prediction)
        item["v1"] = dict(zip(("exact", "f1"), score_v1(prediction, references))) if references else None
        item["v2"] = dict(zip(("exact", "f1"), score_v2(prediction, references)))
        items.append(item)
    best = {name: best_threshold(items, name) for name in ("exact", "f1")}
    totals = {}
    for version in ("v1", "v2"):
        scored = [item[version] for item in items if item[version]]
        for name in ("exact", "f1"):
            total = 0.0
            for s in scored:  # `sum` compensates rounding since Python 3.12, and the v1.1 script does not use it
                total += s[name]
            totals[f"{version}_{name}"] = 100.0 * total / len(scored)
    return {"items": items, "totals": totals, "best": best}


def classes(rng: random.Random) -> list[dict]:
    cases = []
    for kinds, size in [(2, 10), (2, 277), (2, 1043), (3, 100), (5, 33), (2, 1)]:
        gold = [rng.randrange(kinds) for _ in range(size)]
        predicted = [g if rng.random() < 0.7 else rng.randrange(kinds) for g in gold]
        cases.append((predicted, gold))
    cases.append(([1, 1, 1], [0, 1, 0]))
    cases.append(([0, 0], [0, 0]))
    return [
        {
            "predicted": p,
            "gold": g,
            "accuracy": accuracy_score(g, p),
            "f1": f1_score(g, p, labels=[1], average="macro", zero_division=0),
            "macro_f1": f1_score(g, p, average="macro", zero_division=0),
            "matthews": matthews_corrcoef(g, p),
        }
        for p, g in cases
    ]


def values(rng: random.Random) -> list[dict]:
    cases = []
    for size in (3, 50, 1500):
        gold = [round(rng.uniform(0, 5), 1) for _ in range(size)]
        predicted = [g + rng.gauss(0, 1) for g in gold]
        cases.append((predicted, gold))
    return [
        {"predicted": p, "gold": g, "pearson": float(pearsonr(p, g)[0]), "spearman": float(spearmanr(p, g)[0])}
        for p, g in cases
    ]


def entities(rng: random.Random) -> list[dict]:
    def tags(marks: str, size: int) -> list[str]:
        return ["O" if rng.random() < 0.4 else f"{rng.choice(marks)}-{rng.choice(TYPES)}" for _ in range(size)]

    cases = []
    for marks in ("BI", "BIES", "I"):
        sizes = [rng.randrange(1, 12) for _ in range(40)]
        gold = [tags(marks, size) for size in sizes]
        predicted = [[g if rng.random() < 0.7 else p for g, p in zip(s, tags(marks, len(s)))] for s in gold]
        report = classification_report(gold, predicted, output_dict=True, zero_division=0)
        micro = report["micro avg"]
        cases.append(
            {
                "predicted": predicted,
                "gold": gold,
                "accuracy": tag_accuracy(gold, predicted),
                "all": {name: float(micro[name]) for name in ("precision", "recall", "f1-score", "support")},
                "types": {
                    kind: {name: float(scores[name]) for name in ("precision", "recall", "f1-score", "support")}
                    for kind, scores in report.items()
                    if not kind.endswith(" avg")
                },
            }
        )
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, nargs="?", default=Path(__file__).parents[2] / "tests/golden/metrics.json")
    output = parser.parse_args().output
    rng = random.Random(SEED)
    goldens = {"squad": squad(rng), "classes": classes(rng), "values": values(rng), "entities": entities(rng)}
    output.write_text(json.dumps(goldens, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
