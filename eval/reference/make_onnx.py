"""ONNX files of the golden checkpoints: float by both exporters of PyTorch, int8 by ONNX Runtime's quantisers."""

import argparse
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime import quantization

from exports import INPUT_NAMES, load, tensors, write_expected

CALIBRATION = 8


def output_names(model) -> tuple[str, ...]:
    return ("start_logits", "end_logits") if "QuestionAnswering" in type(model.model).__name__ else ("logits",)


def export(source: Path, target: Path, dynamo: bool, opset: int, attention: str = "eager") -> None:
    model = load(source, attention)
    axes = {0: "batch", 1: "tokens"}
    options = {"dynamic_axes": {name: axes for name in INPUT_NAMES}}
    if dynamo:
        tokens = torch.export.Dim("tokens", min=2, max=24)
        options = {"dynamic_shapes": tuple({1: tokens} for _ in INPUT_NAMES)}
    torch.onnx.export(
        model,
        tensors(torch.int64),
        target,
        dynamo=dynamo,
        opset_version=opset,
        input_names=INPUT_NAMES,
        output_names=output_names(model),
        **({"external_data": False} if dynamo else {}),
        **options,
    )


def anonymise(file: Path) -> None:
    """Numbers every value and drops what only people read: the structure alone has to say which weight is which."""
    model = onnx.load(file)
    graph = model.graph
    names = {"": ""} | {value.name: value.name for value in (*graph.input, *graph.output)}

    def rename(name: str) -> str:
        return names.setdefault(name, f"v{len(names)}")

    for node in graph.node:
        node.input[:] = map(rename, node.input)
        node.output[:] = map(rename, node.output)
        for field in ("name", "doc_string", "metadata_props"):
            node.ClearField(field)
    for tensor in graph.initializer:
        tensor.name = rename(tensor.name)
        tensor.ClearField("metadata_props")
    for field in ("value_info", "metadata_props", "quantization_annotation", "doc_string"):
        graph.ClearField(field)
    for value in (*graph.input, *graph.output):
        value.ClearField("metadata_props")
    model.ClearField("metadata_props")
    onnx.save(model, file)


class Random(quantization.CalibrationDataReader):
    """Sequences of random tokens."""

    def __init__(self):
        generator = np.random.default_rng(1)
        ones, zeros = np.ones((1, 12), dtype=np.int64), np.zeros((1, 12), dtype=np.int64)
        ids = (generator.integers(5, 40, (1, 12)) for _ in range(CALIBRATION))
        self.samples = iter([dict(zip(INPUT_NAMES, (row, ones, zeros))) for row in ids])

    def get_next(self):
        return next(self.samples, None)


def write(out: Path, name: str, source: Path, make, anonymous: bool = False) -> None:
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    make(folder / "model.onnx")
    if anonymous:
        anonymise(folder / "model.onnx")
    onnx.checker.check_model(str(folder / "model.onnx"))
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    named = dict(zip(INPUT_NAMES, (tensor.numpy() for tensor in tensors(torch.int64))))
    taken = {node.name for node in session.get_inputs()}
    outputs = session.run(None, {key: value for key, value in named.items() if key in taken})
    logits = np.stack(outputs, axis=-1)[0] if len(outputs) == 2 else outputs[0][0]
    write_expected(folder, logits.tolist())
    shutil.copy(source / "vocab.txt", folder)
    print(f"{name}: {(folder / 'model.onnx').stat().st_size} bytes", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the golden folder; files go to its folder convert")
    golden = parser.parse_args().out
    out, checkpoints = golden / "convert", golden / "checkpoints"
    qa, bert = checkpoints / "mobilebert-f32", checkpoints / "bert-f32"
    masked, entities = checkpoints / "mobilebert-mlm-f32", checkpoints / "mobilebert-ner-f32"

    write(out, "onnx-mobilebert-qa", qa, lambda target: export(qa, target, False, 14))
    write(out, "onnx-mobilebert-qa-dynamo", qa, lambda target: export(qa, target, True, 18), anonymous=True)
    write(out, "onnx-bert-classifier", bert, lambda target: export(bert, target, False, 17))
    write(out, "onnx-bert-classifier-dynamo", bert, lambda target: export(bert, target, True, 20), anonymous=True)
    # From opset 23 on, attention is one operator.
    fused = "onnx-bert-classifier-sdpa"
    write(out, fused, bert, lambda target: export(bert, target, True, 23, "sdpa"), anonymous=True)
    write(out, "onnx-mobilebert-masked", masked, lambda target: export(masked, target, False, 17))
    write(out, "onnx-mobilebert-ner", entities, lambda target: export(entities, target, False, 17))

    def external(target: Path) -> None:
        # Shape inference wants the small integers in the file itself.
        model = onnx.load(out / "onnx-mobilebert-qa-dynamo" / "model.onnx")
        onnx.save(model, target, save_as_external_data=True, location="model.onnx.data", size_threshold=128)

    def dynamic(target: Path) -> None:
        quantization.quantize_dynamic(
            out / "onnx-mobilebert-qa" / "model.onnx", target, weight_type=quantization.QuantType.QUInt8
        )

    def static(target: Path) -> None:
        quantization.quantize_static(
            out / "onnx-mobilebert-qa" / "model.onnx",
            target,
            Random(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )

    write(out, "onnx-mobilebert-qa-external", qa, external)
    write(out, "onnx-mobilebert-qa-dynamic", qa, dynamic, anonymous=True)
    write(out, "onnx-mobilebert-qa-qdq", qa, static, anonymous=True)


if __name__ == "__main__":
    main()
