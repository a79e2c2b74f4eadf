"""Sentences of Wikipedia with the logits of `name_teacher.py`'s model, kept on disk: `labelled-NN.npz` for `prepare_ner.py`.

    python label_names.py --data DIR --tokenizer FOLDER --mpnet FOLDER --teacher teacher.pt --out DIR --minutes 20

The teacher reads up to 160 tokens of a paragraph, with their capitals; each sentence is kept by itself, as a student
may read it, or with its neighbours. Paragraphs that share words in a row with a dev set are left out.
"""

import argparse
import random
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from name_teacher import NameTeacher, Window, tensors_of, windows
from names import NO_TAG, TAGS, Sentence
from mpnet import open_mpnet
from prepare import lines_of, tokenizer_of
from wikipedia_names import CAPITAL_INSIDE, LIKELY_ORGANISATION, SENTENCE_END, WORDS, measured_rows, rows_of_words

PART = 120
"""Windows of a file."""

WHOLE = 0.25
"""Share of the windows that are kept whole, because people's texts have several sentences too."""

STEP = 1280
"""Tokens that are read at once."""

def worth_reading(line: str, draw: random.Random) -> bool:
    """Names are likely; organisations, which are rare, more often than not."""
    names = len(CAPITAL_INSIDE.findall(line))
    return names >= 3 and names >= len(line) / 150 and (LIKELY_ORGANISATION.search(line) is not None or draw.random() < 0.35)


def paragraphs(folder: Path, known: set[tuple[str, ...]], draw: random.Random) -> Iterator[list[Sentence]]:
    """A paragraph of each file in turn (of the short articles twice), a tenth of those worth reading."""
    files = sorted(folder.glob("*.txt.zst"))
    turns = [lines_of(file) for file in files for _ in range(2 if "short" in file.name else 1)]
    for line in chain.from_iterable(zip(*turns, strict=False)):
        if draw.random() < 0.1 and worth_reading(line, draw):
            sentences = [WORDS.findall(part) for part in SENTENCE_END.split(line.strip())]
            if not any(row in known for words in sentences for row in rows_of_words(words)):
                yield [[(word, NO_TAG) for word in words] for words in sentences if 4 <= len(words) <= 80]


@torch.no_grad()
def labelled(model: NameTeacher, read: list[Window], draw: random.Random) -> tuple[list[list[int]], list[torch.Tensor]]:
    """Ids and logits of each sentence of the windows, or of all of them together."""
    ids: list[list[int]] = []
    logits: list[torch.Tensor] = []
    read = sorted(read, key=lambda window: len(window.ids))
    while read:
        count = max(1, STEP // (len(read[-1].ids) + 1))
        step, read = read[-count:], read[:-count]
        answers = model(*tensors_of(step)[:2])
        for window, answer in zip(step, answers, strict=True):
            places = window.places
            if draw.random() < WHOLE:
                places = [(places[0][0], places[-1][1])]
            for first, last in places:
                ids.append(window.ids[first:last])
                logits.append(answer[first:last].half())
    return ids, logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--mpnet", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer, draw = tokenizer_of(args.tokenizer), random.Random(args.seed)

    @cache
    def pieces(word: str) -> list[int]:
        return tokenizer(word, add_special_tokens=False)["input_ids"]

    model = NameTeacher(open_mpnet(args.mpnet))
    model.load_state_dict(torch.load(args.teacher, weights_only=True))
    model.eval()
    known = measured_rows(args.data / "ner")
    began, part, sentences, tokens = time.monotonic(), 0, 0, 0
    read: list[Window] = []
    for paragraph in paragraphs(args.data / "text", known, draw):
        read += windows(paragraph, pieces)
        if len(read) < PART:
            continue
        ids, logits = labelled(model, read, draw)
        ends = np.cumsum([len(row) for row in ids])
        flat = np.concatenate([np.array(row, np.uint16) for row in ids])
        np.savez(args.out / f"labelled-{part:02}.npz", ids=flat, ends=ends, logits=torch.cat(logits).numpy())
        part, sentences, tokens, read = part + 1, sentences + len(ids), tokens + len(flat), []
        tags = torch.cat(logits).argmax(-1)
        kinds = {kind: int((tags == TAGS.index(f"B-{kind}")).sum()) for kind in ("PER", "LOC", "ORG")}
        minutes = (time.monotonic() - began) / 60
        print(f"{part} files, {sentences:,} sentences, {tokens:,} tokens, {tokens / minutes / 60:.0f} tokens/s, names of the last {kinds}", flush=True)
        if minutes >= args.minutes:
            break


if __name__ == "__main__":
    main()
