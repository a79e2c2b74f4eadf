"""LiteRT files of the golden checkpoints: float by litert-torch, int8 by ai-edge-quantizer, and asymmetric int8."""

import argparse
import json
import shutil
from pathlib import Path

import litert_torch
import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe
import flatbuffers

import full_sequence
from exports import load, tensors, write_expected
from make_checkpoints import IDS

LENGTH = 24
ZERO_POINT = 6


def export(source: Path, target: Path) -> None:
    litert_torch.convert(load(source), tensors(torch.int32, LENGTH)).export(str(target))


def dynamic(source: Path, target: Path) -> None:
    """Weights in int8, one scale a channel."""
    quantiser = quantizer.Quantizer(str(source))
    quantiser.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    quantiser.quantize().export_model(str(target))


def static(source: Path, target: Path) -> None:
    """Weights and activations in int8."""
    quantiser = quantizer.Quantizer(str(source))
    quantiser.load_quantization_recipe(recipe.static_wi8_ai8())
    generator = np.random.default_rng(1)
    signatures = Interpreter(str(source)).get_signature_list()
    name, signature = next(iter(signatures.items()))

    def sample() -> dict:
        rows = [generator.integers(5, 40, (1, LENGTH)), np.ones((1, LENGTH)), np.zeros((1, LENGTH))]
        return {key: row.astype(np.int32) for key, row in zip(signature["inputs"], rows)}

    statistics = quantiser.calibrate({name: [sample() for _ in range(8)]})
    quantiser.quantize(statistics).export_model(str(target))


def asymmetric(source: Path, target: Path) -> None:
    """Moves the zero point of every int8 weight: the published MobileBERT has weights of this kind."""
    model = schema.ModelT.InitFromPackedBuf(bytearray(source.read_bytes()), 0)
    for tensor in model.subgraphs[0].tensors:
        buffer = model.buffers[tensor.buffer]
        if tensor.type != schema.TensorType.INT8 or buffer.data is None or not len(buffer.data):
            continue
        scales = len(tensor.quantization.scale)
        values = np.asarray(buffer.data, dtype=np.uint8).view(np.int8).astype(np.int32)
        buffer.data = np.clip(values + ZERO_POINT, -128, 127).astype(np.int8).view(np.uint8)
        tensor.quantization.zeroPoint = np.full(scales, ZERO_POINT, dtype=np.int64)
    pack(model, target)


def anonymise(file: Path) -> None:
    """Drops the names of all tensors: the structure alone has to say which weight is which."""
    model = schema.ModelT.InitFromPackedBuf(bytearray(file.read_bytes()), 0)
    for tensor in model.subgraphs[0].tensors:
        tensor.name = None
    model.metadata, model.metadataBuffer, model.signatureDefs = None, None, None
    pack(model, file)


def pack(model: schema.ModelT, target: Path) -> None:
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    target.write_bytes(bytes(builder.Output()))


def run(file: Path) -> list:
    interpreter = Interpreter(str(file))
    interpreter.allocate_tensors()
    inputs = sorted(interpreter.get_input_details(), key=lambda detail: detail["name"])
    for detail, tensor in zip(inputs, tensors(torch.int32, LENGTH)):
        interpreter.set_tensor(detail["index"], tensor.numpy().astype(detail["dtype"]))
    interpreter.invoke()
    outputs = []
    for detail in sorted(interpreter.get_output_details(), key=lambda detail: detail["name"]):
        output = interpreter.get_tensor(detail["index"])
        scale, zero_point = detail["quantization"]
        outputs.append((output.astype(np.float32) - zero_point) * np.float32(scale) if scale else output)
    if len(outputs) == 2:
        return np.stack(outputs, axis=-1)[0][: len(IDS)].tolist()
    return outputs[0][0].tolist()


def run_full(file: Path) -> dict:
    """`expected.json` of a file of `make_tflite_tensorflow.py`, whose outputs are the end's logits and the start's."""
    ids, types = full_sequence.IDS, full_sequence.TYPES
    interpreter = Interpreter(str(file))
    interpreter.allocate_tensors()
    for detail, row in zip(interpreter.get_input_details(), (ids, [1] * len(ids), types)):
        interpreter.set_tensor(detail["index"], np.array([row], dtype=np.int32))
    interpreter.invoke()
    end, start = (interpreter.get_tensor(detail["index"])[0] for detail in interpreter.get_output_details())
    return {"input_ids": ids, "token_type_ids": types, "logits": np.stack([start, end], axis=-1).tolist()}


def write(out: Path, name: str, source: Path, make, runs: bool = True, anonymous: bool = True) -> Path:
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    file = folder / "model.tflite"
    make(file)
    if runs:
        write_expected(folder, run(file))
    if anonymous:
        anonymise(file)
    shutil.copy(source / "vocab.txt", folder)
    print(f"{name}: {file.stat().st_size} bytes", flush=True)
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the golden folder; files go to its folder convert")
    golden = parser.parse_args().out
    out, checkpoints = golden / "convert", golden / "checkpoints"
    qa, bert = checkpoints / "mobilebert-f32", checkpoints / "bert-f32"
    float_qa = write(out, "tflite-mobilebert-qa", qa, lambda target: export(qa, target), anonymous=False)
    write(out, "tflite-bert-classifier", bert, lambda target: export(bert, target))
    int8 = write(out, "tflite-mobilebert-qa-dynamic", qa, lambda target: dynamic(float_qa, target))
    write(out, "tflite-mobilebert-qa-static", qa, lambda target: static(float_qa, target))
    # LiteRT's hybrid kernels refuse weights with a zero point, so this file is only read.
    write(out, "tflite-mobilebert-qa-asymmetric", qa, lambda target: asymmetric(int8, target), runs=False)
    of_tensorflow = out / "tflite-tf-mobilebert-qa" / "model.tflite"
    name = "tflite-tf-mobilebert-qa-dynamic"
    int8 = write(out, name, qa, lambda target: dynamic(of_tensorflow, target), runs=False)
    (int8.parent / "expected.json").write_text(json.dumps(run_full(int8)) + "\n")


if __name__ == "__main__":
    main()
