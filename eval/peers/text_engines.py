"""The engines that texts.py measures: each is opened with a folder that `prepare` wrote, and takes a list of texts."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH = 32
#: The texts whose vectors are compared with those of PyTorch.
REFERENCE = 100

#: Returns labels or rows of numbers for a list of texts.
Run = Callable[[list[str]], Any]
Opened = Callable[[], Run]


def engines(task: str, work: Path, threads: int) -> dict[str, Opened]:
    """Returns what opens each engine for `labels` or `vectors`, by its name in the table."""
    onnx = {bits: work / f"{task}-onnx-{bits}" for bits in ("f32", "int8")}
    found: dict[str, Opened] = {
        f"mobilebert {bits}": lambda bits=bits: OURS[task](work / f"{task}-{bits}", threads) for bits in ("int8", "f32")
    }
    if task == "labels":
        found |= {
            "transformers f32, batch 32": lambda: transformers(work / "labels-f32", threads, BATCH),
            "transformers f32, batch 1": lambda: transformers(work / "labels-f32", threads, 1),
            "ONNX Runtime int8, batch 32": lambda: onnxruntime(onnx["int8"], threads, BATCH),
            "ONNX Runtime int8, batch 1": lambda: onnxruntime(onnx["int8"], threads, 1),
            "optimum int8, batch 32": lambda: optimum_labels(onnx["int8"], threads, BATCH),
        }
    else:
        found |= {
            "sentence-transformers f32, batch 32": lambda: sentence_transformers(work / "source", threads, BATCH),
            "fastembed f32, batch 32": lambda: fastembed(onnx["f32"], threads, BATCH),
            "fastembed int8, batch 32": lambda: fastembed(onnx["int8"], threads, BATCH),
            "optimum int8, batch 32": lambda: optimum_vectors(onnx["int8"], threads, BATCH),
        }
    return found


def our_labels(folder: Path, threads: int) -> Run:
    import mobilebert

    pipeline = mobilebert.TextClassification(folder, threads=threads)
    return lambda texts: [found.label for found in pipeline.classify(texts)]


def our_vectors(folder: Path, threads: int) -> Run:
    import mobilebert

    return mobilebert.Embedder(folder, threads=threads).encode


OURS = {"labels": our_labels, "vectors": our_vectors}


def transformers(folder: Path, threads: int, batch: int) -> Run:
    import torch
    import transformers as library

    torch.set_num_threads(threads)
    library.logging.set_verbosity_error()
    model = library.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    tokenizer = library.AutoTokenizer.from_pretrained(folder)
    pipeline = library.pipeline("text-classification", model=model, tokenizer=tokenizer)
    return lambda texts: [found["label"] for found in pipeline(texts, batch_size=batch)]


def onnxruntime(folder: Path, threads: int, batch: int) -> Run:
    """Does what optimum's pipeline does, without its layers: tokenizer, session, largest logit."""
    import numpy
    import onnxruntime as library
    import transformers

    session = library.InferenceSession(
        folder / "model.onnx", session_options(threads), providers=["CPUExecutionProvider"]
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    labels = json.loads((folder / "config.json").read_text())["id2label"]
    names = [item.name for item in session.get_inputs()]

    def run(texts: list[str]) -> list[str]:
        found = []
        for first in range(0, len(texts), batch):
            part = texts[first : first + batch]
            encoded = tokenizer(part, padding=True, truncation=True, return_tensors="np")
            (logits,) = session.run(None, {name: encoded[name].astype(numpy.int64) for name in names})
            found += [labels[str(best)] for best in logits.argmax(-1)]
        return found

    return run


def session_options(threads: int) -> Any:
    import onnxruntime as library

    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return options


def optimum_labels(folder: Path, threads: int, batch: int) -> Run:
    """The drop-in that optimum documents: its model in transformers' pipeline."""
    import torch
    import transformers as library
    from optimum.onnxruntime import ORTModelForSequenceClassification

    torch.set_num_threads(threads)
    model = ORTModelForSequenceClassification.from_pretrained(folder, session_options=session_options(threads))
    tokenizer = library.AutoTokenizer.from_pretrained(folder)
    pipeline = library.pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    return lambda texts: [found["label"] for found in pipeline(texts, batch_size=batch)]


def optimum_vectors(folder: Path, threads: int, batch: int) -> Run:
    """The model alone; the mean over the tokens and the length are its user's, as its documentation shows."""
    import numpy
    import torch
    import transformers as library
    from optimum.onnxruntime import ORTModelForFeatureExtraction

    torch.set_num_threads(threads)
    model = ORTModelForFeatureExtraction.from_pretrained(folder, session_options=session_options(threads))
    tokenizer = library.AutoTokenizer.from_pretrained(folder)

    def run(texts: list[str]) -> Any:
        found = []
        for first in range(0, len(texts), batch):
            part = texts[first : first + batch]
            encoded = tokenizer(part, padding=True, truncation=True, max_length=256, return_tensors="np")
            states, mask = model(**encoded).last_hidden_state, encoded["attention_mask"][..., None]
            means = (states * mask).sum(1) / mask.sum(1)
            found.append(means / numpy.linalg.norm(means, axis=1, keepdims=True))
        return numpy.concatenate(found)

    return run


def sentence_transformers(folder: Path, threads: int, batch: int) -> Run:
    import sentence_transformers as library
    import torch

    torch.set_num_threads(threads)
    model = library.SentenceTransformer(str(folder), device="cpu")
    return lambda texts: model.encode(texts, batch_size=batch, show_progress_bar=False)


def fastembed(folder: Path, threads: int, batch: int) -> Run:
    """Its own models come from a hub; a local folder takes the same way as a model that its user adds."""
    import numpy
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    name = f"local/{folder.name}"
    TextEmbedding.add_custom_model(
        model=name,
        pooling=PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf=name),
        dim=384,
        model_file="model.onnx",
    )
    model = TextEmbedding(
        name, specific_model_path=str(folder), threads=threads, providers=["CPUExecutionProvider"]
    )
    return lambda texts: numpy.stack(list(model.embed(texts, batch_size=batch)))


