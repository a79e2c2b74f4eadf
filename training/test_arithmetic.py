"""The int8 arithmetic against docs/kernels.md in NumPy and against the engine; the forward passes against transformers.

    python -m unittest test_arithmetic        MOBILEBERT_BIN=path/to/mobilebert adds the engine
"""

import ctypes
import ctypes.util
import json
import os
import subprocess
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertModel, MobileBertForSequenceClassification

from config import TINY
from export import write_folder
from forward import encode, heads
from model import LABELS, student
from quantize import Bfloat16, Float, Int8, row_levels, symmetric_levels, weight_levels
from tasks import Reader, sst2_logits

f32 = np.float32
fmaf = ctypes.CDLL(ctypes.util.find_library("m")).fmaf
fmaf.restype, fmaf.argtypes = ctypes.c_float, [ctypes.c_float] * 3

ENGINE_TOLERANCE = 0.005
"""Of the spread of the logits, for one layer of random weights (measured: 0.0005). The engine's exp and f32 sums differ in
the last bits, which moves a few roundings by one level; more layers multiply that. Leaving out the rounding of attention
alone, or of the embeddings alone, costs 0.04."""

FORWARD_TOLERANCE = 2e-5
"""Of the largest number: f32 sums in another order, through four layers."""

BFLOAT16_TOLERANCE = 0.02
"""Of the root mean square of a hidden state: 2^-9 a rounding, a dozen of them one after the other (measured: 0.006)."""

ATTENTION_TOLERANCE = 1e-3
"""Of a probability: what the above makes of scores of about 50."""


def activation_levels(x: np.ndarray, unsigned: bool) -> tuple[list[int], f32, f32]:
    """One row, number by number, as docs/kernels.md says."""
    low = f32(0) if unsigned else x.min()
    width = f32(x.max() - low)
    if width < f32(1e-30):
        return [0] * len(x), f32(0), low
    inverse = f32(255) / width
    shift = f32(-low * inverse)
    levels = [int(np.clip(np.rint(f32(fmaf(v, inverse, shift))), 0, 255)) for v in x]
    return levels, f32(width / f32(255)), low


def stored_levels(row: np.ndarray) -> tuple[list[int], f32]:
    """One row of weights as docs/model-format.md says."""
    scale = f32(np.abs(row).max() / f32(127))
    scale = f32(1) if scale < np.finfo(f32).tiny else scale
    return [int(np.clip(np.rint(f32(v / scale)), -127, 127)) for v in row], scale


def rows(seed: int, count: int, width: int) -> np.ndarray:
    """Random rows of many sizes, and the ones that are easy to get wrong: zeros, constants, ties, one-sided, tiny."""
    random = np.random.default_rng(seed)
    x = (random.standard_normal((count, width)) * 10.0 ** random.uniform(-6, 4, (count, 1))).astype(f32)
    x[0], x[1] = 0, 3.25
    x[2] = np.linspace(-127.5, 127.5, width)
    x[3], x[4] = np.abs(x[3]) + 1, -np.abs(x[4]) - 1
    x[5] = 1e-31
    return x


