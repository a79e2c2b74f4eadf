"""Measures ours and the peers by turns and writes results/DATE-CPU.json and .md."""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import report
from layout import MODELS, SEQ_LENS, model_file
from report import Config

HERE = Path(__file__).parent
PEERS = ("litert", "openvino", "onnxruntime")
FEATURES = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm", "sve")
TIME_LIMIT_S = 120
# `mobilebert bench` counts in milliseconds throughout.
OURS_IN_SECONDS = {"load_ms": "load_s"}
FIGURES = ("p50_ms", "min_ms", "mean_ms", "p90_ms", "load_s", "first_inference_ms", "peak_rss_mb")


def groups() -> dict[str, list[Config]]:
    """What takes turns with each other, by "TOKENSxTHREADS". Peers with fixed shapes have no 16 tokens."""
    plan = {}
    for threads in (1, 2):
        plan[f"16x{threads}"] = [Config("ours", "mobilebert", "int8", 16, threads)]
        for seq_len in (128, 384):
            plan[f"{seq_len}x{threads}"] = [
                Config(engine, "mobilebert", precision, seq_len, threads)
                for precision in ("int8", "f32")
                for engine in ("ours", *PEERS)
            ]
    for engine, precision in (("ours", "int8"), ("litert", "int8"), ("litert", "f32")):
        plan["128x2"].append(Config(engine, "bert-base", precision, 128, 2))
    return plan


def command(config: Config, ours: str, seconds: float, without_amx: bool) -> list[str]:
    prefix = [sys.executable, str(HERE / "without_amx.py")] if without_amx else []
    options = [f"--precision={config.precision}", f"--seq-len={config.seq_len}", f"--threads={config.threads}"]
    if config.engine == "ours":
        folder = model_file(config.model, "ours", config.precision, config.seq_len)
        return [*prefix, ours, "bench", f"--model={folder}", *options, "--json"]
    script = str(HERE / "measure.py")
    return [*prefix, sys.executable, script, config.engine, f"--model={config.model}", *options, f"--seconds={seconds}"]


def quantize(ours: str) -> None:
    """Our int8 folders, written anew by the version that is measured."""
    for model in MODELS:
        source, target = (model_file(model, "ours", precision, SEQ_LENS[0]) for precision in ("f32", "int8"))
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run([ours, "quantize", source, target, "--quiet"], check=True, stdout=subprocess.DEVNULL)


def busy_s() -> float:
    """CPU seconds that the whole machine has spent."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def children_s() -> float:
    times = os.times()
    return times.children_user + times.children_system


def measure(arguments: list[str]) -> dict:
    """One process. `others_cpus`: how many CPUs anybody else kept busy meanwhile."""
    busy, own, start = busy_s(), children_s(), time.perf_counter()
    try:
        process = subprocess.run(arguments, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False)
        result = json.loads(process.stdout[process.stdout.index("{") :])
    except subprocess.TimeoutExpired:
        return {"error": f"took over {TIME_LIMIT_S} s"}
    except ValueError:
        return {"error": (process.stderr.strip().splitlines() or [f"exit status {process.returncode}"])[-1]}
    if "model" in result:
        result["model"] = Path(result["model"]).parent.name
    for milliseconds, name in OURS_IN_SECONDS.items():
        if milliseconds in result:
            result[name] = result.pop(milliseconds) / 1e3
    missing = [name for name in FIGURES if name not in result]
    if missing:
        return {"error": f"no {', '.join(missing)} in the answer"}
    wall = time.perf_counter() - start
    others = (busy_s() - busy - (children_s() - own)) / wall
    return result | {"others_cpus": round(max(0.0, others), 2), "wall_s": round(wall, 1)}


def summary(rounds: list[dict]) -> dict:
    """Medians over the rounds; what never changes (version, kernel) from the last one."""
    good = [result for result in rounds if "error" not in result]
    if not good:
        return rounds[-1] | {"rounds": rounds}
    medians = {name: statistics.median(result[name] for result in good) for name in FIGURES}
    others = max(result["others_cpus"] for result in good)
    return good[-1] | medians | {"others_cpus": others, "rounds": rounds}


def machine(without_amx: bool) -> dict:
    fields = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    return {
        "cpu": fields.get("model name", os.uname().machine),
        "cores": len(os.sched_getaffinity(0)),
        "features": [
            feature for feature in FEATURES if feature in flags and not (without_amx and feature.startswith("amx"))
        ],
    }


def slug(cpu: str) -> str:
    """`AMD EPYC 9654 96-Core Processor` -> `amd-epyc-9654-96-core`."""
    return re.sub(r"\W+", "-", re.sub(r"\(\w+\)|CPU|Processor|@.*", "", cpu)).strip("-").lower()


def output(*arguments: str) -> str:
    return subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=HERE).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ours", required=True, help="the mobilebert binary, or `none`")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a peer repeats its timed run")
    parser.add_argument("--without-amx", action="store_true", help="as on an x86 CPU that has no AMX")
    parser.add_argument("--only", nargs="*", choices=groups(), help="TOKENSxTHREADS")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()

    ours = args.ours if args.ours == "none" else str(Path(args.ours).resolve())
    record = {
        "date": date.today().isoformat(),
        "machine": machine(args.without_amx),
        "without_amx": args.without_amx,
        "rounds": args.rounds,
        "seconds": args.seconds,
    }
    if ours != "none":
        quantize(ours)
        record["ours"] = {
            "version": output(ours, "--version").split()[-1],
            "commit": output("git", "describe", "--always", "--dirty"),
        }
    target = args.out / f"{record['date']}-{slug(record['machine']['cpu'])}{'-no-amx' * args.without_amx}.json"
    args.out.mkdir(parents=True, exist_ok=True)
    results = {}
    for name, configs in groups().items():
        if args.only and name not in args.only:
            continue
        configs = [config for config in configs if ours != "none" or config.engine != "ours"]
        rounds = {config: [] for config in configs}
        for number in range(args.rounds):
            # Forwards and backwards: drift and what the neighbour left in the caches hit all alike.
            for config in configs[:: -1 if number % 2 else 1]:
                result = measure(command(config, ours, args.seconds, args.without_amx))
                rounds[config].append(result)
                outcome = result.get("error") or f"{result['p50_ms']:.2f} ms, others {result['others_cpus']} CPUs"
                print(f"round {number + 1}: {config}: {outcome}", file=sys.stderr, flush=True)
        results |= {str(config): summary(rounds[config]) for config in configs}
        target.write_text(json.dumps(record | {"results": results}, indent=1) + "\n")
    table = report.markdown(json.loads(target.read_text()))
    target.with_suffix(".md").write_text(table)
    print(table)


if __name__ == "__main__":
    main()
