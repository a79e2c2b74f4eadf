"""What `inherit.py` promises about the layers that it makes.

    python -m unittest test_inherit
"""

import unittest

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, MobileBertModel

from data import Batch
from forward import encode, mobilebert_embeddings, mobilebert_layer
from inherit import (
    ReducedRank,
    States,
    add_nothing,
    fit,
    inherit_attention,
    inherit_embeddings,
    inherit_feedforward,
    regression,
    student_of,
)
from model import frozen
from quantize import Bfloat16WithDropout, Float

NEAR = 2e-5
"""Of numbers around 1 that passed a singular value decomposition in f32."""


def teacher(heads: int) -> BertModel:
    """One layer whose biases and norms are not at their defaults."""
    torch.manual_seed(3)
    model = BertModel(
        BertConfig(
            vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=heads, intermediate_size=64,
            max_position_embeddings=16,
        )
    )
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0.0 if parameter.dim() > 1 else 0.5, 0.3)
    return frozen(model)


def states() -> States:
    torch.manual_seed(5)
    mask = torch.arange(9) < torch.tensor([9, 6, 4])[:, None]
    ids = torch.ones_like(mask, dtype=torch.long)
    return States([Batch(ids, ids * 0, mask)] * 4, list(torch.randn(4, 3, 9, 32)))


