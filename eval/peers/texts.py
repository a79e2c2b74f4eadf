"""From texts to labels in Python, side by side: this engine's package, transformers and ONNX Runtime.

    texts.py WORK --model FOLDER --data dev.tsv [--threads 2] [--rounds 3]

`FOLDER` is a text classifier in f32 or f16, `dev.tsv` has a column `sentence` and a column `label`. All engines
run the same weights. Every measurement is a process of its own; they take turns for some rounds, and the figure of
an engine is its best round, because other work on the machine only ever adds time. "CPU ms" is the processor time
of the process for a text of the list; unlike texts/s it says something on a busy machine, if `--threads` is 1.
"""

import argparse
import csv
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH = 32
SINGLE_RUNS = 50

#: Labels for a list of texts.
Run = Callable[[list[str]], list[str]]


def ours(folder: Path, threads: int) -> Run:
    import mobilebert

    pipeline = mobilebert.TextClassification(folder, threads=threads)

    def run(texts: list[str]) -> list[str]:
        return [found.label for found in pipeline.classify(texts)]

    return run


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

    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = library.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
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


def engines(work: Path, threads: int) -> dict[str, Callable[[], Run]]:
    return {
        "mobilebert int8": lambda: ours(work / "int8", threads),
        "mobilebert f32": lambda: ours(work / "f32", threads),
        f"transformers f32, batch {BATCH}": lambda: transformers(work / "f32", threads, BATCH),
        "transformers f32, batch 1": lambda: transformers(work / "f32", threads, 1),
        f"ONNX Runtime int8, batch {BATCH}": lambda: onnxruntime(work / "onnx", threads, BATCH),
        "ONNX Runtime int8, batch 1": lambda: onnxruntime(work / "onnx", threads, 1),
    }


def prepare(work: Path, model: Path) -> None:
    """Writes the model in the forms that the engines read."""
    import mobilebert

    work.mkdir(parents=True, exist_ok=True)
    if not (work / "f32").exists():
        mobilebert.convert(model, work / "f32")
    if not (work / "int8").exists():
        mobilebert.quantize(model, work / "int8")
    if (work / "onnx" / "model.onnx").exists():
        return
    import torch
    import transformers as library
    from onnxruntime.quantization import QuantType, quantize_dynamic

    (work / "onnx").mkdir(exist_ok=True)
    network = library.AutoModelForSequenceClassification.from_pretrained(
        work / "f32", dtype=torch.float32, attn_implementation="eager"
    ).eval()
    tokenizer = library.AutoTokenizer.from_pretrained(work / "f32")
    tokenizer.save_pretrained(work / "onnx")
    network.config.save_pretrained(work / "onnx")
    encoded = tokenizer(["an example", "and a longer one"], padding=True, return_tensors="pt")
    names = ["input_ids", "attention_mask", "token_type_ids"]
    axes = {name: {0: "batch", 1: "tokens"} for name in names} | {"logits": {0: "batch"}}
    network.config.return_dict = False
    torch.onnx.export(
        network,
        tuple(encoded[name] for name in names),
        str(work / "f32.onnx"),
        input_names=names,
        output_names=["logits"],
        dynamic_axes=axes,
        opset_version=17,
        dynamo=False,
    )
    quantize_dynamic(
        work / "f32.onnx", work / "onnx" / "model.onnx", per_channel=True, weight_type=QuantType.QInt8
    )


def read(data: Path) -> tuple[list[str], list[str]]:
    with data.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [row["sentence"] for row in rows], [row["label"] for row in rows]


def measure(name: str, work: Path, data: Path, threads: int) -> dict[str, Any]:
    texts, gold = read(data)
    start = time.perf_counter()
    run = engines(work, threads)[name]()
    load = time.perf_counter() - start
    run(texts[:BATCH])
    start, processor = time.perf_counter(), time.process_time()
    found = run(texts)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    singles = []
    for text in texts[:SINGLE_RUNS]:
        start = time.perf_counter()
        run([text])
        singles.append(time.perf_counter() - start)
    labels = json.loads((work / "f32" / "config.json").read_text())["id2label"]
    right = sum(label == labels[number] for label, number in zip(found, gold, strict=True))
    return {
        "texts_per_s": len(texts) / seconds,
        "cpu_ms": processor / len(texts) * 1e3,
        "single_ms": sorted(singles)[len(singles) // 2] * 1e3,
        "load_s": load,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "accuracy": 100 * right / len(texts),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", help="measure one engine in this process")
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.work, args.data, args.threads)))
        return
    prepare(args.work, args.model)
    rounds: dict[str, list[dict[str, Any]]] = {}
    for _ in range(args.rounds):
        for name in engines(args.work, args.threads):
            command = [sys.executable, __file__, *sys.argv[1:], "--measure", name]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            if run.returncode != 0:
                sys.exit(f"{name}: {run.stderr[-2000:]}")
            rounds.setdefault(name, []).append(json.loads(run.stdout.splitlines()[-1]))
    print(f"| {args.threads} threads | texts/s | CPU ms | one text, ms | ready, s | peak MB | accuracy |")
    print("|---|---|---|---|---|---|---|")
    for name, found in rounds.items():
        rate = max(one["texts_per_s"] for one in found)
        keys = ("cpu_ms", "single_ms", "load_s", "peak_rss_mb")
        cpu, single, load, peak = (min(one[key] for one in found) for key in keys)
        accuracy = found[0]["accuracy"]
        speed = f"{rate:.0f} | {cpu:.2f} | {single:.2f} | {load:.2f}"
        print(f"| {name} | {speed} | {peak:.0f} | {accuracy:.2f} |")


if __name__ == "__main__":
    main()
