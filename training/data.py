"""Prepared data, as files without a tokenizer and as batches on a device."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

PAD, CLS, SEP, MASK = 0, 101, 102, 103
"""Ids of the uncased BERT vocabulary; `prepare.py` checks them."""

FIRST_WORD = 999
"""Ids below are special or unused."""

NO_LABEL = 999
"""Label of an example that only the teacher labels."""


@dataclass
class Batch:
    """`[sequences, tokens]` each."""

    ids: Tensor
    types: Tensor
    mask: Tensor

    def where(self, rows: Tensor) -> "Batch":
        """The sequences for which `rows` is true."""
        return Batch(self.ids[rows], self.types[rows], self.mask[rows])


class Text:
    """Uint16 token streams cut into blocks of one length: no padding anywhere."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        files = sorted(folder.glob("text-*.npy"))
        if not files:
            raise SystemExit(f"{folder}: no text-*.npy; make them with prepare.py")
        tokens = np.concatenate([np.load(file) for file in files])
        self.tokens = torch.from_numpy(tokens.astype(np.int32)).to(device)
        self._turn: tuple[int, int, int] | None = None

    def batch(self, step: int, size: int, length: int, seed: int) -> Batch:
        """`[CLS] length - 2 tokens [SEP]`; each pass over the text has its own order and its own cuts."""
        body = length - 2
        blocks = len(self.tokens) // body - 1
        if blocks < size:
            raise SystemExit(f"{len(self.tokens)} tokens of text are too few for batches of {size} x {length}")
        turn, at = divmod(step, blocks // size)
        if self._turn != (seed, turn, blocks):
            self._turn, self._blocks = (seed, turn, blocks), _order(seed, turn, blocks).to(self.tokens.device)
        picked = self._blocks[at * size : (at + 1) * size]
        shift = seed * 31 + 17 * turn
        places = picked[:, None] * body + shift % body + torch.arange(body, device=self.tokens.device)
        ids = torch.nn.functional.pad(self.tokens[places].long(), (1, 1), value=SEP)
        ids[:, 0] = CLS
        return Batch(ids, torch.zeros_like(ids), torch.ones_like(ids, dtype=torch.bool))


def masked(batch: Batch, vocab_size: int, noise: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """BERT's masking: 15 % of the tokens, of these 80 % `[MASK]`, 10 % random, 10 % kept.

    The same number in each sequence, so that shapes are fixed. Returns the ids to read, the masked places
    `[sequences, count]` and what stood there.
    """
    ids = batch.ids
    count = max(1, round(0.15 * ids.shape[1]))
    chance = torch.rand(ids.shape, generator=noise, device=ids.device)
    places = chance.masked_fill(ids < FIRST_WORD, -1.0).topk(count, dim=1).indices
    original = ids.gather(1, places)
    fate = torch.rand(places.shape, generator=noise, device=ids.device)
    random = torch.randint(FIRST_WORD, vocab_size, places.shape, generator=noise, device=ids.device)
    new = torch.where(fate < 0.8, MASK, torch.where(fate < 0.9, random, original))
    return ids.scatter(1, places, new), places, original


def padded(rows: list[list[int]], padding: int = PAD) -> Tensor:
    """`[rows, tokens]`, as long as the longest row."""
    longest = max(map(len, rows))
    return torch.tensor([row + [padding] * (longest - len(row)) for row in rows])


def steps_by_length(lengths: list[int], tokens: int) -> list[list[int]]:
    """Numbers of the sequences, alike in length, in steps of at most `tokens` with their padding, or of one sequence."""
    steps: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda n: lengths[n]):
        if not steps or (len(steps[-1]) + 1) * lengths[number] > tokens:
            steps.append([])
        steps[-1].append(number)
    return steps


def in_held_out_stretch(numbers: Tensor, count: int) -> Tensor:
    """Which of `count` examples are kept out of training: one stretch in fifty, because neighbours share a text."""
    return numbers // min(200, max(1, count // 500)) % 50 == 49


class Examples:
    """Ragged token sequences and columns of labels, on a device. Some stretches are held out of training.

    A column `held_out` says which examples these are; without it, they are those of `in_held_out_stretch`.
    """

    def __init__(self, file: Path, device: torch.device, longest: int) -> None:
        if not file.is_file():
            raise SystemExit(f"{file} is missing; make it with prepare.py")
        arrays = dict(np.load(file))
        logits = arrays.pop("logits", None)
        self.logits = None if logits is None else torch.from_numpy(logits).to(device)
        """What a teacher said about each of the ids, kept on disk; zeros where it said nothing."""
        columns = {name: torch.from_numpy(a.astype(np.int64)) for name, a in arrays.items()}
        self.continues = columns.pop("vocabulary_continues").bool().to(device)
        """For each id of the vocabulary, whether it is a `##` piece."""
        self.device = device
        self.ids = columns.pop("ids").to(device)
        self.tags = columns.pop("tags").to(device) if "tags" in columns else None
        """A label for each of the ids."""
        ends = columns.pop("ends")
        starts = torch.cat([torch.zeros(1, dtype=torch.int64), ends[:-1]])
        self.lengths = ends - starts
        fits = self.lengths <= longest
        self.lengths, self.starts = self.lengths[fits], starts[fits]
        self.labels = {name: column[fits].to(device) for name, column in columns.items()}
        numbers = torch.arange(len(self.lengths))
        marked = self.labels.pop("held_out", None)
        held_out = in_held_out_stretch(numbers, len(numbers)) if marked is None else marked.cpu().bool()
        if "label" in self.labels:
            held_out &= self.labels["label"].cpu() != NO_LABEL
        self.held_out, self.train = numbers[held_out], numbers[~held_out]
        self._key: tuple[int, int, int] | None = None

    def pick(self, step: int, size: int, seed: int) -> Tensor:
        """Numbers of a batch's examples. Each pass has its own order; lengths are alike within a batch."""
        per_pass = len(self.train) // size
        if per_pass == 0:
            raise SystemExit(f"{len(self.train)} examples are too few for a batch of {size}")
        order = self._by_length(seed, step // per_pass, size)
        return order[step % per_pass]

    def _by_length(self, seed: int, turn: int, size: int) -> Tensor:
        """`[batches, size]`: a random order, sorted by length within stretches of 32 batches, batches shuffled."""
        key = (seed, turn, size)
        if self._key != key:
            order = self.train[_order(seed, turn, len(self.train))]
            stretches = [s[self.lengths[s].argsort(stable=True)] for s in order.split(32 * size)]
            batches = torch.cat(stretches)[: len(order) // size * size].view(-1, size)
            self._key, self._batches = key, batches[_order(seed + 1, turn, len(batches))]
        return self._batches

    def batch(self, picked: Tensor, multiple: int) -> Batch:
        """Padded to the longest, rounded up to `multiple`. Types are 1 from the label column `second` on."""
        length = -(-int(self.lengths[picked].max()) // multiple) * multiple
        ids, mask = self._rows(self.ids, picked, length, PAD)
        places = torch.arange(length, device=self.device)
        types = torch.zeros_like(ids)
        if "second" in self.labels:
            types = ((places >= self.label("second", picked)[:, None]) & mask).long()
        return Batch(ids, types, mask)

    def tags_of(self, picked: Tensor, length: int) -> Tensor:
        """`[sequences, length]`: a label for each token of `batch`, or `NO_LABEL`."""
        assert self.tags is not None
        return self._rows(self.tags, picked, length, NO_LABEL)[0]

    def logits_of(self, picked: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """`[sequences, length, tags]` of kept logits, and the tokens that have some."""
        assert self.logits is not None
        rows, mask = self._rows(torch.arange(len(self.logits), device=self.device), picked, length, 0)
        logits = self.logits[rows].float()
        return logits, logits.any(-1) & mask

    def _rows(self, flat: Tensor, picked: Tensor, length: int, padding: int) -> tuple[Tensor, Tensor]:
        """Sequences out of a column as long as the ids, and where they are not padding."""
        places = torch.arange(length, device=self.device)
        mask = places < self.lengths[picked].to(self.device)[:, None]
        rows = self.starts[picked].to(self.device)[:, None] + places
        return flat[rows.clamp(max=len(flat) - 1)].masked_fill(~mask, padding), mask

    def label(self, name: str, picked: Tensor) -> Tensor:
        return self.labels[name][picked.to(self.device)]


def _order(seed: int, turn: int, count: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1_000_003 + turn))
