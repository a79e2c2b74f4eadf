"""What the ONNX and the LiteRT exporters share: a golden checkpoint as a module of three tensors in."""

import json
from pathlib import Path

import torch
import transformers

from make_checkpoints import IDS, TYPES

INPUT_NAMES = ("input_ids", "attention_mask", "token_type_ids")


class Logits(torch.nn.Module):
    """Exporters take no dictionaries; the order of the outputs is that of the class."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, token_type_ids):
        output = self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        if "start_logits" in output:
            return output.start_logits, output.end_logits
        return output[0]


def load(folder: Path, attention: str = "eager") -> Logits:
    config = json.loads((folder / "config.json").read_text())
    architecture = getattr(transformers, config["architectures"][0])
    return Logits(architecture.from_pretrained(folder, attn_implementation=attention).eval())


def tensors(dtype: torch.dtype, length: int = len(IDS)) -> tuple[torch.Tensor, ...]:
    """The golden sequence, padded to `length`."""
    pad = [0] * (length - len(IDS))
    mask = [1] * len(IDS) + pad
    return tuple(torch.tensor([row], dtype=dtype) for row in (IDS + pad, mask, TYPES + pad))


def write_expected(folder: Path, logits: list) -> None:
    """Logits that the exporter's own engine computes from the file, as `expected.json` of the checkpoints."""
    expected = {"input_ids": IDS, "token_type_ids": TYPES, "logits": logits}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
