#!/usr/bin/env python3
"""Counts the instructions of a few commands and compares them with the recorded ones.

A count repeats to a tenth of a percent on a busy machine, where times do not. It says nothing about caches
and memory, so it stands beside the benchmarks and does not replace them. Valgrind has no AVX-512, therefore
the kernels are those of AVX2, on one thread.

    cargo build --release --locked
    benches/instructions.py            # fails if a case grew by more than 3 %
    benches/instructions.py --write    # records the counts of this build
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "benches" / "instructions.tsv"
LIMIT = 0.03
SENTENCE = "The service was slow, but the soup made up for it."
LONG = " ".join([SENTENCE] * 10)
CASES = {
    "start": ["--version"],
    "open a tokenizer": ["tokenize", "--model", "sentiment", "soup"],
    "label a sentence": ["classify", "--model", "sentiment", SENTENCE],
    "label 20 sentences": ["classify", "--model", "sentiment", "--input", "-", "--format", "txt"],
    "label 120 tokens": ["classify", "--model", "sentiment", LONG],
    "label 120 tokens in f32": ["classify", "--model", "sentiment", "--precision", "f32", LONG],
    "answer in 15 tokens": ["answer", "--question", "Who built it?", "--context", "It was built by Ada."],
    "answer in 370 tokens": ["answer", "--question", "What was slow?", "--context", " ".join([LONG] * 3)],
}


def count(command: Path, arguments: list[str]) -> int:
    """Runs a command under valgrind and returns the number of its instructions."""
    threads = [] if arguments == ["--version"] or arguments[0] == "tokenize" else ["--threads", "1"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MOBILEBERT_")}
    run = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", command, *arguments, *threads],
        cwd=ROOT,
        env=environment | {"MOBILEBERT_KERNELS": "avx2"},
        input=f"{SENTENCE}\n" * 20,
        capture_output=True,
        text=True,
    )
    found = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode != 0 or not found:
        what = f"`{command.name} {arguments[0]}` under valgrind"
        sys.exit(f"{what} ended with {run.returncode}:\n{run.stderr}")
    return int(found[1])


def recorded() -> dict[str, int]:
    if not TABLE.exists():
        sys.exit(f"{TABLE} does not exist: record it with --write")
    lines = TABLE.read_text().splitlines()[1:]
    return {case: int(n) for case, n in (line.split("\t") for line in lines)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", type=Path, default=ROOT / "target" / "release" / "mobilebert")
    parser.add_argument("--write", action="store_true", help="record the counts of this build")
    options = parser.parse_args()
    if not options.command.exists():
        sys.exit(f"{options.command} does not exist: run `cargo build --release --locked` first")
    before = {} if options.write else recorded()
    counts, grown = {}, []
    for case, arguments in CASES.items():
        counts[case] = now = count(options.command.resolve(), arguments)
        line = f"{case:26} {now:14,}"
        if case in before:
            change = now / before[case] - 1
            line += f" {100 * change:+6.1f} %"
            if change > LIMIT:
                grown.append(case)
        print(line, flush=True)
    if options.write:
        rows = [f"{case}\t{n}" for case, n in counts.items()]
        TABLE.write_text("\n".join(["case\tinstructions", *rows]) + "\n")
    if grown:
        sys.exit(f"more than {LIMIT:.0%} above {TABLE.name}: {', '.join(grown)}")


if __name__ == "__main__":
    main()
