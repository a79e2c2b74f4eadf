"""The three tasks: their losses against labels and a teacher, and how many answers are right."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from augment import augmented, neighbours
from data import NO_LABEL, Batch, Examples
from forward import Trace, encode, pooled
from quantize import Arithmetic
from transfer import Transfer

TEMPERATURE = 2.0
"""Of the teacher's and the student's softmax."""

LABELS = 0.5
"""Weight of the data's labels; the teacher's weigh 1."""

FEATURES = 0.5
"""Weight of the feature maps."""

SEEN = 3
"""SST-2 compares the feature maps of every third sequence: those of all take a sixth of a step on a CPU."""


@dataclass
class Reader:
    """A model with a task's head and the arithmetic it runs in."""

    model: PreTrainedModel
    how: Arithmetic
    run: Callable[..., Trace] = encode

    def trace(self, batch: Batch) -> Trace:
        return self.run(self.model.base_model, batch.ids, batch.types, batch.mask, self.how)


class Task(Protocol):
    """What `finetune.py` needs of a task."""

    def losses(self, student: Reader, picked: Tensor, batch: Batch, noise: torch.Generator) -> dict[str, Tensor]: ...
    def right(self, reader: Reader, picked: Tensor, batch: Batch) -> Tensor: ...


def from_teacher(mine: Tensor, theirs: Tensor) -> Tensor:
    """KL divergence over the last dimension at `TEMPERATURE`, times its square, which keeps the gradient's size."""
    target = (theirs / TEMPERATURE).log_softmax(-1)
    divergence = F.kl_div((mine / TEMPERATURE).log_softmax(-1), target, log_target=True, reduction="none")
    return TEMPERATURE**2 * divergence.sum(-1).mean()


def average(logits: list[Tensor]) -> Tensor:
    """What several teachers say together."""
    return torch.stack(logits).mean(0)


class QuestionAnswering:
    """Start and end of an answer."""

    def __init__(self, examples: Examples, teachers: list[Reader], transfer: Transfer) -> None:
        self.examples, self.teachers, self.transfer = examples, teachers, transfer

    def losses(self, student: Reader, picked: Tensor, batch: Batch, noise: torch.Generator) -> dict[str, Tensor]:
        with torch.no_grad():
            traces = [teacher.trace(batch) for teacher in self.teachers]
            target = average([qa_logits(*pair, batch) for pair in zip(self.teachers, traces, strict=True)])
        mine = student.trace(batch)
        logits = qa_logits(student, mine, batch)
        return {
            "labels": LABELS * F.cross_entropy(logits.flatten(0, 1), qa_places(self.examples, picked).flatten()),
            "teacher": from_teacher(logits, target),
            "features": FEATURES * self.transfer.features(mine, traces[0], batch.mask),
        }

    def right(self, reader: Reader, picked: Tensor, batch: Batch) -> Tensor:
        """Whether both ends are exact; stricter than SQuAD's exact match."""
        return (qa_logits(reader, reader.trace(batch), batch).argmax(-1) == qa_places(self.examples, picked)).all(1)


def qa_places(examples: Examples, picked: Tensor) -> Tensor:
    """`[batch, 2]`: first and last token of the answer."""
    return torch.stack([examples.label(name, picked) for name in ("start", "end")], 1)


def qa_logits(reader: Reader, trace: Trace, batch: Batch) -> Tensor:
    """`[batch, 2, tokens]`. The output layer is f32 in the engine too."""
    logits = reader.model.qa_outputs(trace.hidden[-1].float()).float().transpose(1, 2)
    return logits.masked_fill(~batch.mask[:, None], -1e4)


