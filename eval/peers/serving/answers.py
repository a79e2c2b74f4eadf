"""Writes a question answering model in Hugging Face's layout as ONNX, in f32 and in int8.

    answers.py CHECKPOINT WORK

WORK gets `answers-onnx-f32` and `answers-onnx-int8`; the second is what `onnxruntime_server.py` serves.
"""

import argparse
from pathlib import Path

import torch
import transformers
from onnxruntime.quantization import QuantType, quantize_dynamic

NAMES = ["input_ids", "attention_mask", "token_type_ids"]


class Logits(torch.nn.Module):
    """The network with these inputs and both rows of logits in one tensor."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        start, end = self.network(**dict(zip(NAMES, given, strict=True)), return_dict=False)[:2]
        return torch.stack([start, end], dim=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("work", type=Path)
    args = parser.parse_args()
    network = transformers.AutoModelForQuestionAnswering.from_pretrained(
        args.checkpoint, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.checkpoint)
    floats, int8 = args.work / "answers-onnx-f32", args.work / "answers-onnx-int8"
    for folder in (floats, int8):
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer.save_pretrained(folder)
        network.config.save_pretrained(folder)
    encoded = tokenizer(
        ["who?", "where is it?"], ["anna", "in paris, they say"], padding=True, return_tensors="pt"
    )
    axes = {0: "batch", 1: "tokens"}
    torch.onnx.export(
        Logits(network),
        tuple(encoded[name] for name in NAMES),
        str(floats / "model.onnx"),
        input_names=NAMES,
        output_names=["logits"],
        dynamic_axes={name: axes for name in NAMES} | {"logits": {0: "batch", 2: "tokens"}},
        opset_version=17,
        dynamo=False,
    )
    quantize_dynamic(
        floats / "model.onnx", int8 / "model.onnx", per_channel=True, weight_type=QuantType.QInt8
    )


if __name__ == "__main__":
    main()
