"""Makes a model hard to quantise without changing what it computes in floats: a case for `mobilebert finetune --qat`.

    python harden.py --model FOLDER --out FOLDER

What a ReLU or an attention passes on in one channel may be multiplied by a factor that the next linear divides by. The factors
are 1/256 to 256 behind a ReLU and 1/16 to 16 for the values of an attention, so neighbouring columns of the next linear, which
share a step, differ as much.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

PAIRS = ((".intermediate.dense", ".output.dense", 256), (".attention.self.value", ".attention.output.dense", 16))
"""A linear, the one that reads it, and the largest factor."""


def harden(tensors: dict[str, NDArray[np.float32]]) -> None:
    random = np.random.default_rng(0)
    for first, second, most in PAIRS:
        for name in [name for name in tensors if name.endswith(first + ".weight")]:
            module = name.removesuffix(first + ".weight")
            spread = random.uniform(-1, 1, tensors[name].shape[0]) * np.log(most)
            factors = np.exp(spread).astype(np.float32)
            tensors[name] *= factors[:, None]
            tensors[f"{module}{first}.bias"] *= factors
            tensors[f"{module}{second}.weight"] /= factors[None, :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True)
    for file in arguments.model.iterdir():
        if file.suffix in (".json", ".txt"):
            shutil.copyfile(file, arguments.out / file.name)
    tensors = {name: t.astype(np.float32) for name, t in load_file(arguments.model / "model.safetensors").items()}
    harden(tensors)
    save_file(tensors, arguments.out / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
