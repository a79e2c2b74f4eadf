"""ONNX files in every form that exporters and optimisers leave a BERT or a MobileBERT in, small ones.

`--matrix FOLDER` writes all of them, some two hundred folders, for `crates/tools/tests/onnx_matrix.rs` with
MOBILEBERT_ONNX_MATRIX=FOLDER. `--out tests/golden` writes the few that are committed (`COMMITTED`), without names.
"""

import argparse
import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import transformers
from onnxconverter_common import float16
from onnxruntime import quantization
from onnxruntime.transformers import optimizer

from exports import INPUT_NAMES, Logits, tensors
from make_checkpoints import IDS, SENTIMENTS, TYPES, VOCABULARY, labels
from make_model_goldens import build
from make_onnx import Random, anonymise

HEADS = {
    "qa": ("ForQuestionAnswering", {}),
    "classifier": ("ForSequenceClassification", labels(SENTIMENTS)),
    "masked": ("ForMaskedLM", {}),
    "encoder": ("Model", {}),
}
SIZES = dict(vocab_size=len(VOCABULARY), hidden_size=16, num_hidden_layers=2, num_attention_heads=2)
MOBILE = SIZES | dict(embedding_size=8, intra_bottleneck_size=8, intermediate_size=12, num_feedforward_networks=2)
FAMILIES = {
    "bert": ("Bert", transformers.BertConfig, SIZES | dict(intermediate_size=24, max_position_embeddings=24)),
    "mobilebert": ("MobileBert", transformers.MobileBertConfig, MOBILE | dict(max_position_embeddings=24)),
}
# The part of the logits' range by which ONNX Runtime may differ from PyTorch in f32.
TOLERANCE = 1e-4
# Architectures that a graph could be taken for a BERT of: positions that skip padding, scores with a learned bias, and
# a decoder.
OTHERS = {
    "roberta": ("Roberta", transformers.RobertaConfig, SIZES | dict(intermediate_size=24, max_position_embeddings=26)),
    "mpnet": ("MPNet", transformers.MPNetConfig, SIZES | dict(intermediate_size=24, max_position_embeddings=26)),
    "decoder": (
        "Bert", transformers.BertConfig, SIZES | dict(intermediate_size=24, max_position_embeddings=24, is_decoder=True),
    ),
}  # fmt: skip
COMMITTED = (
    "bert-classifier-opset11",
    "bert-qa-opset14-sdpa",
    "bert-encoder-dynamo20-sdpa",
    "mobilebert-classifier-opset20-sdpa",
    "mobilebert-masked-dynamo18",
    "bert-classifier-dynamo-int32",
    "bert-classifier-dynamo-static-sdpa",
    "bert-classifier-script-half-converted",
    "mobilebert-qa-script-half-model-sdpa",
    "bert-classifier-dynamo-own-external",
    "bert-classifier-script-initializers-as-inputs",
    "bert-classifier-script-fused",
    "bert-classifier-dynamo-session-extended",
    "mobilebert-qa-script-session-extended",
    "bert-classifier-script-dynamic-all",
    "bert-classifier-script-qdq-u8u8",
    "mobilebert-qa-dynamo-qdq-s8s8-per-channel",
    "bert-classifier-script-qoperator-u8s8",
    "bert-classifier-script-four-bits",
    "mobilebert-qa-dynamo-unoptimised",
    "roberta-encoder-script",
    "mpnet-encoder-dynamo",
    "decoder-encoder-dynamo",
)


def make_model(family: str, head: str, attention: str) -> torch.nn.Module:
    prefix, config, sizes = (FAMILIES | OTHERS)[family]
    suffix, options = HEADS[head]
    if family in OTHERS:
        # No classes of this family exist here, so that the formula's names do not fit.
        torch.manual_seed(0)
        model = getattr(transformers, prefix + suffix)(config(**sizes, **options))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    else:
        model = build(config(**sizes, **options), prefix, suffix, zero_pad_row=True)
    model.set_attn_implementation(attention)
    return model.eval()


class Fewer(Logits):
    """Takes the token ids, and the mask if it is given."""

    def forward(self, input_ids, attention_mask=None):
        output = self.model(input_ids=input_ids, attention_mask=attention_mask)
        return (output.start_logits, output.end_logits) if "start_logits" in output else output[0]


class Whole(Logits):
    """Returns everything that the model's class returns, in its order."""

    def forward(self, input_ids, attention_mask, token_type_ids):
        output = self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        return tuple(output.values())


