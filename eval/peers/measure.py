"""One measurement of one peer, in a process of its own. Prints one JSON object."""

import argparse
import importlib.metadata
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from layout import MODELS, PRECISIONS, SEQ_LENS, inputs, model_file, reference_file

WARM_UP_RUNS = 5
MIN_RUNS = 10

# A loaded model: the input goes in, both rows of logits come out.
Run = Callable[[], list[np.ndarray]]


def litert(path: Path, seq_len: int, threads: int) -> Callable[[], Run]:
    from ai_edge_litert.interpreter import Interpreter

    data = inputs(seq_len, "int32")

    def load() -> Run:
        interpreter = Interpreter(model_path=str(path), num_threads=threads)
        interpreter.allocate_tensors()
        (name,) = interpreter.get_signature_list()
        signature = interpreter.get_signature_runner(name)
        # Tensor numbers instead of the signature's own call, so that a run is: set, invoke, get.
        feeds = [(detail["index"], data[key]) for key, detail in signature.get_input_details().items()]
        outputs = [detail["index"] for _, detail in sorted(signature.get_output_details().items())]

        def run() -> list[np.ndarray]:
            for index, array in feeds:
                interpreter.set_tensor(index, array)
            interpreter.invoke()
            return [interpreter.get_tensor(index) for index in outputs]

        return run

    return load


def onnxruntime(path: Path, seq_len: int, threads: int) -> Callable[[], Run]:
    import onnxruntime

    data = inputs(seq_len)

    def load() -> Run:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_free_dimension_override_by_name("tokens", seq_len)
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, data)

    return load


def openvino(path: Path, seq_len: int, threads: int) -> Callable[[], Run]:
    import openvino

    data = inputs(seq_len)
    properties = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        # Or else CPUs with bf16 instructions round everything that is not int8 to bf16.
        "INFERENCE_PRECISION_HINT": "f32",
    }

    def load() -> Run:
        core = openvino.Core()
        network = core.read_model(path)
        network.reshape({name: list(array.shape) for name, array in data.items()})
        request = core.compile_model(network, "CPU", properties).create_infer_request()

        def run() -> list[np.ndarray]:
            request.infer(data)
            return [request.get_output_tensor(index).data for index in range(2)]

        return run

    return load


ENGINES = {"litert": litert, "onnxruntime": onnxruntime, "openvino": openvino}
PACKAGES = {"litert": "ai-edge-litert"}


def peak_rss_mb() -> float:
    """The process's high-water mark. `getrusage` would include the parent's at the time of the fork."""
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in status if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def timed(run: Run) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def relative_error(actual: list[np.ndarray], expected: np.ndarray) -> float:
    actual = np.concatenate([row.reshape(1, -1) for row in actual])
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def measure(engine: str, model: str, precision: str, seq_len: int, threads: int, seconds: float) -> dict:
    path = model_file(model, engine, precision, seq_len)
    load = ENGINES[engine](path, seq_len, threads)
    idle_rss_mb = peak_rss_mb()
    start = time.perf_counter()
    run = load()
    load_s = time.perf_counter() - start
    first_ms = timed(run)
    for _ in range(WARM_UP_RUNS):
        run()
    times = []
    start = time.perf_counter()
    while len(times) < MIN_RUNS or time.perf_counter() - start < seconds:
        times.append(timed(run))
    figures = dict(
        p50_ms=np.median(times),
        min_ms=np.min(times),
        mean_ms=np.mean(times),
        p90_ms=np.percentile(times, 90),
        load_s=load_s,
        first_inference_ms=first_ms,
        idle_rss_mb=idle_rss_mb,
        peak_rss_mb=peak_rss_mb(),
        rel_error=relative_error(run(), np.load(reference_file(model, seq_len))),
    )
    return dict(
        engine=engine,
        version=importlib.metadata.version(PACKAGES.get(engine, engine)),
        model=model,
        precision=precision,
        seq_len=seq_len,
        threads=threads,
        runs=len(times),
        **{name: float(f"{value:.5g}") for name, value in figures.items()},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("--model", choices=MODELS, default=MODELS[0])
    parser.add_argument("--precision", choices=PRECISIONS, default="int8")
    parser.add_argument("--seq-len", type=int, choices=SEQ_LENS, default=SEQ_LENS[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to repeat the timed run")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # read when an engine is imported
    print(json.dumps(measure(**vars(args))))


if __name__ == "__main__":
    main()
