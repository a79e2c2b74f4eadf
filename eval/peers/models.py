"""Makes the model files of every peer from the synthetic weights. What exists is kept."""

import argparse
import multiprocessing
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers

sys.path.append(str(Path(__file__).parent.parent / "reference"))
import synthetic
from layout import INPUT_NAMES, MODELS, SEQ_LENS, inputs, model_file, reference_file

CALIBRATION_SEEDS = range(1, 9)


class Logits(torch.nn.Module):
    """Three tensors in, two out: the converters take no dictionaries."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, token_type_ids):
        output = self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        return output.start_logits, output.end_logits


def build(model: str) -> Logits:
    family = {"mobilebert": "MobileBert", "bert-base": "Bert"}[model]
    config = getattr(transformers, family + "Config")(attn_implementation="eager")
    network = getattr(transformers, family + "ForQuestionAnswering")(config).eval()
    synthetic.fill(network)
    return Logits(network)


def tensors(seq_len: int, dtype: str = "int64") -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in inputs(seq_len, dtype).items()}


@torch.no_grad()
def reference(model: str, target: Path, seq_len: int) -> None:
    np.save(target, np.concatenate([logits.numpy() for logits in build(model)(**tensors(seq_len))]))


def litert_f32(model: str, target: Path, seq_len: int) -> None:
    import litert_torch

    litert_torch.convert(build(model), sample_kwargs=tensors(seq_len, "int32")).export(str(target))


def litert_int8(model: str, target: Path, seq_len: int) -> None:
    """Weights in int8, one scale a channel; activations quantised when they are made."""
    from ai_edge_quantizer import quantizer, recipe

    quantiser = quantizer.Quantizer(str(model_file(model, "litert", "f32", seq_len)))
    quantiser.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    quantiser.quantize().export_model(str(target))


def onnxruntime_f32(model: str, target: Path, seq_len: int) -> None:
    torch.onnx.export(
        build(model),
        tuple(tensors(seq_len).values()),
        target,
        dynamo=False,
        opset_version=17,
        input_names=INPUT_NAMES,
        output_names=("start_logits", "end_logits"),
        dynamic_axes={name: {1: "tokens"} for name in INPUT_NAMES},
    )


def onnxruntime_int8(model: str, target: Path, seq_len: int) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = target.with_suffix(".prepared")
    quant_pre_process(model_file(model, "onnxruntime", "f32", seq_len), prepared, skip_symbolic_shape=True)
    quantize_dynamic(prepared, target, per_channel=True, weight_type=QuantType.QInt8)
    prepared.unlink()


def openvino_f32(model: str, target: Path, seq_len: int) -> None:
    import openvino

    network = openvino.convert_model(model_file(model, "onnxruntime", "f32", seq_len))
    openvino.save_model(network, target, compress_to_fp16=False)


def openvino_int8(model: str, target: Path, seq_len: int) -> None:
    """NNCF's scheme for transformers: weights and activations in int8, scales from calibration."""
    import nncf
    import openvino

    network = openvino.Core().read_model(model_file(model, "openvino", "f32", seq_len))
    samples = nncf.Dataset([inputs(seq_len, seed=seed) for seed in CALIBRATION_SEEDS])
    network = nncf.quantize(network, samples, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(CALIBRATION_SEEDS))
    openvino.save_model(network, target, compress_to_fp16=False)


def ours_f32(model: str, target: Path, seq_len: int) -> None:
    """A folder as users have it; `run.py` lets `mobilebert quantize` write the int8 one."""
    build(model).model.save_pretrained(target)


def make(step: Callable[[str, Path, int], None], model: str, target: Path, seq_len: int = SEQ_LENS[0]) -> None:
    """In a process of its own, since the converters bring clashing libraries, and in a folder of its own until done."""
    if target.exists():
        return
    print(f"{step.__name__} -> {model}/{target.name}", flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        process = multiprocessing.get_context("spawn").Process(
            target=step, args=(model, Path(folder) / target.name, seq_len)
        )
        process.start()
        process.join()
        if process.exitcode != 0:
            sys.exit(f"{step.__name__} failed for {model}")
        for file in sorted(Path(folder).iterdir()):  # OpenVINO's f32.bin before f32.xml, the target
            file.rename(target.parent / file.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL", help=" or ".join(MODELS))
    for model in parser.parse_args().models:
        for seq_len in SEQ_LENS:
            make(reference, model, reference_file(model, seq_len), seq_len)
            for step in (litert_f32, litert_int8):
                make(step, model, model_file(model, *step.__name__.split("_"), seq_len), seq_len)
        for step in (onnxruntime_f32, onnxruntime_int8, openvino_f32, openvino_int8, ours_f32):
            make(step, model, model_file(model, *step.__name__.split("_"), SEQ_LENS[0]))


if __name__ == "__main__":
    main()
