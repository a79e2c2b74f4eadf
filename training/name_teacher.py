"""Fine-tunes MPNet to find names, as a teacher that sees more than its student: the neighbouring sentences, and capitals.

    python name_teacher.py --data DIR --tokenizer FOLDER --mpnet FOLDER --out teacher.pt [--score dev.conll]

`--tokenizer` has BERT's uncased vocabulary. `--score` prints the span F1 of a file, which is not trained on.
"""

import argparse
import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data import CLS, NO_LABEL, PAD, SEP, padded
from mpnet import MPNet, open_mpnet
from names import TAGS, Sentence, encoded, names_of, sentences_of, spans_of, with_other_names, without_user_names
from prepare import tokenizer_of
from prepare_ner import BTC_SECTIONS, written_sentences
from trainer import schedule, seed_everything

FROZEN = 4
"""Layers at the bottom that stay as they are: they need no gradients, and there are few sentences."""

LONGEST = 160
"""Tokens of a window of sentences, at most."""

STEP = 512
"""Tokens of a step, about."""

DROPOUT = 0.1

SHAPES = 6


def shape_of(word: str) -> int:
    """Which capitals a word has: none, its first, all, others; 4 for numbers, 5 for signs."""
    letters = [c for c in word if c.isalpha()]
    if not letters:
        return 4 if any(c.isdigit() for c in word) else 5
    if not any(c.isupper() for c in letters):
        return 0
    if len(letters) > 1 and all(c.isupper() for c in letters):
        return 2
    return 1 if word[:1].isupper() and not any(c.isupper() for c in letters[1:]) else 3


class NameTeacher(nn.Module):
    """MPNet, a state for each shape of a word that joins above the frozen layers, and a linear that gives tags."""

    def __init__(self, mpnet: MPNet) -> None:
        super().__init__()
        self.mpnet = mpnet.requires_grad_(False)
        for layer in mpnet.encoder["layer"][FROZEN:]:
            layer.requires_grad_(True)
        width = mpnet.embeddings["word_embeddings"].embedding_dim
        self.shapes = nn.Embedding(SHAPES, width)
        self.tags = nn.Linear(width, len(TAGS))
        nn.init.zeros_(self.shapes.weight)
        nn.init.normal_(self.tags.weight, 0.0, 0.02)

    def forward(self, ids: Tensor, shapes: Tensor) -> Tensor:
        """`[batch, tokens, tags]`; both inputs are `[batch, tokens]`, padded with `PAD`."""
        mask, dropout = ids != PAD, DROPOUT if self.training else 0.0
        with torch.no_grad():
            x = self.mpnet.layers(self.mpnet.embed(ids, mask), mask, 0, FROZEN)
        x = self.mpnet.layers(x + self.shapes(shapes), mask, FROZEN, None, dropout)
        return self.tags(F.dropout(x, dropout, self.training))


class Window:
    """Sentences in a row: ids, shapes and tags of their tokens between one `[CLS]` and one `[SEP]`, and where each sentence lies."""

    def __init__(self) -> None:
        self.ids, self.shapes, self.tags = [CLS], [5], [NO_LABEL]
        self.places: list[tuple[int, int]] = []

    def add(self, sentence: Sentence, pieces: Callable[[str], list[int]]) -> bool:
        """Whether it fits; the first always does, cut."""
        ids, tags = encoded(sentence, pieces, LONGEST)
        if self.places and len(self.ids) + len(ids) - 1 > LONGEST:
            return False
        shapes = [shape_of(word) for word, _ in sentence for _ in pieces(word)][: len(ids) - 2]
        self.places.append((len(self.ids), len(self.ids) + len(shapes)))
        self.ids += ids[1:-1]
        self.shapes += shapes
        self.tags += tags[1:-1]
        return True

    def closed(self) -> tuple[list[int], list[int], list[int]]:
        return [*self.ids, SEP], [*self.shapes, 5], [*self.tags, NO_LABEL]


def windows(sentences: list[Sentence], pieces: Callable[[str], list[int]], draw: random.Random | None = None) -> Iterator[Window]:
    """Neighbours together, up to `LONGEST` tokens; with `draw`, a third of the windows end earlier."""
    window, most = Window(), 100
    for sentence in sentences:
        if len(window.places) >= most or not window.add(sentence, pieces):
            yield window
            window, most = Window(), draw.randint(1, 3) if draw and draw.random() < 1 / 3 else 100
            window.add(sentence, pieces)
    if window.places:
        yield window


def steps_of(read: list[Window], draw: random.Random) -> list[list[Window]]:
    """In random order, of `STEP` tokens each, alike in length."""
    draw.shuffle(read)
    steps: list[list[Window]] = []
    for start in range(0, len(read), 400):
        some = sorted(read[start : start + 400], key=lambda w: len(w.ids))
        step: list[Window] = []
        for window in some:
            if step and (len(step) + 1) * (len(window.ids) + 1) > STEP:
                steps.append(step)
                step = []
            step.append(window)
        steps.append(step)
    draw.shuffle(steps)
    return steps


