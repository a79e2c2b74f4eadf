"""Writes a model as a Hugging Face folder: f16, in safetensors of at most 15 MB each.

    python export.py --model FOLDER --head qa|sst2|none --out FOLDER
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

LARGEST_FILE = 15_000_000
"""Bytes of tensors. A single larger tensor gets a file of its own."""

TOKENIZER_FILES = ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def write_folder(model: PreTrainedModel, tokenizer: Path, out: Path) -> None:
    """The folder appears when it is complete. Tokenizer files are copied from the folder `tokenizer`."""
    temporary = out.with_name(out.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    files = shards(half_tensors(model))
    where = {}
    for number, tensors in enumerate(files, 1):
        name = f"model-{number:05}-of-{len(files):05}.safetensors" if len(files) > 1 else "model.safetensors"
        save_file(tensors, temporary / name, metadata={"format": "pt"})
        where |= dict.fromkeys(tensors, name)
    if len(files) > 1:
        size = sum(t.numel() * t.element_size() for tensors in files for t in tensors.values())
        index = {"metadata": {"total_size": size}, "weight_map": where}
        (temporary / "model.safetensors.index.json").write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")
    model.config.architectures = [type(model).__name__]
    config = model.config.to_dict() | {"dtype": "float16"}
    config.pop("_name_or_path", None)
    (temporary / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    for name in TOKENIZER_FILES:
        if (tokenizer / name).is_file():
            shutil.copyfile(tokenizer / name, temporary / name)
    shutil.rmtree(out, ignore_errors=True)
    temporary.rename(out)


def half_tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """State without tied copies, f16, on the CPU. A number that f16 cannot hold ends the program."""
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() in seen:
            continue
        seen.add(tensor.data_ptr())
        half = tensor.detach().to("cpu", torch.float16).contiguous()
        if not half.isfinite().all():
            raise SystemExit(f"{name}: not finite in f16")
        tensors[name] = half
    return tensors


def shards(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Tensors in order, a new file when the next one does not fit."""
    files: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        bytes_ = tensor.numel() * tensor.element_size()
        if files[-1] and size + bytes_ > LARGEST_FILE:
            files.append({})
            size = 0
        files[-1][name] = tensor
        size += bytes_
    return files


if __name__ == "__main__":
    from model import HEADS, open_model

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--head", choices=HEADS, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    write_folder(open_model(args.model, args.head), args.model, args.out)
