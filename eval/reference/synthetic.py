"""Weights from a formula, so that a golden file needs no checkpoint beside it. README.md states the formula."""

from math import prod, sqrt

import numpy as np
import torch
from transformers import PreTrainedModel

WORD_EMBEDDINGS = "embeddings.word_embeddings.weight"
TIED_PREFIX = "cls.predictions.decoder."


def fnv1a(name: str) -> int:
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def units(name: str, count: int) -> np.ndarray:
    """`count` numbers in [-1, 1): splitmix64 seeded with the name's hash, its upper 24 bits exact in f32."""
    z = np.uint64(fnv1a(name)) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - np.float32(1)


def scale(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Base and amplitude of a tensor's values."""
    if name.endswith("_embeddings.weight"):
        return 0.0, 0.5
    if len(shape) == 2:
        gain = 2.0 if name.endswith((".self.query.weight", ".self.key.weight")) else 0.5
        return 0.0, gain * sqrt(3 / shape[1])
    if name.endswith("LayerNorm.weight"):
        return 1.0, 0.1
    return 0.0, 0.02


def tensor(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    base, amplitude = scale(name, shape)
    with np.errstate(over="ignore"):
        values = np.float32(amplitude) * units(name, prod(shape)) + np.float32(base)
    return torch.from_numpy(values.reshape(shape))


@torch.no_grad()
def fill(model: PreTrainedModel, zero_pad_row: bool = True) -> None:
    """Overwrites every parameter. Tied ones share storage with the tensor they follow and are left out."""
    prefix = model.base_model_prefix + "."
    for full_name, parameter in model.state_dict().items():
        name = full_name.removeprefix(prefix)
        if name.startswith(TIED_PREFIX):
            continue
        parameter.copy_(tensor(name, tuple(parameter.shape)))
        if name == WORD_EMBEDDINGS and zero_pad_row:
            parameter[model.config.pad_token_id] = 0
    check_ties(model)


def check_ties(model: PreTrainedModel) -> None:
    predictions = getattr(getattr(model, "cls", None), "predictions", None)
    if predictions is not None:
        assert predictions.decoder.weight is model.get_input_embeddings().weight
        assert predictions.decoder.bias is predictions.bias
