"""The tables of a results file: every engine's figures, and ours against the targets."""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

NOISY_OTHERS_CPUS = 0.2
NOISY_SPREAD = 1.25
NAMES = {"ours": "mobilebert (ours)", "litert": "LiteRT", "openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"}
MODEL_NAMES = {"mobilebert": "MobileBERT", "bert-base": "BERT-base"}


class Config(NamedTuple):
    engine: str
    model: str
    precision: str
    seq_len: int
    threads: int

    def __str__(self) -> str:
        return f"{self.engine} {self.model} {self.precision} {self.seq_len}x{self.threads}"

    @classmethod
    def parse(cls, text: str) -> "Config":
        engine, model, precision, shape = text.split()
        seq_len, threads = map(int, shape.split("x"))
        return cls(engine, model, precision, seq_len, threads)


@dataclass(frozen=True)
class Target:
    """Ours has to be at most `limit` times the peer's p50, or at most `limit` where there is no peer."""

    ours: Config
    limit: float
    peer: Config | None = None
    figure: str = "p50_ms"


def beside(peer: str, precision: str, seq_len: int, threads: int, limit: float, model: str = "mobilebert") -> Target:
    """A target against a peer that runs the very same."""
    ours = Config("ours", model, precision, seq_len, threads)
    return Target(ours, limit, ours._replace(engine=peer))


def alone(figure: str, seq_len: int, threads: int, limit: float) -> Target:
    return Target(Config("ours", "mobilebert", "int8", seq_len, threads), limit, figure=figure)


TARGETS = (
    beside("litert", "int8", 128, 1, 0.62),
    beside("litert", "int8", 128, 2, 0.62),
    beside("litert", "int8", 384, 1, 0.55),
    beside("litert", "int8", 384, 2, 0.55),
    beside("openvino", "int8", 384, 1, 0.75),
    beside("openvino", "int8", 384, 2, 0.62),
    beside("litert", "f32", 128, 1, 1.0),
    beside("litert", "f32", 128, 2, 0.92),
    beside("litert", "f32", 384, 1, 1.0),
    beside("litert", "f32", 384, 2, 0.92),
    Target(
        Config("ours", "mobilebert", "int8", 128, 2),
        1 / 16,
        Config("litert", "bert-base", "f32", 128, 2),
    ),
    beside("litert", "int8", 128, 2, 0.8, model="bert-base"),
    alone("p50_ms", 16, 1, 3.0),
    alone("p50_ms", 16, 2, 1.8),
    alone("peak_rss_mb", 384, 1, 60),
    alone("peak_rss_mb", 384, 2, 60),
    alone("load_ms", 128, 1, 15),
    alone("load_ms", 128, 2, 15),
    alone("load_and_first_inference_ms", 128, 1, 60),
    alone("load_and_first_inference_ms", 128, 2, 60),
)


def figure(result: dict, name: str) -> float:
    if name == "load_ms":
        return result["load_s"] * 1e3
    if name == "load_and_first_inference_ms":
        return result["load_s"] * 1e3 + result["first_inference_ms"]
    return result[name]