def tensors_of(step: list[Window]) -> tuple[Tensor, Tensor, Tensor]:
    rows = [window.closed() for window in step]
    return padded([r[0] for r in rows], PAD), padded([r[1] for r in rows], 5), padded([r[2] for r in rows], NO_LABEL)


def training_windows(data: Path, pieces: Callable[[str], list[int]], passes: int, tweet_share: float, seed: int) -> list[Window]:
    """Wikigold `passes` times, every second time with other names, a share of the tweets once, and what was written for this."""
    draw = random.Random(seed)
    articles = list(sentences_of(data / "ner/wikigold/train.conll"))
    tweets = [s for section in BTC_SECTIONS for s in sentences_of(data / f"ner/btc/{section}.conll")]
    tweets += without_user_names(sentences_of(data / "ner/wnut17/train.conll"))
    known = names_of([*articles, *tweets])
    read: list[Window] = []
    for turn in range(passes):
        some = articles if turn % 2 == 0 else [with_other_names(s, known, draw) for s in articles]
        read += windows(some, pieces, draw)
    for sentence in written_sentences():
        read += windows([sentence], pieces)
    for tweet in draw.sample(tweets, round(tweet_share * len(tweets))):
        read += windows([tweet], pieces)
    return read


@torch.no_grad()
def scored(model: NameTeacher, file: Path, pieces: Callable[[str], list[int]], together: bool) -> dict[str, float]:
    """Span F1 by type; `together` reads neighbouring sentences in one window."""
    model.eval()
    sentences = list(sentences_of(file))
    read = list(windows(sentences, pieces)) if together else [w for s in sentences for w in windows([s], pieces)]
    right: dict[str, int] = defaultdict(int)
    found: dict[str, int] = defaultdict(int)
    wanted: dict[str, int] = defaultdict(int)
    at = 0
    for window in read:
        ids, shapes, _ = tensors_of([window])
        best = model(ids, shapes)[0].argmax(-1).tolist()
        for start, end in window.places:
            place, tags = start, []
            for word, _ in sentences[at]:
                if pieces(word):
                    tags.append(TAGS[best[place]] if place < end else "O")
                    place += len(pieces(word))
                else:
                    tags.append("O")
            truth, mine = spans_of([t for _, t in sentences[at]]), spans_of(tags)
            at += 1
            for counts, spans in ((wanted, truth), (found, mine), (right, truth & mine)):
                for kind, _, _ in spans:
                    counts[kind] += 1
                    counts["all"] += 1
    return {kind: round(200 * right[kind] / (found[kind] + wanted[kind]), 2) for kind in ("all", "PER", "LOC", "ORG")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--mpnet", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--score", type=Path, nargs="*", default=[])
    parser.add_argument("--passes", type=int, default=4, help="over wikigold")
    parser.add_argument("--tweets", type=float, default=0.2, help="share of the tweets that is read")
    parser.add_argument("--rate", type=float, default=6e-5)
    parser.add_argument("--minutes", type=float, help="ends earlier, with the learning rate at zero")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    seed_everything(args.seed)
    tokenizer = tokenizer_of(args.tokenizer)

    @cache
    def pieces(word: str) -> list[int]:
        return tokenizer(word, add_special_tokens=False)["input_ids"]

    model = NameTeacher(open_mpnet(args.mpnet)).train()
    steps = steps_of(training_windows(args.data, pieces, args.passes, args.tweets, args.seed), random.Random(args.seed))
    print(f"{len(steps)} steps, {sum(len(w.ids) + 1 for s in steps for w in s):,} tokens", flush=True)
    new = [*model.shapes.parameters(), *model.tags.parameters()]
    groups = [{"params": [p for p in model.mpnet.parameters() if p.requires_grad], "factor": 1}, {"params": new, "factor": 10}]
    optimizer = torch.optim.AdamW(groups, lr=args.rate, weight_decay=0.01, betas=(0.9, 0.98), eps=1e-6, fused=True)
    began, since, tokens, total = time.monotonic(), time.monotonic(), 0, 0.0
    for number, step in enumerate(steps):
        clock = 0.0 if args.minutes is None else (time.monotonic() - began) / (60 * args.minutes)
        progress = max(number / len(steps), clock)
        if progress >= 1 or not math.isfinite(total):
            break
        for group in optimizer.param_groups:
            group["lr"] = args.rate * group["factor"] * schedule(progress, 0.08)
        ids, shapes, tags = tensors_of(step)
        loss = F.cross_entropy(model(ids, shapes).flatten(0, 1), tags.flatten(), ignore_index=NO_LABEL)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        tokens, total = tokens + sum(len(w.ids) + 1 for w in step), total + loss.item()
        if (number + 1) % 20 == 0:
            seconds = time.monotonic() - since
            print(f"step {number + 1} loss {total / 20:.4f} tokens/s {tokens / seconds:.0f} minutes {(time.monotonic() - began) / 60:.1f}", flush=True)
            since, tokens, total = time.monotonic(), 0, 0.0
    torch.save(model.state_dict(), args.out)
    for file in args.score:
        for together in (True, False):
            print(file.name, "in windows" if together else "alone", scored(model, file, pieces, together), flush=True)


if __name__ == "__main__":
    main()