@dataclass(frozen=True)
class Case:
    """One file. `after` changes the exported file in place, or writes others beside it."""

    name: str
    family: str = "bert"
    head: str = "classifier"
    attention: str = "eager"
    dynamo: bool = False
    opset: int = 17
    inputs: int = 3
    dtype: torch.dtype = torch.int64
    dynamic: bool = True
    half: bool = False
    whole: bool = False
    options: tuple = ()
    after: Callable[[Path], None] | None = None
    # What the verdict compares with: PyTorch in f32, or ONNX Runtime's own arithmetic.
    int8: bool = False
    # The weights are rounded to halves.
    rounded: bool = False


def export(case: Case, target: Path) -> torch.nn.Module:
    model = make_model(case.family, case.head, case.attention)
    if case.half:
        model = model.half()
    wrapper = Fewer if case.inputs < 3 else Whole if case.whole else Logits
    names = INPUT_NAMES[: case.inputs]
    axes = {0: "batch", 1: "tokens"}
    options = dict(case.options)
    if case.dynamic and not case.dynamo:
        options |= {"dynamic_axes": {name: axes for name in names}}
    elif case.dynamic:
        dim = torch.export.Dim.DYNAMIC
        options |= {"dynamic_shapes": tuple({0: dim, 1: dim} for _ in names)}
    if case.dynamo:
        options = {"external_data": False} | options
    outputs = ("start_logits", "end_logits") if case.head == "qa" else ("logits",)
    if case.whole:
        outputs = {"encoder": ("last_hidden_state", "pooler_output")}.get(case.head, outputs)
    # A batch of two: dynamo takes a dimension of one for a constant.
    sample = tuple(tensor.repeat(2, 1) if case.dynamic else tensor for tensor in tensors(case.dtype)[: case.inputs])
    with contextlib.redirect_stdout(None):
        torch.onnx.export(
            wrapper(model).eval(), sample, target, dynamo=case.dynamo, opset_version=case.opset, input_names=list(names),
            output_names=list(outputs), **options,
        )
    return model


def torch_logits(case: Case, model: torch.nn.Module) -> np.ndarray:
    ids, mask, types = tensors(torch.int64)
    given = dict(input_ids=ids, attention_mask=mask) | ({"token_type_ids": types} if case.inputs == 3 else {})
    with torch.no_grad():
        output = model.float()(**given)
    if case.head == "qa":
        return torch.stack((output.start_logits, output.end_logits), dim=-1)[0].numpy()
    return output[0][0].numpy()


def runtime_logits(case: Case, file: Path) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    given = dict(zip(INPUT_NAMES, tensors(torch.int64)))
    types = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
    feed = {node.name: given[node.name].numpy().astype(types[node.type]) for node in session.get_inputs()}
    outputs = [output.astype(np.float32) for output in session.run(None, feed)]
    return np.stack(outputs[:2], axis=-1)[0] if case.head == "qa" else outputs[0][0]


def write(out: Path, case: Case, anonymous: bool = False) -> None:
    folder = out / case.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    file = folder / "model.onnx"
    model = export(case, file)
    if case.rounded:
        model = model.half()
    if case.after:
        case.after(file)
    if anonymous and not any(folder.glob("*.data")):
        anonymise(file)
    elif anonymous:
        strip(file)
    logits = torch_logits(case, model)
    try:
        ran = runtime_logits(case, file)
    except Exception as error:  # noqa: BLE001 - the runtime has many
        print(f"{case.name}: ONNX Runtime: {str(error)[:160]}", flush=True)
    else:
        deviation = np.abs(ran - logits).max() / np.abs(logits).max()
        if case.int8:
            logits = ran
        elif deviation > TOLERANCE:
            print(f"{case.name}: ONNX Runtime differs from PyTorch by {deviation:.1e} of the range", flush=True)
    types = TYPES if case.inputs == 3 else [0] * len(IDS)
    expected = {"input_ids": IDS, "token_type_ids": types, "logits": logits.tolist()}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    if case.family in OTHERS:
        print(f"{case.name}: {sum(part.stat().st_size for part in folder.iterdir())} bytes", flush=True)
        return
    model.config.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config, separators=(",", ":")) + "\n")
    print(f"{case.name}: {sum(part.stat().st_size for part in folder.iterdir())} bytes", flush=True)


