"""Servers side by side, by turns, on one machine, with the same weights, texts and times of arrival.

    run.py WORK --data dev.tsv --ours mobilebert-serve --eval mobilebert-eval [--infinity PROGRAM]
    run.py WORK --task answers --data dev-v1.1.json --ours mobilebert-serve --eval mobilebert-eval

WORK is the folder of texts.py: a text classifier in the forms `labels-int8`, `labels-f32` and
`labels-onnx-int8`; or, for answers, of answers.py: `answers-int8` and `answers-onnx-int8`. The data are SST-2's
or SQuAD's. For each server the program finds the highest rate of single requests at which 99 % are answered
within --p99-ms, counted from when they were due, and measures at half, 80 % and twice that rate. The figures of
a server are those of the round with the highest rate, because other work on the machine only ever takes away;
time to ready and peak memory are the least and the most of all rounds.
"""

import argparse
import csv
import datetime
import json
import os
import platform
import re
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

from servers import Kind, Server, kinds

#: Requests whose results are compared with the data before a server is measured.
CHECKED = 200
#: Points by which a server's share of right results may be below the best one's.
APART = 3.0
#: The data's name for mobilebert-eval, and the time within which 99 % are to be answered.
TASKS = {"labels": ("sst2", 50.0), "answers": ("squad", 250.0)}

#: The generator goes ahead of all other programs, where the system allows it: beside a server whose passes keep all
#: processors busy it would send late, as one on a machine of its own does not.
AHEAD = ["chrt", "-f", "1"]

#: The texts of a request, and the results that are right.
Example = tuple[dict[str, str], list[str]]


def read(task: str, data: Path) -> list[Example]:
    """Returns the first examples of the data."""
    if task == "labels":
        with data.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[:CHECKED]
        names = {"0": ["negative", "label_0", "0", "neg"], "1": ["positive", "label_1", "1", "pos"]}
        return [({"text": row["sentence"]}, names[row["label"]]) for row in rows]
    articles = json.loads(data.read_text(encoding="utf-8"))["data"]
    return [
        (
            {"question": question["question"], "context": paragraph["context"]},
            [plain(answer["text"]) for answer in question["answers"]],
        )
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ][:CHECKED]


def plain(text: str) -> str:
    """Leaves away what SQuAD's exact match does not look at."""
    text = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def is_right(task: str, found: str, right: list[str]) -> bool:
    return (found.lower() if task == "labels" else plain(found)) in right


def measure(kind: Kind, args: argparse.Namespace, examples: list[Example]) -> dict[str, Any]:
    with Server(kind, args.threads) as server:
        right = sum(is_right(args.task, server.ask(texts), gold) for texts, gold in examples)
        command = [
            *AHEAD,
            *(args.eval, "latency", "--url", server.url),
            *("--task", TASKS[args.task][0], "--data", args.data, "--body", kind.body),
            *("--p99-ms", str(args.p99_ms), "--duration", str(args.duration)),
            *("--connections", str(args.connections)),
            *("--server-pid", str(server.process.pid), "--json"),
        ]
        run = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
        if run.returncode != 0:
            sys.exit(f"{kind.name}: {run.stderr[-2000:]}")
        found = json.loads(run.stdout)
        return {"name": kind.name, "ready_s": server.ready_s, "right": 100 * right / len(examples), **found}


def cell(found: dict[str, Any], run: str, key: str, form: str = ".1f") -> str:
    rows = [row for row in found["runs"] if row["name"] == run]
    return format(rows[-1][key], form) if rows and rows[-1].get(key) is not None else "-"


def table(rounds: dict[str, list[dict[str, Any]]], p99_ms: float) -> str:
    lines = [
        f"| server | highest rate, p99 <= {p99_ms:g} ms | p50 / p99 at half, ms | p99 at 80 %, ms | "
        "at twice: answered/s, refused | alone, p50 ms | peak MB | ready, s | right |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, all_rounds in rounds.items():
        # A round without a headline was disturbed.
        best = max(all_rounds, key=lambda found: (bool(found["headline"]), found.get("highest_qps") or 0.0))
        rate = best.get("highest_qps")
        twice = [row for row in best["runs"] if row["name"] == "twice"]
        over = f"{twice[-1]['answered_per_second']:.0f}, {twice[-1]['refused']}" if twice else "-"
        peak = max(found.get("server_peak_mb") or 0.0 for found in all_rounds)
        ready = min(found["ready_s"] for found in all_rounds)
        quoted = f"{rate:.0f}" if rate else "-"
        note = "" if best.get("headline") else f" ({best.get('refused')})"
        lines.append(
            f"| {name} | {quoted}{note} | {cell(best, 'half', 'p50_ms')} / {cell(best, 'half', 'p99_ms')} | "
            f"{cell(best, '80 %', 'p99_ms')} | {over} | {cell(best, 'alone', 'p50_ms')} | {peak:.0f} | "
            f"{ready:.2f} | {best['right']:.1f} % |"
        )
    return "\n".join(lines) + "\n"


def may_go_ahead() -> bool:
    try:
        return subprocess.run([*AHEAD, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--task", choices=TASKS, default="labels")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--ours", type=Path, required=True, help="the program mobilebert-serve")
    parser.add_argument("--eval", type=Path, required=True, help="the program mobilebert-eval")
    parser.add_argument("--infinity", help="the program infinity_emb")
    parser.add_argument("--p99-ms", type=float, help="50 for labels, 250 for answers")
    parser.add_argument("--duration", type=float, default=10.0, help="seconds of each run, at least")
    parser.add_argument("--connections", type=int, default=128)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", default="", help="only servers with this in their name")
    parser.add_argument("--out", type=Path, help="a name without its ending, for OUT.md and OUT.json")
    args = parser.parse_args()
    args.p99_ms = args.p99_ms or TASKS[args.task][1]
    if not may_go_ahead():
        AHEAD.clear()
    examples = read(args.task, args.data)
    servers = [
        kind
        for kind in kinds(args.task, args.ours, args.work, sys.executable, args.infinity, args.threads)
        if args.only in kind.name
    ]
    rounds: dict[str, list[dict[str, Any]]] = {kind.name: [] for kind in servers}
    for number in range(args.rounds):
        for kind in servers if number % 2 == 0 else reversed(servers):
            found = measure(kind, args, examples)
            rounds[kind.name].append(found)
            print(
                f"round {number + 1}, {kind.name}: {found['headline'] or found['refused']}", file=sys.stderr
            )
    best = max(found["right"] for all_rounds in rounds.values() for found in all_rounds)
    for name, all_rounds in rounds.items():
        if all_rounds[0]["right"] < best - APART:
            sys.exit(f"{name} has {all_rounds[0]['right']:.1f} % right results, the best server {best:.1f} %")
    text = table(rounds, args.p99_ms)
    print(text)
    if args.out:
        machine = next(iter(rounds.values()))[0]
        about = (
            f"{machine['cpu']}, {machine['processors']} processors, {platform.system()}, "
            f"{datetime.date.today():%Y-%m-%d}; {args.rounds} rounds by turns, runs of {args.duration:g} s, "
            f"{args.connections} connections, {args.threads} threads, "
            f"{'the generator ahead of the servers' if AHEAD else 'the generator beside the servers'}.\n"
        )
        args.out.with_suffix(".md").write_text(f"# Servers side by side\n\n{about}\n{text}", encoding="utf-8")
        args.out.with_suffix(".json").write_text(json.dumps(rounds, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
