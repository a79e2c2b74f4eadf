"""Variants of sentences for a teacher to label: the data augmentation of TinyBERT (arXiv 1909.10351, section 3.2) on ids.

Words are masked, swapped for words that the teacher's table puts near them, or dropped; some sentences are cut to one
phrase. All pieces of a word share its fate.
"""

import torch
from torch import Tensor

from data import FIRST_WORD, MASK, PAD, Batch

MASKED, SWAPPED, DROPPED = 0.10, 0.15, 0.10
"""Chances of a word."""

CUT = 0.25
"""Chance of a sentence to be cut to a phrase."""

NEIGHBOURS = 8


@torch.no_grad()
def neighbours(words: Tensor, continues: Tensor, used: Tensor) -> Tensor:
    """The nearest whole words by cosine, `[vocabulary, 8]`; a word that is not in `used` has itself.

    `words`: the teacher's table. `continues`: true for `##` pieces. `used`: ids that occur in the data.
    """
    table = torch.arange(len(words), device=words.device)[:, None].repeat(1, NEIGHBOURS)
    whole = (~continues) & (torch.arange(len(words), device=words.device) >= FIRST_WORD)
    unit = torch.nn.functional.normalize(words.float(), dim=1)
    for ids in used[whole[used]].split(1024):
        near = (unit[ids] @ unit.T).masked_fill(~whole, -1.0)
        near[torch.arange(len(ids)), ids] = -1.0
        table[ids] = near.topk(NEIGHBOURS, dim=1).indices
    return table


def augmented(batch: Batch, continues: Tensor, near: Tensor, noise: torch.Generator) -> Batch:
    """One variant of each sentence (`[CLS] words [SEP]`), never empty."""
    ids, device = batch.ids, batch.ids.device
    ordinary = batch.mask & (ids >= FIRST_WORD)
    head = ordinary & ~continues[ids]
    word = head.cumsum(1).sub(1).clamp(min=0)
    chance = torch.rand(ids.shape, generator=noise, device=device).gather(1, word)
    alone = head & ~torch.nn.functional.pad(continues[ids] & ordinary, (0, 1))[:, 1:]

    choice = torch.randint(NEIGHBOURS, ids.shape, generator=noise, device=device)
    other = near[ids].gather(2, choice[..., None]).squeeze(2)
    new = torch.where(ordinary & (chance < MASKED), MASK, ids)
    new = torch.where(alone & (chance >= MASKED) & (chance < MASKED + SWAPPED), other, new)

    keep = batch.mask & ~(ordinary & (chance >= 1 - DROPPED))
    words = head.sum(1, keepdim=True)
    edges = torch.rand((len(ids), 3), generator=noise, device=device)
    first = (edges[:, :1] * words / 2).long()
    last = words - (edges[:, 1:2] * words / 2).long()
    inside = ~ordinary | ((word >= first) & (word < last))
    keep &= inside | (edges[:, 2:] >= CUT)
    empty = ~(keep & ordinary).any(1, keepdim=True)
    keep |= empty & batch.mask

    order = (~keep).long().argsort(dim=1, stable=True)
    mask = keep.gather(1, order)
    return Batch(new.gather(1, order).masked_fill(~mask, PAD), batch.types, mask)
