"""Entities of random tags in BIOES and BILOU by seqeval: its default mode, its strict mode, and strict scores."""

import argparse
import json
import random
from pathlib import Path

from seqeval.metrics import classification_report
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOBES, Entities

SEED = 20261128
TYPES = ["PER", "LOC", "creative-work"]
SCHEMES = {"bioes": (IOBES, "BIES"), "bilou": (BILOU, "BILU")}
# The default mode knows no BILOU. Its L- and U- mean what E- and S- mean.
AS_BIOES = {"L": "E", "U": "S"}


def random_tags(rng: random.Random, marks: str, size: int) -> list[str]:
    """Tags of which some follow the rules of the scheme and some break them."""
    begin, inside, end, single = marks[0], marks[1], *(("E", "S") if "E" in marks else ("L", "U"))
    tags: list[str] = []
    while len(tags) < size:
        kind, draw = rng.choice(TYPES), rng.random()
        if draw < 0.3:
            tags.append("O")
        elif draw < 0.45:
            tags.append(f"{single}-{kind}")
        elif draw < 0.6:
            tags += [f"{begin}-{kind}", *[f"{inside}-{kind}"] * rng.randrange(3), f"{end}-{kind}"]
        else:
            tags.append(f"{rng.choice(marks)}-{kind}")
    return tags[:size]


def default_mode(tags: list[str]) -> list[list]:
    as_bioes = [AS_BIOES.get(tag[0], tag[0]) + tag[1:] for tag in tags]
    return [list(entity) for entity in get_entities(as_bioes)]


def strict_mode(tags: list[str], scheme: type) -> list[list]:
    [entities] = Entities([tags], scheme).entities
    return [[entity.tag, entity.start, entity.end - 1] for entity in entities]


def cases(rng: random.Random, scheme: type, marks: str) -> dict:
    sizes = [rng.randrange(1, 14) for _ in range(80)]
    gold = [random_tags(rng, marks, size) for size in sizes]
    predicted = [[g if rng.random() < 0.7 else p for g, p in zip(s, random_tags(rng, marks, len(s)))] for s in gold]
    report = classification_report(gold, predicted, mode="strict", scheme=scheme, output_dict=True, zero_division=0)
    names = ("precision", "recall", "f1-score", "support")
    return {
        "sequences": [
            {"tags": tags, "default": default_mode(tags), "strict": strict_mode(tags, scheme)} for tags in gold
        ],
        "predicted": predicted,
        "micro": {name: float(report["micro avg"][name]) for name in names},
        "types": {
            kind: {name: float(scores[name]) for name in names}
            for kind, scores in report.items()
            if not kind.endswith(" avg")
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, nargs="?", default=Path(__file__).parents[2] / "tests/golden/tags.json")
    output = parser.parse_args().output
    rng = random.Random(SEED)
    goldens = {name: cases(rng, *scheme) for name, scheme in SCHEMES.items()}
    output.write_text(json.dumps(goldens, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