class Rounding(unittest.TestCase):
    def test_activations_have_the_documented_levels(self) -> None:
        for unsigned in (False, True):
            x = rows(1, 200, 96)
            x = np.maximum(x, 0) if unsigned else x
            levels, scale, offset = row_levels(torch.from_numpy(x), unsigned)
            for i, row in enumerate(x):
                expected = activation_levels(row, unsigned)
                self.assertEqual(levels[i].int().tolist(), expected[0], f"row {i}, unsigned {unsigned}")
                self.assertEqual((scale[i].item(), offset[i].item()), (expected[1], expected[2]))

    def test_weights_have_the_documented_levels(self) -> None:
        x = rows(2, 200, 96).clip(-6e4, 6e4)
        levels, scale = weight_levels(torch.from_numpy(x))
        for i, row in enumerate(x.astype(np.float16).astype(f32)):
            expected = stored_levels(row)
            self.assertEqual(levels[i].int().tolist(), expected[0], f"row {i}")
            self.assertEqual(scale[i].item(), expected[1])

    def test_keys_and_values_multiply_by_the_inverse(self) -> None:
        x = rows(3, 200, 32)
        levels, scale = symmetric_levels(torch.from_numpy(x))
        for i, row in enumerate(x):
            largest = np.abs(row).max()
            expected = f32(largest / f32(127)) if largest >= f32(1e-30) else f32(0)
            inverse = f32(0) if expected == 0 else f32(1) / expected
            self.assertEqual(scale[i].item(), expected)
            self.assertEqual(levels[i].tolist(), np.rint((row * inverse).clip(-127, 127)).tolist(), f"row {i}")

    def test_a_linear_is_the_documented_one(self) -> None:
        """Integers exactly, the rest within the two roundings that a fused multiply-add saves."""
        layer = torch.nn.Linear(512, 24)
        x = rows(4, 50, 512)
        ours = Int8().linear(layer, torch.from_numpy(x)).detach().numpy()
        weights = layer.weight.detach().half().float().numpy()
        bias = layer.bias.detach().numpy()
        for i, row in enumerate(x):
            q, scale, offset = activation_levels(row, False)
            for o, column in enumerate(weights):
                w, column_scale = stored_levels(column)
                acc = f32(sum(a * b for a, b in zip(q, w, strict=True)))
                base = fmaf(offset, f32(column_scale * f32(sum(w))), bias[o])
                expected = fmaf(f32(acc * scale), column_scale, base)
                slack = 4 * np.finfo(f32).eps * (abs(acc * scale * column_scale) + abs(base - bias[o]) + abs(bias[o]))
                self.assertLessEqual(abs(ours[i, o] - expected), slack, f"row {i}, output {o}")

    def test_gradients_are_those_of_the_rounded_product(self) -> None:
        torch.manual_seed(5)
        layer = torch.nn.Linear(64, 16)
        x = torch.randn(3, 7, 64, requires_grad=True)
        towards = torch.randn(3, 7, 16)
        Int8().linear(layer, x).backward(towards)
        levels, scale = weight_levels(layer.weight.detach())
        torch.testing.assert_close(x.grad, towards @ (levels * scale))
        levels, scale, offset = row_levels(x.detach(), False)
        expected = torch.einsum("bto,bti->oi", towards, levels * scale + offset)
        torch.testing.assert_close(layer.weight.grad, expected)
        torch.testing.assert_close(layer.bias.grad, towards.sum((0, 1)))


def tiny_classifier(layers: int) -> MobileBertForSequenceClassification:
    torch.manual_seed(6)
    config = student(replace(TINY.student, layers=layers), 1000).config
    config.num_labels, config.id2label, config.label2id = 2, LABELS, {v: k for k, v in LABELS.items()}
    model = MobileBertForSequenceClassification(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Wide enough that roundings show in the logits.
            if parameter.dim() == 2:
                parameter.normal_(0, 1 if "embeddings.weight" in name else parameter.shape[1] ** -0.5)
        model.mobilebert.embeddings.word_embeddings.weight[0] = 0
    return model


def padded(sequences: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(s) for s in sequences], batch_first=True)
    return ids, ids != 0


