"""A MobileBERT made out of a fine-tuned BERT's own weights, as the start of its distillation.

    python inherit.py --task sst2 --prepared DIR --teacher FOLDER --out DIR [--embedding 256 --ffns 2]

A head of MiniLM is as large as one of MobileBERT (32 numbers), so a layer of 12 heads becomes three layers of four heads
each, and one for its feed-forward network:

- Values and the way back to the full width are the teacher's. Queries and keys read one shared bottleneck (paper, section
  3.1): the directions of the input that matter most to both, by singular values. Before the second and third group a
  linear regression undoes what the groups before have added.
- The feed-forward network has to pass through the bottleneck too; it starts linear, by least squares.
- NoNorm cannot normalise: each channel gets the factor and the offset that come nearest to LayerNorm on the data.
- The feed-forward networks of the attention layers add nothing at first.

Then these four layers are trained together to give what the one gave (the paper's progressive transfer, section 3.6), from
what the layers before them really give, so that they mend some of their errors.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import MobileBertConfig, PreTrainedModel

from config import Student
from data import Batch, Examples
from export import write_folder
from forward import Trace, encode, mobilebert_embeddings, mobilebert_layer
from model import HEADS, configuration, frozen, label_names, open_model
from quantize import Bfloat16, Float
from tasks import TASKS
from trainer import pick_device, schedule, seed_everything

HEADS_A_LAYER = Student().heads

RIDGE = 0.001
"""Of the mean variance, added to that of every direction."""

UNSEEN = 0.01
"""Occurrences of a word that the texts do not have."""

SMALLEST_VARIANCE = 1e-8
"""Of a channel: below, it is taken for constant."""

SMALLEST_FACTOR = 0.05
"""Of a NoNorm whose layer adds to a residual: what is added is divided by it."""

FIT_RATE, FIT_WARMUP = 1e-3, 0.1
"""Highest learning rate, and the share of the steps until it is reached."""


def student_of(teacher: PreTrainedModel, embedding: int, ffns: int) -> MobileBertConfig:
    """Sizes that the teacher's weights fit into."""
    t = teacher.config
    if t.model_type != "bert" or t.num_attention_heads % HEADS_A_LAYER:
        raise SystemExit(f"the teacher is a {t.model_type} of {t.num_attention_heads} heads; expected a BERT of 4, 8, 12, ...")
    if not 1 <= embedding <= t.hidden_size:
        raise SystemExit(f"--embedding is {embedding}; expected 1 to the teacher's hidden size, {t.hidden_size}")
    if ffns < 1:
        raise SystemExit(f"--ffns is {ffns}; expected 1 or more")
    groups = t.num_attention_heads // HEADS_A_LAYER
    size = Student(
        layers=(groups + 1) * t.num_hidden_layers,
        hidden=t.hidden_size,
        bottleneck=t.hidden_size // groups,
        embedding=embedding,
        heads=HEADS_A_LAYER,
        ffns=ffns,
    )
    config = configuration(size, t.vocab_size)
    config.max_position_embeddings, config.type_vocab_size = t.max_position_embeddings, t.type_vocab_size
    config.pad_token_id = t.pad_token_id
    return config


@dataclass
class States:
    """Hidden states of the same batches of text."""

    batches: list[Batch]
    each: list[Tensor]
    """`[sequences, tokens, hidden]` of each batch."""

    @property
    def tokens(self) -> Tensor:
        """`[tokens, hidden]` without padding."""
        return torch.cat([x[batch.mask] for x, batch in zip(self.each, self.batches, strict=True)])

    def through(self, layer: nn.Module) -> "States":
        """What a layer of the student makes of them."""
        how = Float()
        pairs = zip(self.each, self.batches, strict=True)
        each = [mobilebert_layer(layer, HEADS_A_LAYER, x, batch.mask[:, None, None, :], how)[0] for x, batch in pairs]
        return States(self.batches, each)