class Sentiment:
    """Positive or negative; every batch has each sentence and one variant of it, which only the teacher labels.

    Sentences may be without a label themselves (`NO_LABEL`). Those with a `percent`, the probability of `positive` that people's
    ratings say (`ratings.py`) or a teacher on disk (`label_ratings.py`), have neither variant nor teacher.
    """

    def __init__(self, examples: Examples, teachers: list[Reader], transfer: Transfer) -> None:
        self.examples, self.teachers, self.transfer = examples, teachers, transfer
        words = teachers[0].model.get_input_embeddings().weight
        self.near = neighbours(words, examples.continues, examples.ids.unique())

    def losses(self, student: Reader, picked: Tensor, batch: Batch, noise: torch.Generator) -> dict[str, Tensor]:
        if "percent" not in self.examples.labels:
            return self.taught(student, picked, batch, noise)
        percent = self.examples.label("percent", picked)
        rated = percent != NO_LABEL
        share = rated.float().mean()
        # Each part counts by its sentences. The names are always the same, because the log averages by name.
        losses = dict.fromkeys(("labels", "teacher", "features", "ratings"), share.new_zeros(()))
        if not rated.all():
            taught = self.taught(student, picked[~rated.cpu()], batch.where(~rated), noise)
            losses |= {name: (1 - share) * loss for name, loss in taught.items()}
        if rated.any():
            positive = percent[rated] / 100
            logits = sst2_logits(student, student.trace(batch.where(rated)))
            losses["ratings"] = share * F.cross_entropy(logits, torch.stack([1 - positive, positive], 1))
        return losses

    def taught(self, student: Reader, picked: Tensor, batch: Batch, noise: torch.Generator) -> dict[str, Tensor]:
        """The losses of sentences that the teacher and perhaps people have labelled."""
        variant = augmented(batch, self.examples.continues, self.near, noise)
        both = Batch(*(torch.cat(pair) for pair in zip(vars(batch).values(), vars(variant).values(), strict=True)))
        with torch.no_grad():
            traces = [teacher.trace(both) for teacher in self.teachers]
            target = average([sst2_logits(*pair) for pair in zip(self.teachers, traces, strict=True)])
        mine = student.trace(both)
        logits = sst2_logits(student, mine)
        labels = self.examples.label("label", picked)
        wrong = F.cross_entropy(logits[: len(picked)], labels, ignore_index=NO_LABEL, reduction="sum")
        return {
            "labels": LABELS * wrong / len(picked),
            "teacher": from_teacher(logits, target),
            "features": FEATURES * self.transfer.features(mine.every(SEEN), traces[0].every(SEEN), both.mask[::SEEN]),
        }

    def right(self, reader: Reader, picked: Tensor, batch: Batch) -> Tensor:
        return sst2_logits(reader, reader.trace(batch)).argmax(-1) == self.examples.label("label", picked)


def sst2_logits(reader: Reader, trace: Trace) -> Tensor:
    """`[batch, labels]`. The output layer is f32 in the engine too."""
    state = reader.how.drop(pooled(reader.model.base_model, trace.hidden[-1], reader.how))
    return reader.model.classifier(state.float()).float()


class Names:
    """A tag for each piece of a word. The teacher labels every token, and sentences without tags too."""

    def __init__(self, examples: Examples, teachers: list[Reader], transfer: Transfer) -> None:
        self.examples, self.teachers, self.transfer = examples, teachers, transfer

    def losses(self, student: Reader, picked: Tensor, batch: Batch, noise: torch.Generator) -> dict[str, Tensor]:
        with torch.no_grad():
            traces = [teacher.trace(batch) for teacher in self.teachers]
            target = average([ner_logits(*pair) for pair in zip(self.teachers, traces, strict=True)])
        mine = student.trace(batch)
        logits = ner_logits(student, mine)
        tags = self.examples.tags_of(picked, batch.ids.shape[1])
        wrong = F.cross_entropy(logits.flatten(0, 1), tags.flatten(), ignore_index=NO_LABEL, reduction="sum")
        return {
            "labels": LABELS * wrong / (tags != NO_LABEL).sum().clamp(min=1),
            "teacher": from_teacher(logits[batch.mask], target[batch.mask]),
            "features": FEATURES * self.transfer.features(mine, traces[0], batch.mask),
        }

    def right(self, reader: Reader, picked: Tensor, batch: Batch) -> Tensor:
        """Whether all tags of a sentence are right."""
        tags = self.examples.tags_of(picked, batch.ids.shape[1])
        return ((ner_logits(reader, reader.trace(batch)).argmax(-1) == tags) | (tags == NO_LABEL)).all(1)


def ner_logits(reader: Reader, trace: Trace) -> Tensor:
    """`[batch, tokens, tags]`. The output layer is f32 in the engine too."""
    return reader.model.classifier(reader.how.drop(trace.hidden[-1]).float()).float()


TASKS = {"qa": QuestionAnswering, "sst2": Sentiment, "ner": Names}