class Forward(unittest.TestCase):
    sequences = [np.random.default_rng(7 + n).integers(103, 1000, n).tolist() for n in (5, 17, 40)]

    def test_mobilebert_is_that_of_transformers(self) -> None:
        model = tiny_classifier(4).mobilebert
        self.assert_like_transformers(model)

    def test_bert_is_that_of_transformers(self) -> None:
        torch.manual_seed(8)
        config = BertConfig(
            vocab_size=1000, hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96
        )
        self.assert_like_transformers(BertModel(config, add_pooling_layer=False).eval())

    @torch.no_grad()
    def assert_like_transformers(self, model: torch.nn.Module) -> None:
        model.set_attn_implementation("eager")
        ids, mask = padded(self.sequences)
        types = (torch.arange(ids.shape[1]) > 3).long().expand_as(ids)
        trace = encode(model, ids, types, mask, Float())
        theirs = model(ids, mask, types, output_hidden_states=True, output_attentions=True)
        for ours, expected in zip(trace.hidden, theirs.hidden_states, strict=True):
            largest = expected[mask].abs().max().item()
            torch.testing.assert_close(ours[mask], expected[mask], rtol=0, atol=FORWARD_TOLERANCE * largest)
        count = model.config.num_attention_heads
        for q, k, expected in zip(trace.query, trace.key, theirs.attentions, strict=True):
            q, k = heads(q[2:], count), heads(k[2:], count)
            ours = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
            torch.testing.assert_close(ours, expected[2:], rtol=0, atol=ATTENTION_TOLERANCE)

    @torch.no_grad()
    def test_bfloat16_is_near_float(self) -> None:
        model = tiny_classifier(1).mobilebert
        ids, mask = padded(self.sequences)
        exact, rounded = (encode(model, ids, torch.zeros_like(ids), mask, how) for how in (Float(), Bfloat16()))
        for ours, expected in zip(rounded.hidden, exact.hidden, strict=True):
            self.assertEqual(ours.dtype, torch.bfloat16)
            error = (ours.float() - expected)[mask].square().mean().sqrt()
            self.assertLess(error, BFLOAT16_TOLERANCE * expected[mask].square().mean().sqrt())
            self.assertGreater(error, 0.0)

    @torch.no_grad()
    def test_int8_does_not_see_padding(self) -> None:
        model = tiny_classifier(1)
        together = self.logits(model, Int8())
        for i, sequence in enumerate(self.sequences):
            ids, mask = padded([sequence])
            alone = Reader(model, Int8())
            trace = encode(model.mobilebert, ids, torch.zeros_like(ids), mask, alone.how)
            torch.testing.assert_close(sst2_logits(alone, trace)[0], together[i], rtol=0, atol=1e-4)

    def logits(self, model: MobileBertForSequenceClassification, how: Float | Int8) -> torch.Tensor:
        ids, mask = padded(self.sequences)
        return sst2_logits(Reader(model, how), encode(model.mobilebert, ids, torch.zeros_like(ids), mask, how))

    @torch.no_grad()
    def test_int8_is_the_engines(self) -> None:
        binary = os.environ.get("MOBILEBERT_BIN")
        if not binary:
            self.skipTest("SKIPPED: MOBILEBERT_BIN is not set")
        model = tiny_classifier(1)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            words = ["[PAD]", *(f"w{i}" for i in range(1, 1000))]
            for place, word in ((100, "[UNK]"), (101, "[CLS]"), (102, "[SEP]"), (103, "[MASK]")):
                words[place] = word
            (folder / "vocab.txt").write_text("\n".join(words) + "\n")
            write_folder(model, folder, folder / "f16")
            subprocess.run([binary, "quantize", folder / "f16", folder / "int8"], check=True, capture_output=True)
            lines = "\n".join(json.dumps({"ids": ids}) for ids in self.sequences)
            command = [binary, "infer", "--json", "--model", folder / "int8", "-"]
            printed = subprocess.run(command, input=lines, text=True, check=True, capture_output=True).stdout
        engine = torch.tensor([json.loads(line)["logits"] for line in printed.splitlines()]).reshape(3, 2)
        model.half().float()
        spread = engine.max() - engine.min()
        error = {how: (self.logits(model, how()) - engine).abs().max() / spread for how in (Int8, Float)}
        print(f"against the engine's int8, of the logits' spread: {error[Int8]:.5f} int8, {error[Float]:.5f} float")
        self.assertLess(error[Int8], ENGINE_TOLERANCE)
        self.assertGreater(error[Float], 5 * ENGINE_TOLERANCE)


if __name__ == "__main__":
    unittest.main()
