"""Data of `--task ner` to a file that training reads without a tokenizer: `ner.npz`. Dev and test sets are not read.

    python prepare_ner.py --data DIR --tokenizer FOLDER --out DIR [--exchanged 20000 --sentences 30000 --labelled DIR]

Wikigold's articles, sections a, b, e, f and g of the Broad Twitter Corpus (h is kept for measuring), WNUT 17's train part and
the sentences of `written/names` and those that `written/wikipedia` marks; new sentences made of these, with other names; and
sentences of the Wikipedia text without tags, which only a teacher labels: while a student learns (`--sentences`) or before, with
`label_names.py` (`--labelled`).
"""

import argparse
import random
import re
from functools import cache
from pathlib import Path

import numpy as np
import torch

from data import CLS, NO_LABEL, SEP, in_held_out_stretch
from names import NO_TAG, TAGS, Sentence, encoded, exchanged, marked, sentences_of, without_user_names
from prepare import lines_of, tokenizer_of, write_examples
from wikipedia_names import SENTENCE_END, marked_sentences

LONGEST = 128
"""Tokens of a sentence, at most."""

BTC_SECTIONS = "abefg"

WIKIGOLD_REPEATED = 3
"""Its sentences are few, and the most like what people write in whole sentences."""

WRITTEN = Path(__file__).parent / "written/names"
"""Sentences that were written for this project, with marks around names."""

MARKS = Path(__file__).parent / "written/wikipedia"
"""Names in sentences of the Wikipedia text."""

WORDS = re.compile(r"\w+|[^\w\s]")


def untagged(folder: Path, count: int, seed: int) -> list[Sentence]:
    """`count` sentences of 5 to 50 words of the texts' first lines, each from a paragraph of its own, in random order."""
    draw, found = random.Random(seed), []
    files = sorted(folder.glob("*.txt.zst"))
    for file in files:
        some = []
        for line in lines_of(file):
            words = WORDS.findall(draw.choice(SENTENCE_END.split(line.strip())))
            if 5 <= len(words) <= 50:
                some.append([(word, NO_TAG) for word in words])
            if len(some) * len(files) >= count:
                break
        found += some
    draw.shuffle(found)
    return found[:count]


def written_sentences(each: int | None = None) -> list[Sentence]:
    """The sentences of `written/names`, at most `each` of a file."""
    return [marked(line) for file in sorted(WRITTEN.glob("*.txt")) for line in file.read_text("utf-8").splitlines()[:each]]


def kept_labels(folder: Path) -> tuple[list[list[int]], list[np.ndarray]]:
    """Sentences that `label_names.py` wrote, and their logits: rows of zeros for `[CLS]` and `[SEP]`."""
    ids: list[list[int]] = []
    logits: list[np.ndarray] = []
    for file in sorted(folder.glob("labelled-*.npz")):
        columns = np.load(file)
        cuts = columns["ends"][:-1]
        for row, answer in zip(np.split(columns["ids"], cuts), np.split(columns["logits"], cuts), strict=True):
            ids.append([CLS, *row[: LONGEST - 2].tolist(), SEP])
            logits.append(np.pad(answer[: LONGEST - 2], ((1, 1), (0, 0))))
    return ids, logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder with BERT's uncased vocabulary")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--exchanged", type=int, default=20_000, help="new sentences with other names, two thirds of them no tweets")
    parser.add_argument("--sentences", type=int, default=0, help="sentences without tags")
    parser.add_argument("--labelled", type=Path, help="folder that label_names.py wrote")
    parser.add_argument("--tweets", type=float, default=1.0, help="share of the tweets that is read")
    parser.add_argument("--repeated", type=int, default=WIKIGOLD_REPEATED, help="times that wikigold is read")
    parser.add_argument("--marks", type=Path, default=MARKS, help="folder with names of sentences of the text")
    parser.add_argument("--written", type=int, default=1, help="times that the sentences of written/names are read")
    parser.add_argument("--examples", type=int, help="sentences of each source at most")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_of(args.tokenizer)

    folder = args.data / "ner"
    articles = list(sentences_of(folder / "wikigold/train.conll"))[: args.examples]
    tweets = [s for section in BTC_SECTIONS for s in list(sentences_of(folder / f"btc/{section}.conll"))[: args.examples]]
    tweets += list(without_user_names(sentences_of(folder / "wnut17/train.conll")))[: args.examples]
    written = written_sentences(args.examples)
    marked_text = marked_sentences(args.data, args.marks)[: args.examples]
    if args.tweets < 1:
        tweets = random.Random(args.seed).sample(tweets, round(args.tweets * len(tweets)))
    kept, trained = [], []
    for source, repeated in ((articles, args.repeated), (written, args.written), (marked_text, 1), (tweets, 1)):
        out = in_held_out_stretch(torch.arange(len(source)), len(source)).tolist()
        kept += [s for s, held_out in zip(source, out, strict=True) if held_out]
        trained.append([s for s, held_out in zip(source, out, strict=True) if not held_out] * repeated)
    known = [s for part in trained for s in part]
    new = exchanged(trained[0] + trained[1] + trained[2], known, 2 * args.exchanged // 3, args.seed)
    new += exchanged(known, known, args.exchanged // 3, args.seed + 1)
    read = [*kept, *known, *new, *untagged(args.data / "text", args.sentences, args.seed)]

    @cache
    def pieces(word: str) -> list[int]:
        return tokenizer(word, add_special_tokens=False)["input_ids"]

    rows = [encoded(sentence, pieces, LONGEST) for sentence in read]
    sequences, columns = [ids for ids, _ in rows], {"tags": [tag for _, row in rows for tag in row]}
    if args.labelled is not None:
        ids, logits = kept_labels(args.labelled)
        columns["tags"] += [NO_LABEL] * sum(map(len, ids))
        columns["logits"] = np.concatenate([np.zeros((sum(map(len, sequences)), len(TAGS)), np.float16), *logits])
        sequences += ids
    columns["held_out"] = [number < len(kept) for number in range(len(sequences))]
    write_examples(args.out / "ner.npz", tokenizer, sequences, columns)


if __name__ == "__main__":
    main()