@torch.no_grad()
def inherit(student: PreTrainedModel, teacher: PreTrainedModel, batches: list[Batch], steps: int) -> None:
    """Fills the student's encoder from the teacher's; `steps` of fitting for what stands for one layer."""
    old, new = teacher.base_model, student.base_model
    how = Float()
    traces = [encode(old, batch.ids, batch.types, batch.mask, how) for batch in batches]
    traces = [Trace(trace.hidden, attended=trace.attended) for trace in traces]
    inherit_embeddings(new, old, batches)
    states = States(batches, [mobilebert_embeddings(new, batch.ids, batch.types, how) for batch in batches])
    report("embeddings", states, States(batches, [trace.hidden[0] for trace in traces]))
    count = len(new.encoder.layer) // len(old.encoder.layer)
    for number, layer in enumerate(old.encoder.layer):
        *attention, feedforward = layers = new.encoder.layer[number * count : (number + 1) * count]
        given, attended, output = (
            States(batches, list(each))
            for each in zip(*((t.hidden[number], t.attended[number], t.hidden[number + 1]) for t in traces), strict=True)
        )
        between = inherit_attention(attention, layer, states, given, attended)
        report(f"layer {number}, attention", between, attended)
        inherit_feedforward(feedforward, layer, between, output)
        report(f"layer {number}, linear", between.through(feedforward), output)
        fit(layers, states, output, steps)
        for layer in layers:
            states = states.through(layer)
        report(f"layer {number}, fitted", states, output)


def report(name: str, mine: States, theirs: States) -> None:
    """How much of the teacher's variance is explained (R squared)."""
    unexplained = (mine.tokens - theirs.tokens).square().sum() / (theirs.tokens - theirs.tokens.mean(0)).square().sum()
    print(f"{name}: explains {1 - unexplained.item():.3f} of the variance", flush=True)


def inherit_embeddings(new: nn.Module, old: nn.Module, batches: list[Batch]) -> None:
    """Words: the principal components of what the teacher's LayerNorm makes of them, by how often they occur."""
    e, mine = old.embeddings, new.embeddings
    words, width = e.word_embeddings.weight, mine.word_embeddings.embedding_dim
    tokens = torch.cat([batch.ids[batch.mask] for batch in batches])
    places = torch.cat([torch.arange(batch.ids.shape[1]).expand_as(batch.ids)[batch.mask.cpu()] for batch in batches])
    types = torch.cat([batch.types[batch.mask] for batch in batches])
    frequency = torch.bincount(tokens, minlength=len(words)).float() + UNSEEN
    frequency = (frequency / frequency.sum())[:, None]
    position = e.position_embeddings.weight[places].mean(0)
    segment = e.token_type_embeddings.weight[types].mean(0)
    rows = words + position + segment
    normed = e.LayerNorm(rows)
    centre = (normed * frequency).sum(0)
    _, directions = torch.linalg.eigh((normed - centre).T @ (frequency * (normed - centre)))
    directions = directions.flip(-1)[:, :width]
    numbers = (normed - centre) @ directions
    size = numbers.std()
    mine.word_embeddings.weight.copy_(numbers / size)
    # A padded run and an unpadded one have the same trigrams.
    mine.word_embeddings.weight[new.config.pad_token_id] = 0
    transformation = mine.embedding_transformation
    transformation.weight.zero_()
    transformation.weight[:, width : 2 * width] = directions * size
    transformation.bias.copy_(centre)
    # What is left of a LayerNorm for small offsets: their mean goes, the rest is divided by the words' deviation.
    factor = e.LayerNorm.weight / (rows.std(1, correction=0, keepdim=True) * frequency).sum()
    for table, source, mean in (
        (mine.position_embeddings, e.position_embeddings, position),
        (mine.token_type_embeddings, e.token_type_embeddings, segment),
    ):
        offset = source.weight - mean
        table.weight.copy_((offset - offset.mean(1, keepdim=True)) * factor)