class Inherited(unittest.TestCase):
    def near(self, mine: Tensor, theirs: Tensor) -> None:
        self.assertLess((mine - theirs).abs().max().item(), NEAR)

    def student(self, heads: int) -> tuple[nn.Module, MobileBertModel]:
        old = teacher(heads)
        return old.encoder.layer[0], frozen(MobileBertModel(student_of(old, embedding=16, ffns=2)))

    def test_a_bottleneck_loses_nothing_of_readers_of_its_rank(self) -> None:
        torch.manual_seed(1)
        x = torch.randn(400, 24) @ torch.randn(24, 24) + 3
        readers = torch.randn(20, 6) @ torch.randn(6, 24)
        bottleneck = nn.Linear(24, 6).requires_grad_(False)
        narrow = ReducedRank(x)
        factors = narrow.into(bottleneck, readers)
        wrong = bottleneck(x) @ factors.T - (x - narrow.centre) @ readers.T
        self.assertLess(wrong.abs().max().item(), 1e-4 * (x @ readers.T).abs().max().item())
        self.near(bottleneck.weight @ bottleneck.weight.T, torch.eye(6))

    def test_attention_of_one_group_is_the_teachers(self) -> None:
        old, student = self.student(heads=4)
        (layer, _), before = student.encoder.layer, states()
        torch.manual_seed(7)
        attended = States(before.batches, [torch.randn_like(x) for x in before.each])
        after = inherit_attention([layer], old, before, before, attended)
        sums = []
        for x, batch in zip(before.each, before.batches, strict=True):
            hidden = torch.where(batch.mask[:, None, None], 0.0, -torch.inf)
            sums.append(x + old.attention.output.dense(old.attention.self(x, hidden)[0]))
        theirs, mine = States(before.batches, sums).tokens, after.tokens
        norm = layer.output.bottleneck.LayerNorm
        # The regression before it is regularised by a thousandth, so not exact.
        wrong = (mine - mine.mean(0)) / norm.weight - (theirs - theirs.mean(0))
        self.assertLess(wrong.abs().max().item(), 0.02 * theirs.std().item())
        left = attended.tokens - mine
        self.near(left.mean(0), torch.zeros(32))
        self.assertLess((left * (mine - mine.mean(0))).mean(0).abs().max().item(), 1e-4)

    def test_the_trace_has_what_the_teachers_attention_gives(self) -> None:
        old = teacher(heads=4)
        batch = Batch(torch.arange(18).view(2, 9), torch.zeros(2, 9, dtype=torch.long), torch.ones(2, 9, dtype=torch.bool))
        trace = encode(old, batch.ids, batch.types, batch.mask, Float())
        self.near(trace.attended[0], old.encoder.layer[0].attention(trace.hidden[0])[0])

    def test_dropout_reaches_a_bert_and_has_the_share_asked_for(self) -> None:
        torch.manual_seed(1)
        x = Bfloat16WithDropout(0.25).drop(torch.ones(10_000))
        self.assertAlmostEqual((x == 0).double().mean().item(), 0.25, delta=0.02)
        self.assertAlmostEqual(x.mean().item(), 1.0, delta=0.02)
        old, ids = teacher(heads=4), torch.ones(1, 9, dtype=torch.long)
        with_it, without = (encode(old, ids, ids * 0, None, Bfloat16WithDropout(p)).hidden for p in (0.25, 0.0))
        self.assertGreater((with_it[0] == 0).double().mean().item(), 0.1)
        self.assertFalse(torch.equal(with_it[1], without[1]))

    def test_heads_are_divided_among_layers(self) -> None:
        old, student = self.student(heads=8)
        self.assertEqual(student.config.num_hidden_layers, 3)
        self.assertEqual(student.config.true_hidden_size, 16)
        before = states()
        inherit_attention(student.encoder.layer[:2], old, before, before, before)
        for layer, rows in zip(student.encoder.layer, (slice(0, 16), slice(16, 32)), strict=False):
            self.assertTrue(torch.equal(layer.output.bottleneck.dense.weight, old.attention.output.dense.weight[:, rows]))
        first = student.encoder.layer[0].attention.self.value.weight
        self.assertLess((first - old.attention.self.value.weight[:16]).abs().max().item(), 0.01)

    def test_regression_finds_a_linear_map(self) -> None:
        torch.manual_seed(1)
        x, map_ = torch.randn(500, 8), torch.randn(5, 8)
        self.assertLess((regression(x, x @ map_.T + 3) - map_).abs().max().item(), 0.01)

    def test_embeddings_as_wide_as_the_teachers_are_its_own(self) -> None:
        old = teacher(heads=4)
        student = frozen(MobileBertModel(student_of(old, embedding=32, ffns=1)))
        torch.manual_seed(2)
        ids = torch.randint(1, 50, (40, 1))
        batch = Batch(ids, ids * 0, ids > 0)
        inherit_embeddings(student, old, [batch])
        wrong = old.embeddings(ids) - mobilebert_embeddings(student, ids, ids * 0, Float())
        self.assertLess(wrong.abs().max().item(), 1e-4)

    def test_a_linear_network_is_recovered(self) -> None:
        _, student = self.student(heads=8)
        old, before = teacher(heads=8).encoder.layer[0], states()
        old.intermediate.dense.weight[16:] = 0
        inner = old.intermediate.dense.weight[:16]
        map_ = torch.randn(32, 16) / 4
        output = States(before.batches, [0.7 * x + x @ inner.T @ map_.T + 2 for x in before.each])
        layer = student.encoder.layer[0]
        inherit_feedforward(layer, old, before, output)
        self.assertLess((before.through(layer).tokens - output.tokens).abs().max().item(), 1e-3)

    def test_a_new_layer_adds_nothing(self) -> None:
        _, student = self.student(heads=4)
        layer, before = student.encoder.layer[0], states()
        add_nothing(layer)
        x = before.each[0]
        out, _, _ = mobilebert_layer(layer, 4, x, before.batches[0].mask[:, None, None], Float())
        self.assertTrue(torch.equal(out, x))

    def test_fitting_comes_nearer(self) -> None:
        _, student = self.student(heads=4)
        before = states()
        wanted = States(before.batches, [x + x.roll(1, -1).relu() for x in before.each])
        layer = student.encoder.layer[0].requires_grad_(True)
        add_nothing(layer)
        nn.init.eye_(layer.bottleneck.input.dense.weight)
        nn.init.eye_(layer.output.bottleneck.dense.weight)

        def wrong() -> float:
            return (before.through(layer).tokens - wanted.tokens).square().mean().item()

        first = wrong()
        fit([layer], before, wanted, steps=400)
        # A constant by channel, which the norms alone could learn, leaves two thirds of the rectified part.
        self.assertLess(wrong(), 0.3 * first)


if __name__ == "__main__":
    unittest.main()