def strip(file: Path) -> None:
    """Drops what only people read, and leaves weights outside the file where they are."""
    model = onnx.load(file, load_external_data=False)
    for part in (model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    onnx.save(model, file)


def external(file: Path) -> None:
    model = onnx.load(file)
    file.unlink()
    onnx.save(model, file, save_as_external_data=True, location="model.onnx.data", size_threshold=128)


def half(**options) -> Callable[[Path], None]:
    def run(file: Path) -> None:
        onnx.save(float16.convert_float_to_float16(onnx.load(file), **options), file)

    return run


def dynamic(**options) -> Callable[[Path], None]:
    return lambda file: quantization.quantize_dynamic(file, file, **options)


def static(quant_format, prepare: bool = False, **options) -> Callable[[Path], None]:
    def run(file: Path) -> None:
        if prepare:
            quantization.quant_pre_process(file, file, skip_symbolic_shape=True)
        samples = Random()
        quantization.quantize_static(file, file, samples, quant_format=quant_format, **options)

    return run


def fused(family: str, **options) -> Callable[[Path], None]:
    half_too = options.pop("fp16", False)

    def run(file: Path) -> None:
        sizes = FAMILIES[family][2]
        heads, hidden = sizes["num_attention_heads"], sizes["hidden_size"]
        model = optimizer.optimize_model(str(file), "bert", num_heads=heads, hidden_size=hidden, **options)
        if half_too:
            model.convert_float_to_float16()
        model.save_model_to_file(str(file))

    return run


def session(level: str) -> Callable[[Path], None]:
    """The graph as a session of ONNX Runtime saves it."""

    def run(file: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        with tempfile.TemporaryDirectory() as folder:
            options.optimized_model_filepath = str(Path(folder) / "model.onnx")
            onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
            shutil.copy(options.optimized_model_filepath, file)

    return run


def four_bits(file: Path) -> None:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(onnx.load(file), block_size=16, is_symmetric=True)
    quantizer.process()
    quantizer.model.save_model_to_file(str(file))


def slim(file: Path) -> None:
    import onnxslim

    onnx.save(onnxslim.slim(onnx.load(file)), file)


def then(*steps: Callable[[Path], None]) -> Callable[[Path], None]:
    def run(file: Path) -> None:
        for step in steps:
            step(file)

    return run


def cases() -> list[Case]:
    found = []
    for family in FAMILIES:
        for head in HEADS:
            model = dict(family=family, head=head)
            name = f"{family}-{head}"
            found += [
                Case(f"{name}-opset11", opset=11, **model),
                Case(f"{name}-opset14-sdpa", attention="sdpa", opset=14, **model),
                Case(f"{name}-opset17", **model),
                Case(f"{name}-dynamo18", dynamo=True, opset=18, **model),
                Case(f"{name}-dynamo20-sdpa", dynamo=True, attention="sdpa", opset=20, **model),
                Case(f"{name}-whole", whole=True, opset=14, **model),
            ]
    for family, head in (("bert", "qa"), ("mobilebert", "classifier")):
        model = dict(family=family, head=head)
        for opset in (12, 13, 14, 18, 20):
            found.append(Case(f"{family}-{head}-opset{opset}", opset=opset, **model))
        for opset in (17, 18, 20):
            found.append(Case(f"{family}-{head}-opset{opset}-sdpa", attention="sdpa", opset=opset, **model))
        for opset in (21, 23):
            found.append(Case(f"{family}-{head}-dynamo{opset}-sdpa", dynamo=True, attention="sdpa", opset=opset, **model))
    u8, s8 = quantization.QuantType.QUInt8, quantization.QuantType.QInt8
    qdq, qoperator = quantization.QuantFormat.QDQ, quantization.QuantFormat.QOperator
    for family, head in (("bert", "classifier"), ("mobilebert", "qa")):
        model, name = dict(family=family, head=head), f"{family}-{head}"
        for dynamo in (False, True):
            kind = dict(dynamo=dynamo, opset=18 if dynamo else 14, **model)
            by = "dynamo" if dynamo else "script"
            found += [
                Case(f"{name}-{by}-two-inputs", inputs=2, **kind),
                Case(f"{name}-{by}-two-inputs-sdpa", inputs=2, attention="sdpa", **kind),
                Case(f"{name}-{by}-ids-only", inputs=1, **kind),
                Case(f"{name}-{by}-ids-only-sdpa", inputs=1, attention="sdpa", **kind),
                Case(f"{name}-{by}-int32", dtype=torch.int32, **kind),
                Case(f"{name}-{by}-static", dynamic=False, **kind),
                Case(f"{name}-{by}-static-sdpa", dynamic=False, attention="sdpa", **kind),
                Case(f"{name}-{by}-half-model", half=True, **kind),
                Case(f"{name}-{by}-half-model-sdpa", half=True, attention="sdpa", **kind),
                Case(f"{name}-{by}-half-converted", rounded=True, after=half(), **kind),
                Case(f"{name}-{by}-half-kept-io", rounded=True, after=half(keep_io_types=True), **kind),
                Case(f"{name}-{by}-external", after=external, **kind),
                Case(f"{name}-{by}-slim", after=slim, **kind),
                Case(f"{name}-{by}-session-basic", after=session("ORT_ENABLE_BASIC"), **kind),
                Case(f"{name}-{by}-session-extended", after=session("ORT_ENABLE_EXTENDED"), **kind),
                Case(f"{name}-{by}-fused", after=fused(family), **kind),
                Case(f"{name}-{by}-fused-level2", after=fused(family, opt_level=2), **kind),
                Case(f"{name}-{by}-fused-sdpa", attention="sdpa", after=fused(family), **kind),
                Case(f"{name}-{by}-fused-half", rounded=True, after=fused(family, fp16=True), **kind),
                Case(f"{name}-{by}-dynamic-u8", int8=True, after=dynamic(weight_type=u8), **kind),
                Case(f"{name}-{by}-dynamic-s8", int8=True, after=dynamic(weight_type=s8), **kind),
                Case(f"{name}-{by}-dynamic-s8-per-channel", int8=True,
                     after=dynamic(weight_type=s8, per_channel=True, reduce_range=True), **kind),
                Case(f"{name}-{by}-dynamic-all", int8=True,
                     after=dynamic(weight_type=s8, extra_options={"MatMulConstBOnly": False}), **kind),
                Case(f"{name}-{by}-fused-dynamic", int8=True,
                     after=then(fused(family), dynamic(weight_type=s8)), **kind),
                Case(f"{name}-{by}-qdq-u8u8", int8=True, after=static(qdq, activation_type=u8, weight_type=u8), **kind),
                Case(f"{name}-{by}-qdq-u8s8-prepared", int8=True,
                     after=static(qdq, True, activation_type=u8, weight_type=s8), **kind),
                Case(f"{name}-{by}-qdq-s8s8-per-channel", int8=True,
                     after=static(qdq, per_channel=True, activation_type=s8, weight_type=s8), **kind),
                Case(f"{name}-{by}-qoperator-u8s8", int8=True,
                     after=static(qoperator, activation_type=u8, weight_type=s8), **kind),
                Case(f"{name}-{by}-qoperator-u8u8-per-channel", int8=True,
                     after=static(qoperator, per_channel=True, activation_type=u8, weight_type=u8), **kind),
                Case(f"{name}-{by}-four-bits", int8=True, after=four_bits, **kind),
            ]
        found += [
            Case(f"{name}-script-unfolded", options=(("do_constant_folding", False),), opset=14, **model),
            Case(f"{name}-script-initializers-as-inputs", options=(("keep_initializers_as_inputs", True),), opset=14,
                 **model),
            Case(f"{name}-dynamo-unoptimised", dynamo=True, opset=18, options=(("optimize", False),), **model),
            Case(f"{name}-dynamo-own-external", dynamo=True, opset=18, options=(("external_data", True),), **model),
            Case(f"{name}-dynamo-sdpa-two-inputs-23", inputs=2, dynamo=True, opset=23, attention="sdpa", **model),
        ]
    for family in OTHERS:
        model = dict(family=family, head="encoder", inputs=3 if family == "decoder" else 2)
        found += [
            Case(f"{family}-encoder-script", opset=14, **model),
            Case(f"{family}-encoder-script-sdpa", opset=14, attention="sdpa" if family != "mpnet" else "eager", **model),
            Case(f"{family}-encoder-dynamo", dynamo=True, opset=18, **model),
            Case(f"{family}-encoder-dynamo-static", dynamo=True, opset=18, dynamic=False, **model),
        ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="the golden folder; files go to its folder onnx")
    parser.add_argument("--matrix", type=Path, help="a folder for all files")
    parser.add_argument("--only", default="", help="makes only the files whose name contains this")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = cases()
    assert len({case.name for case in found}) == len(found)
    for case in found:
        if arguments.only not in case.name:
            continue
        if arguments.matrix:
            try:
                write(arguments.matrix, case)
            except Exception as error:  # noqa: BLE001 - an exporter that cannot do it leaves no file
                shutil.rmtree(arguments.matrix / case.name, ignore_errors=True)
                print(f"{case.name}: NOT MADE: {type(error).__name__}: {str(error)[:300]}", flush=True)
        if arguments.out and case.name in COMMITTED:
            write(arguments.out / "onnx", case, anonymous=True)


if __name__ == "__main__":
    main()
