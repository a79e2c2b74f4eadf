"""Where the peers' files lie, and the one input everybody runs. Used by models.py and measure.py."""

import os
from pathlib import Path

import numpy as np

PEERS_DIR = Path(os.environ.get("PEERS_DIR", "~/.cache/mobilebert-peers")).expanduser()
INPUT_NAMES = ("input_ids", "attention_mask", "token_type_ids")
SEQ_LENS = (128, 384)
MODELS = ("mobilebert", "bert-base")
PRECISIONS = ("f32", "int8")


def model_file(model: str, engine: str, precision: str, seq_len: int) -> Path:
    """LiteRT fixes the shape when it converts; the others fix it when they load."""
    name = {
        "litert": f"{precision}-{seq_len}.tflite",
        "onnxruntime": f"{precision}.onnx",
        "openvino": f"{precision}.xml",
        "ours": precision,
    }[engine]
    return PEERS_DIR / "models" / model / name


def reference_file(model: str, seq_len: int) -> Path:
    """PyTorch's logits of `inputs(seq_len)`: [2, seq_len], start and end."""
    return PEERS_DIR / "models" / model / f"reference-{seq_len}.npy"


def inputs(seq_len: int, dtype: str = "int64", seed: int = 0) -> dict[str, np.ndarray]:
    """One sequence without padding: a question, and a passage of the other seven eighths."""
    ids = np.random.default_rng(seed).integers(1000, 30000, (1, seq_len))
    types = (np.arange(seq_len) >= seq_len // 8)[None]
    arrays = (ids, np.ones_like(ids), types)
    return {name: array.astype(dtype) for name, array in zip(INPUT_NAMES, arrays, strict=True)}