def inherit_attention(
    layers: Sequence[nn.Module], old: nn.Module, states: States, given: States, attended: States
) -> States:
    """The teacher's heads, four to a layer; the last of these layers stands for the LayerNorm after them.

    The teacher's heads all read `given`. Each student layer reads what comes nearest to that in its own input, which has
    what the heads before it added.
    """
    attention = old.attention
    width = attention.self.query.out_features // len(layers)
    theirs = given.tokens
    for number, layer in enumerate(layers):
        add_nothing(layer)
        rows = slice(number * width, (number + 1) * width)
        mine = states.tokens
        narrow, carry = ReducedRank(mine), regression(mine, theirs)
        query, key, value = (
            (linear.weight[rows] @ carry, linear.bias[rows] + linear.weight[rows] @ theirs.mean(0))
            for linear in (attention.self.query, attention.self.key, attention.self.value)
        )
        factors = narrow.into(layer.bottleneck.attention.dense, torch.cat([query[0], key[0]])).split(width)
        for linear, factor, bias in zip(
            (layer.attention.self.query, layer.attention.self.key), factors, (query[1], key[1]), strict=True
        ):
            linear.weight.copy_(factor)
            linear.bias.copy_(bias)
        layer.attention.self.value.weight.copy_(value[0])
        layer.attention.self.value.bias.copy_(value[1] - value[0] @ narrow.centre)
        nn.init.eye_(layer.attention.output.dense.weight)
        layer.output.bottleneck.dense.weight.copy_(attention.output.dense.weight[:, rows])
        if layer is not layers[-1]:
            states = states.through(layer)
    mine, theirs = states.through(layer).tokens, attended.tokens
    factor = slopes(mine, theirs)
    norm = layer.output.bottleneck.LayerNorm
    norm.weight.copy_(factor)
    # The output bottleneck's bias too, which is not copied, is part of this offset.
    norm.bias.copy_(theirs.mean(0) - factor * mine.mean(0))
    return states.through(layer)


def inherit_feedforward(layer: nn.Module, old: nn.Module, states: States, output: States) -> None:
    """A layer without attention: linear, by least squares over its bottleneck and its NoNorm together."""
    add_nothing(layer)
    mine, theirs = states.tokens, output.tokens
    narrow, bottleneck, widen = ReducedRank(mine), layer.bottleneck.input.dense, layer.output.bottleneck
    narrow.into(bottleneck, old.intermediate.dense.weight)
    inner = bottleneck(mine)
    residuals = (x - x.mean(0) - inner @ torch.linalg.lstsq(inner, x - x.mean(0)).solution for x in (mine, theirs))
    factor = slopes(*residuals).clamp(min=SMALLEST_FACTOR)
    rest = theirs - theirs.mean(0) - factor * (mine - narrow.centre)
    linear = torch.linalg.lstsq(inner, rest).solution
    widen.LayerNorm.weight.copy_(factor)
    widen.LayerNorm.bias.copy_(theirs.mean(0) - factor * narrow.centre)
    widen.dense.weight.copy_((linear / factor).T)