def number(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"


def header(cells: list[str]) -> str:
    return row(cells) + "|---" * len(cells) + "|\n"


class Results:
    def __init__(self, record: dict):
        self.all = {Config.parse(text): result for text, result in record["results"].items()}

    def get(self, config: Config) -> dict | None:
        """None if it was not measured or failed."""
        result = self.all.get(config)
        return None if result is None or "error" in result else result

    def ratio(self, ours: Config, peer: Config) -> float | None:
        mine, theirs = self.get(ours), self.get(peer)
        return mine["p50_ms"] / theirs["p50_ms"] if mine and theirs else None

    def ratio_range(self, ours: Config, peer: Config) -> str:
        """Smallest and largest ratio of a single round."""
        pairs = zip(self.all[ours]["rounds"], self.all[peer]["rounds"], strict=True)
        ratios = [a["p50_ms"] / b["p50_ms"] for a, b in pairs if "error" not in a and "error" not in b]
        return f"{min(ratios):.3f}-{max(ratios):.3f}" if ratios else ""

    def time(self, config: Config) -> str:
        """The time, how ours compares, and a star for noise."""
        if config not in self.all:
            return ""
        result = self.get(config)
        if result is None:
            return "failed"
        text = number(result["p50_ms"])
        if result["others_cpus"] > NOISY_OTHERS_CPUS or result["p50_ms"] > NOISY_SPREAD * result["min_ms"]:
            text += "*"
        ratio = self.ratio(config._replace(engine="ours"), config)
        return text if config.engine == "ours" or ratio is None else f"{text} ({ratio:.2f})"

    def figures(self) -> str:
        shapes = sorted({(config.seq_len, config.threads) for config in self.all})
        lines = header(
            [
                "engine",
                *(f"{tokens} tokens, {threads} T" for tokens, threads in shapes),
                "load s",
                "peak MB",
                "rel. error",
            ]
        )
        for engine, model, precision in dict.fromkeys(config[:3] for config in self.all):
            configs = [Config(engine, model, precision, *shape) for shape in shapes]
            good = [result for result in map(self.get, configs) if result]
            errors = [result["rel_error"] for result in good if "rel_error" in result]
            lines += row(
                [
                    f"{NAMES[engine]} {precision}, {MODEL_NAMES[model]}",
                    *map(self.time, configs),
                    spread([result["load_s"] for result in good]),
                    spread([result["peak_rss_mb"] for result in good]),
                    f"{max(errors):.0e}" if errors else "",
                ]
            )
        return lines

    def targets(self) -> str:
        lines = header(
            ["ours", "figure", "against", "ours", "theirs", "ours / theirs", "single rounds", "target", "met"]
        )
        for target in TARGETS:
            mine = self.get(target.ours)
            if mine is None:
                continue
            value = figure(mine, target.figure)
            cells = [describe(target.ours), target.figure]
            if target.peer is None:
                cells += ["", number(value), "", "", "", f"<= {target.limit:g}"]
            else:
                theirs = self.get(target.peer)
                if theirs is None:
                    continue
                value /= theirs["p50_ms"]
                cells += [NAMES[target.peer.engine] + " " + describe(target.peer), number(mine["p50_ms"])]
                cells += [number(theirs["p50_ms"]), f"{value:.3f}", self.ratio_range(target.ours, target.peer)]
                cells += [f"<= {target.limit:g}"]
            lines += row([*cells, "yes" if value <= target.limit else "**no**"])
        return lines


def describe(config: Config) -> str:
    return f"{MODEL_NAMES[config.model]} {config.precision}, {config.seq_len} tokens, {config.threads} T"


def spread(values: list[float]) -> str:
    texts = [number(value) for value in (min(values, default=0.0), max(values, default=0.0))]
    return "-".join(dict.fromkeys(texts)) if values else ""


def markdown(record: dict) -> str:
    results = Results(record)
    machine = record["machine"]
    versions = {}
    for config, result in results.all.items():
        if "error" not in result and config.engine != "ours":
            versions[NAMES[config.engine]] = result["version"]
    if "ours" in record:
        kernels = {str(result["kernel"]) for config, result in results.all.items() if "kernel" in result}
        ours = record["ours"]
        versions[NAMES["ours"]] = f"{ours['version']} at {ours['commit']}, kernels {', '.join(sorted(kernels))}"
    text = f"{record['date']}, {machine['cpu']}, {machine['cores']} cores ({', '.join(machine['features'])}"
    text += "; AMX refused to all). " if record["without_amx"] else "). "
    text += ", ".join(f"{name} {version}" for name, version in versions.items()) + ".\n"
    text += f"Milliseconds: median over {record['rounds']} rounds of each round's median; in brackets, ours / theirs.\n"
    text += (
        f"T: threads. *: others kept over {NOISY_OTHERS_CPUS} CPUs busy, or median over {NOISY_SPREAD} x minimum.\n\n"
    )
    text += results.figures()
    if "ours" in record:
        text += "\n" + results.targets()
    failures = [f"{config}: {result['error']}" for config, result in results.all.items() if "error" in result]
    return text + "".join(f"\nFailed: {failure}\n" for failure in failures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    sys.stdout.write(markdown(json.loads(parser.parse_args().results.read_text())))


if __name__ == "__main__":
    main()