def prepare(task: str, work: Path, model: Path) -> None:
    """Writes the model in the forms that the engines read, those that are not there yet."""
    import mobilebert

    work.mkdir(parents=True, exist_ok=True)
    floats, int8 = work / f"{task}-f32", work / f"{task}-int8"
    if not floats.exists():
        mobilebert.convert(model, floats)
    if not int8.exists():
        mobilebert.quantize(floats, int8)
    if task == "vectors" and not (work / "source").exists():
        shutil.copytree(model, work / "source")
    done = work / f"{task}-onnx-int8" / "model.onnx"
    if done.exists():
        return
    from onnxruntime.quantization import QuantType, quantize_dynamic

    export(task, work)
    quantize_dynamic(
        work / f"{task}-onnx-f32" / "model.onnx", done, per_channel=True, weight_type=QuantType.QInt8
    )


def export(task: str, work: Path) -> None:
    """Writes the ONNX graph of a model in f32, and its tokenizer beside it and beside the coming int8 form."""
    import torch
    import transformers as library

    folder = work / ("source" if task == "vectors" else "labels-f32")
    kind = library.AutoModel if task == "vectors" else library.AutoModelForSequenceClassification
    network = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    if task == "vectors":
        network.pooler = None
    tokenizer = library.AutoTokenizer.from_pretrained(folder)
    for out in (work / f"{task}-onnx-f32", work / f"{task}-onnx-int8"):
        out.mkdir(exist_ok=True)
        tokenizer.save_pretrained(out)
        network.config.save_pretrained(out)
        # What fastembed reads too, which newer tokenizers do not write.
        if (folder / "special_tokens_map.json").exists():
            shutil.copy(folder / "special_tokens_map.json", out)
    names = ["input_ids", "attention_mask", "token_type_ids"]

    class FirstResult(torch.nn.Module):
        """The network with these inputs and one result, which is all that the graph shall have."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *given: torch.Tensor) -> torch.Tensor:
            return self.network(**dict(zip(names, given, strict=True)), return_dict=False)[0]

    encoded = tokenizer(["an example", "and a longer one"], padding=True, return_tensors="pt")
    result = "last_hidden_state" if task == "vectors" else "logits"
    axes = {name: {0: "batch", 1: "tokens"} for name in (*names, "last_hidden_state")} | {"logits": {0: "batch"}}
    torch.onnx.export(
        FirstResult(),
        tuple(encoded[name] for name in names),
        str(work / f"{task}-onnx-f32" / "model.onnx"),
        input_names=names,
        output_names=[result],
        dynamic_axes={name: axes[name] for name in (*names, result)},
        opset_version=17,
        dynamo=False,
    )
