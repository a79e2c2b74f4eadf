"""Weights from a formula, so that a golden file needs no checkpoint beside it. README.md states the formula."""

import re
from math import prod, sqrt

import numpy as np
import torch
from transformers import PreTrainedModel

WORD_EMBEDDINGS = "embeddings.word_embeddings.weight"
TIED_PREFIX = "cls.predictions.decoder."

# A family's names that are not BERT's; what is not listed is the same.
RENAMED = {
    "distilbert": (
        (r"transformer\.layer\.(\d+)\.attention\.q_lin\.", r"encoder.layer.\1.attention.self.query."),
        (r"transformer\.layer\.(\d+)\.attention\.k_lin\.", r"encoder.layer.\1.attention.self.key."),
        (r"transformer\.layer\.(\d+)\.attention\.v_lin\.", r"encoder.layer.\1.attention.self.value."),
        (r"transformer\.layer\.(\d+)\.attention\.out_lin\.", r"encoder.layer.\1.attention.output.dense."),
        (r"transformer\.layer\.(\d+)\.sa_layer_norm\.", r"encoder.layer.\1.attention.output.LayerNorm."),
        (r"transformer\.layer\.(\d+)\.ffn\.lin1\.", r"encoder.layer.\1.intermediate.dense."),
        (r"transformer\.layer\.(\d+)\.ffn\.lin2\.", r"encoder.layer.\1.output.dense."),
        (r"transformer\.layer\.(\d+)\.output_layer_norm\.", r"encoder.layer.\1.output.LayerNorm."),
        (r"vocab_transform\.", "cls.predictions.transform.dense."),
        (r"vocab_layer_norm\.", "cls.predictions.transform.LayerNorm."),
        (r"vocab_projector\.weight", "cls.predictions.decoder.weight"),
        (r"vocab_projector\.bias", "cls.predictions.bias"),
    ),
    "electra": (
        (r"generator_predictions\.dense\.", "cls.predictions.transform.dense."),
        (r"generator_predictions\.LayerNorm\.", "cls.predictions.transform.LayerNorm."),
        (r"generator_lm_head\.weight", "cls.predictions.decoder.weight"),
        (r"generator_lm_head\.bias", "cls.predictions.bias"),
    ),
}


def bert_name(name: str, model_type: str) -> str:
    """What BERT calls the tensor that a family calls `name`."""
    for theirs, ours in RENAMED.get(model_type, ()):
        name = re.sub(f"^{theirs}", ours, name)
    return name


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
        name = bert_name(full_name.removeprefix(prefix), model.config.model_type)
        if name.startswith(TIED_PREFIX):
            continue
        parameter.copy_(tensor(name, tuple(parameter.shape)))
        if name == WORD_EMBEDDINGS and zero_pad_row:
            parameter[model.config.pad_token_id] = 0
    check_ties(model)


def check_ties(model: PreTrainedModel) -> None:
    output = model.get_output_embeddings()
    if output is not None:
        assert output.weight is model.get_input_embeddings().weight
    predictions = getattr(getattr(model, "cls", None), "predictions", None)
    if predictions is not None:
        assert predictions.decoder.weight is model.get_input_embeddings().weight
        assert predictions.decoder.bias is predictions.bias
