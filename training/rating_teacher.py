"""Fine-tunes MPNet on rated sentences and SST-2, as a teacher of sentiment.

    python rating_teacher.py --data DIR --tokenizer FOLDER --mpnet FOLDER --out teacher.pt --ratings FILE...

Dev sets are not trained on, and one stretch of ten of each rated file is kept out of training (`ratings.py`). `--score` prints the
share of right signs of a file with a sentence and a label on each line.
"""

import argparse
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from data import PAD, padded, steps_by_length
from mpnet import MPNet, open_mpnet
from prepare import tokenizer_of
from ratings import kept_out, probability, rated
from trainer import schedule, seed_everything

FROZEN = 4
"""Layers at the bottom that stay as they are: they need no gradients."""

LONGEST = 64
"""Tokens of a sentence, at most."""

STEP = 640
"""Tokens of a step, about."""

DROPOUT = 0.1

Example = tuple[str, float]
"""A sentence and the probability that it is positive."""


class RatingTeacher(nn.Module):
    """MPNet, the mean of its states and a linear: the logit of `positive`."""

    def __init__(self, mpnet: MPNet) -> None:
        super().__init__()
        self.mpnet = mpnet.requires_grad_(False)
        for layer in mpnet.encoder["layer"][FROZEN:]:
            layer.requires_grad_(True)
        self.positive = nn.Linear(mpnet.embeddings["word_embeddings"].embedding_dim, 1)

    def forward(self, ids: Tensor) -> Tensor:
        """`[batch]` of `[batch, tokens]`, padded with `PAD`."""
        mask, dropout = ids != PAD, DROPOUT if self.training else 0.0
        with torch.no_grad():
            x = self.mpnet.layers(self.mpnet.embed(ids, mask), mask, 0, FROZEN)
        x = self.mpnet.layers(x, mask, FROZEN, None, dropout)
        mean = (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        return self.positive(F.dropout(mean, dropout, self.training))[:, 0]


def sst2(data: Path) -> list[Example]:
    rows = [line.split("\t") for line in (data / "glue/sst2/train.tsv").read_text("utf-8").splitlines()[1:]]
    return [(row[0], float(row[1])) for row in rows]


def parts(files: list[Path]) -> tuple[list[Example], list[Example]]:
    """What is trained on, and what is kept out, of rated files."""
    trained: list[Example] = []
    kept: list[Example] = []
    for file in files:
        read = rated(file)
        for (text, rating), out in zip(read, kept_out(len(read)).tolist(), strict=True):
            (kept if out else trained).append((text, probability(rating)))
    return trained, kept


def steps_of(rows: list[tuple[list[int], float]], draw: random.Random | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Ids and probabilities of about `STEP` tokens each, alike in length; in random order if `draw` is given."""
    if draw is not None:
        draw.shuffle(rows)
    for start in range(0, len(rows), 1000):
        some = rows[start : start + 1000]
        steps = steps_by_length([len(ids) for ids, _ in some], STEP)
        if draw is not None:
            draw.shuffle(steps)
        for step in steps:
            yield padded([some[n][0] for n in step]), torch.tensor([some[n][1] for n in step])


def encoded(examples: list[Example], tokenizer: PreTrainedTokenizerBase) -> list[tuple[list[int], float]]:
    ids = tokenizer([text for text, _ in examples], truncation=True, max_length=LONGEST)["input_ids"]
    return [(row, p) for row, (_, p) in zip(ids, examples, strict=True)]


@torch.no_grad()
def share_right(model: RatingTeacher, rows: list[tuple[list[int], float]]) -> float:
    """Of the sentences with an opinion."""
    model.eval()
    right, count = 0, 0
    for ids, wanted in steps_of(rows, None):
        clear = (wanted - 0.5).abs() > 0.3
        right += int(((model(ids) > 0) == (wanted > 0.5))[clear].sum())
        count += int(clear.sum())
    model.train()
    return right / max(count, 1)


def train(args: argparse.Namespace, model: RatingTeacher, tokenizer: PreTrainedTokenizerBase) -> None:
    draw = random.Random(args.seed)
    trained, kept = parts(args.ratings)
    trained *= args.repeated
    phrases = sst2(args.data)
    films = draw.sample(phrases, min(len(phrases), round(len(trained) * args.films)))
    steps = list(steps_of(encoded(trained + films, tokenizer), draw))
    print(f"{len(trained)} rated sentences, {len(films)} of SST-2, {len(steps)} steps", flush=True)
    groups = [
        {"params": [p for p in model.mpnet.parameters() if p.requires_grad], "factor": 1},
        {"params": list(model.positive.parameters()), "factor": 10},
    ]
    optimizer = torch.optim.AdamW(groups, lr=args.rate, weight_decay=0.01, betas=(0.9, 0.98), eps=1e-6, fused=True)
    began, total = time.monotonic(), 0.0
    for number, (ids, wanted) in enumerate(steps):
        clock = 0.0 if args.minutes is None else (time.monotonic() - began) / (60 * args.minutes)
        progress = max(number / len(steps), clock)
        if progress >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = args.rate * group["factor"] * schedule(progress, 0.06)
        loss = F.binary_cross_entropy_with_logits(model(ids), wanted)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        total += loss.item()
        if (number + 1) % 50 == 0:
            print(f"step {number + 1} loss {total / 50:.4f} minutes {(time.monotonic() - began) / 60:.1f}", flush=True)
            total = 0.0
    torch.save(model.state_dict(), args.out)
    print(f"right, of those kept out: {share_right(model, encoded(kept, tokenizer)):.4f}", flush=True)
    for file in args.score:
        rows = [line.split("\t") for line in file.read_text("utf-8").splitlines()[1:]]
        examples = [(row[0], float(row[1] in ("1", "positive"))) for row in rows]
        print(f"{file}: {share_right(model, encoded(examples, tokenizer)):.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder with BERT's uncased vocabulary")
    parser.add_argument("--mpnet", type=Path, required=True)
    parser.add_argument("--ratings", type=Path, nargs="+", required=True, help="files of rated texts")
    parser.add_argument("--repeated", type=int, default=1, help="how often each rated text is there")
    parser.add_argument("--films", type=float, default=1.0, help="sentences of SST-2 for each rated one")
    parser.add_argument("--teacher", type=Path, help="what an earlier run wrote, to go on from")
    parser.add_argument("--score", type=Path, nargs="*", default=[], help="files with a sentence and a label on each line")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=4e-5)
    parser.add_argument("--minutes", type=float, help="ends earlier, with the learning rate at zero")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    seed_everything(args.seed)
    model = RatingTeacher(open_mpnet(args.mpnet))
    if args.teacher is not None:
        model.load_state_dict(torch.load(args.teacher, weights_only=True))
    train(args, model.train(), tokenizer_of(args.tokenizer))


if __name__ == "__main__":
    main()
