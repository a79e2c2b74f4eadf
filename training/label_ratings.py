"""What `rating_teacher.py`'s model says of sentences, kept on disk: `sst2.npz` for `finetune.py`.

    python label_ratings.py --data DIR --tokenizer FOLDER --mpnet FOLDER --teacher teacher.pt --out DIR --ratings FILE...

Rated sentences have the mean of people's probability and the teacher's, so have those of SST-2; variants of the rated ones, with
words swapped, masked or dropped, have the teacher's. As every sentence has a probability, `finetune.py` asks no teacher. Dev sets
are not read.
"""

import argparse
import random
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from augment import augmented, neighbours
from data import NO_LABEL, PAD, Batch, in_held_out_stretch, padded, steps_by_length
from mpnet import BEFORE_WORDS, open_mpnet
from prepare import tokenizer_of, write_examples
from rating_teacher import LONGEST, RatingTeacher, parts, sst2

STEP = 2048
"""Tokens that are read at once."""

SUREST = 98
"""Percent; labels of 0 and 1 would teach a model that it is never wrong."""

FEWEST = 5
"""Tokens of a phrase of SST-2; shorter ones are words."""


@torch.no_grad()
def probabilities(model: RatingTeacher, rows: list[list[int]]) -> list[float]:
    """Of `positive`, for each sentence."""
    found, began, steps = [0.0] * len(rows), time.monotonic(), steps_by_length(list(map(len, rows)), STEP)
    random.Random(1).shuffle(steps)
    for number, step in enumerate(steps):
        for place, p in zip(step, model(padded([rows[n] for n in step])).sigmoid().tolist(), strict=True):
            found[place] = p
        if number % 50 == 49:
            print(f"{number + 1} of {len(steps)} steps, {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
    return found


def variants(rows: list[list[int]], near: Tensor, continues: Tensor, noise: torch.Generator) -> list[list[int]]:
    """One variant of each sentence."""
    found: list[list[int]] = []
    for start in range(0, len(rows), 256):
        ids = padded(rows[start : start + 256])
        new = augmented(Batch(ids, torch.zeros_like(ids), ids != PAD), continues, near, noise)
        found += [row[mask].tolist() for row, mask in zip(new.ids, new.mask, strict=True)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder with BERT's uncased vocabulary")
    parser.add_argument("--mpnet", type=Path)
    parser.add_argument("--teacher", type=Path, help="without one, sentences have what people say, and there are no variants")
    parser.add_argument("--ratings", type=Path, nargs="+", required=True, help="files of rated texts")
    parser.add_argument("--films", type=int, default=40_000, help="phrases of SST-2")
    parser.add_argument("--variants", type=int, default=1, help="of each rated sentence")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.teacher is not None and args.mpnet is None:
        parser.error("--teacher needs --mpnet")
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_of(args.tokenizer)

    rated, _ = parts(args.ratings)
    films = sst2(args.data)
    texts = [text for text, _ in [*rated, *films]]
    rows = tokenizer(texts, truncation=True, max_length=LONGEST)["input_ids"]
    known = [p for _, p in [*rated, *films]]
    held_out = [False] * len(rated) + in_held_out_stretch(torch.arange(len(films)), len(films)).tolist()
    long_enough = [n for n in range(len(rated), len(rows)) if len(rows[n]) >= FEWEST]
    picked = [*range(len(rated)), *random.Random(args.seed).sample(long_enough, min(args.films, len(long_enough)))]
    rows, known, held_out = [rows[n] for n in picked], [known[n] for n in picked], [held_out[n] for n in picked]
    labels = [NO_LABEL] * len(rated) + [int(p) for p in known[len(rated) :]]

    told, new = known, []
    if args.teacher is not None:
        model = RatingTeacher(open_mpnet(args.mpnet))
        model.load_state_dict(torch.load(args.teacher, weights_only=True))
        continues = torch.tensor([piece.startswith("##") for piece in tokenizer.convert_ids_to_tokens(range(len(tokenizer)))])
        words = model.mpnet.embeddings["word_embeddings"].weight.detach()[BEFORE_WORDS : BEFORE_WORDS + len(tokenizer)]
        near = neighbours(words, continues, torch.tensor(sorted({i for row in rows for i in row})))
        noise = torch.Generator().manual_seed(args.seed)
        new = [row for _ in range(args.variants) for row in variants(rows[: len(rated)], near, continues, noise)]
        # In f32: PyTorch's own dynamic int8 changed the sign of a quarter of the sentences.
        told = probabilities(model.eval(), rows + new)
        unlike = np.mean([abs(p - q) > 0.5 for p, q in zip(known, told, strict=False)])
        print(f"the teacher contradicts {100 * unlike:.1f} % of the labels", flush=True)
    both = [(p + q) / 2 for p, q in zip(known, told, strict=False)] + told[len(rows) :]
    columns = {
        "label": labels + [NO_LABEL] * len(new),
        "percent": [min(max(round(100 * p), 100 - SUREST), SUREST) for p in both],
        "held_out": [int(out) for out in held_out] + [0] * len(new),
    }
    write_examples(args.out / "sst2.npz", tokenizer, rows + new, columns)


if __name__ == "__main__":
    main()
