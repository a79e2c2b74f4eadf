"""Sentences that people have rated, beside SST-2, to a file that training reads without a tokenizer: `sst2.npz`.

    python ratings.py --data DIR --tokenizer FOLDER --out DIR --ratings amazonReviewSnippets_GroundTruth.txt ...

The rated files have an id, a mean rating from -4 (extremely negative) to 4 and a text on each line, with tabs between them.
Dev sets are not read, and one stretch of ten of each rated file is kept out of training.
"""

import argparse
import html
import math
from pathlib import Path

import torch
from torch import Tensor

from data import NO_LABEL, in_held_out_stretch
from prepare import SST2_LENGTH, tokenizer_of, write_examples

SLOPE = 1.5
"""A mean rating of 1 is clear, so its probability is 0.82; one of 2, 0.95. A text without an opinion has 0.5."""

STRETCHES = 50
"""Of a rated file; neighbours are of one review or article."""


def probability(rating: float) -> float:
    """Of `positive`, from a mean rating."""
    return 1 / (1 + math.exp(-SLOPE * rating))


def text_of(file: Path) -> str:
    """UTF-8 as here, or Latin-1 as VADER's makers wrote."""
    content = file.read_bytes()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def rated(file: Path) -> list[tuple[str, float]]:
    """The texts of a file and their ratings. Characters that its makers wrote as HTML are themselves again."""
    found = []
    for number, line in enumerate(text_of(file).split("\n"), 1):
        if not line.strip():
            continue
        fields = line.rstrip("\r").split("\t", 2)
        try:
            rating = float(fields[1])
        except (IndexError, ValueError):
            rating = math.nan
        if len(fields) != 3 or not -4 <= rating <= 4:
            raise SystemExit(f"{file}, line {number}: expected an id, a rating from -4 to 4 and a text, with tabs between them")
        found.append((html.unescape(fields[2]), rating))
    return found


def kept_out(count: int) -> Tensor:
    """Which of a file's texts are for measuring: every tenth of `STRETCHES` stretches."""
    return torch.arange(count) * STRETCHES // max(count, 1) % 10 == 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder with BERT's uncased vocabulary")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ratings", type=Path, nargs="+", required=True, help="files of rated texts")
    parser.add_argument("--repeated", type=int, default=1, help="how often each rated text is there")
    parser.add_argument("--examples", type=int, help="sentences of SST-2 and of each rated file at most")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_of(args.tokenizer)

    rows = [line.split("\t") for line in (args.data / "glue/sst2/train.tsv").read_text("utf-8").splitlines()[1:]][: args.examples]
    texts = [row[0] for row in rows]
    columns = {
        "label": [int(row[1]) for row in rows],
        "percent": [NO_LABEL] * len(rows),
        "held_out": in_held_out_stretch(torch.arange(len(rows)), len(rows)).int().tolist(),
    }
    for file in args.ratings:
        read = rated(file)[: args.examples]
        trained = [pair for pair, out in zip(read, kept_out(len(read)).tolist(), strict=True) if not out] * args.repeated
        texts += [text for text, _ in trained]
        columns["label"] += [NO_LABEL] * len(trained)
        columns["percent"] += [round(100 * probability(rating)) for _, rating in trained]
        columns["held_out"] += [0] * len(trained)
    sequences = tokenizer(texts, truncation=True, max_length=SST2_LENGTH)["input_ids"]
    write_examples(args.out / "sst2.npz", tokenizer, sequences, columns)


if __name__ == "__main__":
    main()
