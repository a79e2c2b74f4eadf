"""What `inherit.py` promises about the layers that it makes.

    python -m unittest test_inherit
"""

import unittest

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, MobileBertModel

from data import Batch
from forward import mobilebert_layer
from inherit import Narrow, States, add_nothing, fit, inherit_attention, student_of
from model import frozen
from quantize import Float

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
        narrow = Narrow(x)
        factors = narrow.into(bottleneck, readers)
        wrong = bottleneck(x) @ factors.T - (x - narrow.centre) @ readers.T
        self.assertLess(wrong.abs().max().item(), 1e-4 * (x @ readers.T).abs().max().item())
        self.near(bottleneck.weight @ bottleneck.weight.T, torch.eye(6))

    def test_attention_of_one_group_is_the_teachers(self) -> None:
        old, student = self.student(heads=4)
        (layer, _), before = student.encoder.layer, states()
        attended = States(before.batches, [torch.randn_like(x) for x in before.each])
        after = inherit_attention([layer], old, before, attended)
        for x, y, batch in zip(before.each, after.each, before.batches, strict=True):
            hidden = torch.where(batch.mask[:, None, None], 0.0, -torch.inf)
            context = old.attention.output.dense(old.attention.self(x, hidden)[0])
            norm = layer.output.bottleneck.LayerNorm
            self.near(y, (x + context) * norm.weight + norm.bias)

    def test_heads_are_divided_among_layers(self) -> None:
        old, student = self.student(heads=8)
        self.assertEqual(student.config.num_hidden_layers, 3)
        self.assertEqual(student.config.true_hidden_size, 16)
        before = states()
        inherit_attention(student.encoder.layer[:2], old, before, before)
        for layer, rows in zip(student.encoder.layer, (slice(0, 16), slice(16, 32)), strict=False):
            self.assertTrue(torch.equal(layer.attention.self.value.weight, old.attention.self.value.weight[rows]))

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
        wanted = States(before.batches, [x * 0.5 for x in before.each])
        layer = student.encoder.layer[0].requires_grad_(True)
        add_nothing(layer)

        def wrong() -> float:
            return (before.through(layer).tokens - wanted.tokens).square().mean().item()

        first = wrong()
        fit([layer], before, wanted, steps=80)
        self.assertLess(wrong(), 0.9 * first)


if __name__ == "__main__":
    unittest.main()