@torch.enable_grad()
def fit(layers: Sequence[nn.Module], states: States, output: States, steps: int) -> None:
    """Trains these layers together to turn `states` into `output`."""
    trained = [parameter for layer in layers for parameter in layer.parameters()]
    optimizer = torch.optim.AdamW(trained, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    how = Bfloat16()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = FIT_RATE * schedule(step / steps, FIT_WARMUP)
        number = int(torch.randint(len(states.batches), ()))
        mask, x = states.batches[number].mask, states.each[number]
        for layer in layers:
            x, _, _ = mobilebert_layer(layer, HEADS_A_LAYER, x, mask[:, None, None, :], how)
        wrong = (x[mask].float() - output.each[number][mask]).square().mean()
        optimizer.zero_grad()
        wrong.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()


class ReducedRank:
    """Bottlenecks for inputs that are distributed like `inputs` `[tokens, hidden]`."""

    def __init__(self, inputs: Tensor) -> None:
        self.centre = inputs.mean(0)
        centred = inputs - self.centre
        values, directions = torch.linalg.eigh(centred.T @ centred / len(inputs))
        size = (values + RIDGE * values.mean()).sqrt()
        self._root = directions * size @ directions.T
        self._inverse = directions / size @ directions.T

    def into(self, bottleneck: nn.Linear, readers: Tensor) -> Tensor:
        """Sets the bottleneck to what loses least of `readers @ (x - centre)`; returns how they read it, by rows.

        Its rows are orthonormal: outputs of equal variance would need large weights for rare directions.
        """
        left, values, right = torch.linalg.svd(readers @ self._root, full_matrices=False)
        kept = bottleneck.out_features
        directions, mixed = torch.linalg.qr((right[:kept] @ self._inverse).T)
        bottleneck.weight.copy_(directions.T)
        bottleneck.bias.copy_(-bottleneck.weight @ self.centre)
        return left[:, :kept] * values[:kept] @ mixed.T


def regression(x: Tensor, y: Tensor) -> Tensor:
    """The matrix that makes `y` of `x` `[tokens, hidden]` with least squared error, both around their means."""
    x, y = x - x.mean(0), y - y.mean(0)
    covariance = x.T @ x / len(x)
    covariance.diagonal().add_(RIDGE * covariance.diagonal().mean())
    return torch.linalg.solve(covariance, x.T @ y / len(x)).T


def slopes(x: Tensor, y: Tensor) -> Tensor:
    """By channel, the factor of `x` that comes nearest to `y`, both around their means."""
    x, y = x - x.mean(0), y - y.mean(0)
    return (x * y).mean(0) / x.square().mean(0).clamp(min=SMALLEST_VARIANCE)


def add_nothing(layer: nn.Module) -> None:
    """Norms that pass; linears that end on a residual are 0, the others random, so that all can be trained."""
    for name, module in layer.named_modules():
        if name.endswith("LayerNorm"):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
            if name.endswith(("output.dense", "output.bottleneck.dense", "input.dense")):
                nn.init.zeros_(module.weight)
            else:
                nn.init.normal_(module.weight, 0.0, 1 / sqrt(module.in_features))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--prepared", type=Path, required=True, help="folder that prepare.py wrote")
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--embedding", type=int, default=256, help="numbers a word")
    parser.add_argument("--ffns", type=int, default=2, help="feed-forward networks a layer")
    parser.add_argument("--tokens", type=int, default=200_000, help="tokens of the task's texts to fit to, padding included")
    parser.add_argument("--steps", type=int, default=600, help="steps to fit what stands for one layer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default=None, help="cpu or cuda; default: cuda if there is one")
    args = parser.parse_args()
    seed_everything(args.seed)
    device = pick_device(args.device)
    teacher = frozen(open_model(args.teacher, args.task)).to(device)
    config = student_of(teacher, args.embedding, args.ffns)
    config.update(label_names(args.task))
    student = HEADS[args.task].from_config(config).to(device)
    examples = Examples(args.prepared / f"{args.task}.npz", device, config.max_position_embeddings)
    batches: list[Batch] = []
    while sum(batch.ids.numel() for batch in batches) < args.tokens:
        batches.append(examples.batch(examples.pick(len(batches), 32, args.seed), 16))
    inherit(student, teacher, batches, args.steps)
    for name, module in teacher.named_children():
        if module is not teacher.base_model:
            getattr(student, name).load_state_dict(module.state_dict())
    if args.task == "sst2":
        student.base_model.pooler.dense.load_state_dict(teacher.base_model.pooler.dense.state_dict())
    write_folder(student, args.teacher, args.out)


if __name__ == "__main__":
    main()
