"""Threads, signals, time-outs, progress, fork and memory."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import mobilebert

ROOT = Path(__file__).resolve().parents[3]
SENTIMENT = ROOT / "models" / "sentiment"
QA = ROOT / "models" / "qa"

pytestmark = pytest.mark.skipif(not SENTIMENT.is_dir(), reason="SKIPPED: the models are in a checkout only")

TEXTS = [f"a joy to watch, number {n}, and then two hours of nothing" for n in range(400)]
#: No single step of these tests takes this long, in seconds, unless it hangs.
HANGS = 60


@pytest.fixture(scope="module")
def sentiment() -> mobilebert.TextClassification:
    return mobilebert.TextClassification(SENTIMENT)


def test_the_lock_is_free_while_the_engine_runs(sentiment: mobilebert.TextClassification) -> None:
    turns, stop = 0, threading.Event()

    def count() -> None:
        nonlocal turns
        while not stop.is_set():
            turns += 1
            time.sleep(0.001)

    other = threading.Thread(target=count)
    other.start()
    try:
        before, start = turns, time.monotonic()
        sentiment.classify(TEXTS)
        during, seconds = turns - before, time.monotonic() - start
    finally:
        stop.set()
        other.join()
    # Held by the engine, the lock would leave the other thread at most a few turns.
    assert during > seconds * 50, f"{during} turns in {seconds:.2f} s"


def test_results_do_not_depend_on_threads_or_neighbours(sentiment: mobilebert.TextClassification) -> None:
    expected = [sentiment.classify(text) for text in TEXTS[:40]]
    assert sentiment.classify(TEXTS[:40]) == expected
    for threads in (1, 2, 3):
        assert mobilebert.TextClassification(SENTIMENT, threads=threads).classify(TEXTS[:40]) == expected
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(sentiment.classify, TEXTS[:40])) == expected


def test_asyncio(sentiment: mobilebert.TextClassification) -> None:
    async def both() -> list[Any]:
        calls = (asyncio.to_thread(sentiment.classify, text) for text in TEXTS[:2])
        return await asyncio.gather(*calls)

    assert asyncio.run(both()) == sentiment.classify(TEXTS[:2])


def test_a_timeout_stops_between_passes(sentiment: mobilebert.TextClassification) -> None:
    with pytest.raises(mobilebert.DeadlineExceeded) as raised:
        sentiment.classify(TEXTS * 100, timeout=0.2)
    assert raised.value.code == "deadline_exceeded"
    assert isinstance(raised.value, TimeoutError)
    with pytest.raises(mobilebert.MobileBertError, match="`timeout` is -1"):
        sentiment.classify("a", timeout=-1)
    assert sentiment.classify("a joy", timeout=HANGS).label == "positive"


def test_a_search_ends_at_its_time_with_what_it_has_found() -> None:
    qa = mobilebert.QuestionAnswering("qa")
    question = "Who built the bridge?"
    text = "Trees grow slowly in the north. " * 3000 + "The bridge was built by Ada."
    context = qa.prepare(text)
    # The shortest time in which a busy machine finishes the first pass is far too short for all of them.
    seconds, found = 0.02, None
    while found is None:
        try:
            found = qa.answers_within(question, context, timeout=seconds)
        except mobilebert.DeadlineExceeded:
            seconds *= 2
    assert 0 < found.windows_read < found.windows
    assert found.answers[0].answer == "Ada"
    assert found == qa.answers_within(question, text, most_windows=found.windows_read)
    seen: list[tuple[int, int]] = []
    qa.answers_within(question, text, most_windows=2, progress=lambda *now: seen.append(now))
    assert seen[-1] == (2, 2)
    # The progress of a search that ends at its time is what it has read.
    shares: list[tuple[int, int]] = []
    found = None
    while found is None:
        try:
            found = qa.answers_within(
                question, context, timeout=seconds, progress=lambda *now: shares.append(now)
            )
        except mobilebert.DeadlineExceeded:
            seconds *= 2
            shares.clear()
    assert 0 < found.windows_read < found.windows
    assert shares[-1] == (found.windows_read, found.windows)
    for wrong in (0, -1, 1.5, "two", True):
        with pytest.raises(mobilebert.MobileBertError) as raised:
            qa.answers_within(question, text, most_windows=wrong)  # type: ignore[arg-type]
        assert (raised.value.code, raised.value.place) == ("option", "most_windows")
    with pytest.raises(mobilebert.MobileBertError, match="`context` is "):
        qa.answers_within(question, [text])  # type: ignore[arg-type]


def test_progress_counts_texts_and_may_stop(sentiment: mobilebert.TextClassification) -> None:
    seen: list[tuple[int, int]] = []
    sentiment.classify(TEXTS, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(TEXTS), len(TEXTS))
    assert seen == sorted(seen)
    for texts in ("a joy", ["a joy"], TEXTS[:3]):
        seen.clear()
        sentiment.classify(texts, progress=lambda *now: seen.append(now))
        count = 1 if isinstance(texts, str) else len(texts)
        assert seen.count((count, count)) == 1, "an end is told once"

    def refuse(done: int, total: int) -> None:
        raise KeyError("stop")

    with pytest.raises(KeyError):
        sentiment.classify(TEXTS * 20, progress=refuse)


def test_progress_of_one_long_context_counts_windows() -> None:
    seen: list[tuple[int, int]] = []
    qa = mobilebert.QuestionAnswering(QA)
    context = "Trees grow slowly. " * 2000
    qa.answer("What grows?", context, progress=lambda *now: seen.append(now))
    assert seen[-1][0] == seen[-1][1] > 10


CTRL_C_IN_A_TOOL = """
import os, signal, threading, time, mobilebert
# A shell without job control starts what runs in the background with Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
start = time.monotonic()
try:
    mobilebert.quantize({model!r}, {out!r}, bits=4)
except KeyboardInterrupt:
    print("stopped after", time.monotonic() - start)
"""

CTRL_C = """
import os, signal, threading, time, mobilebert
signal.signal(signal.SIGINT, signal.default_int_handler)
qa = mobilebert.TextClassification({model!r})
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
start = time.monotonic()
try:
    qa.classify(["a joy to watch, and then two hours of nothing"] * 1_000_000)
except KeyboardInterrupt:
    print("stopped after", time.monotonic() - start)
"""


def python(program: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=HANGS, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_ctrl_c_stops_between_passes() -> None:
    found = python(CTRL_C.format(model=str(SENTIMENT)))
    assert found.startswith("stopped after") and float(found.split()[-1]) < 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="SKIPPED: no fork here")
@pytest.mark.parametrize("threads", [None, 1, 2])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_child_of_fork_answers(threads: int | None) -> None:
    pipeline = mobilebert.TextClassification(SENTIMENT, threads=threads)
    expected = pipeline.classify(TEXTS[0])
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            same = pipeline.classify(TEXTS[0]) == expected
            opened = mobilebert.TextClassification(SENTIMENT, threads=threads).classify(TEXTS[0])
            os.write(write, b"same" if same and opened == expected else b"other")
        finally:
            os._exit(0)
    os.close(write)
    deadline = time.monotonic() + HANGS
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.01)
    assert os.read(read, 100) == b"same"
    os.close(read)


def in_worker(text: str) -> Any:
    return mobilebert.TextClassification(SENTIMENT, threads=1).classify(text)


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_multiprocessing(method: str, sentiment: mobilebert.TextClassification) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"SKIPPED: no {method} here")
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.map_async(in_worker, TEXTS[:4]).get(timeout=HANGS)
    assert found == sentiment.classify(TEXTS[:4])


def test_calls_run_side_by_side() -> None:
    """Each call waits, between two passes, until the other is there too. Times would depend on neighbours."""
    pipeline = mobilebert.TextClassification(SENTIMENT, threads=1)
    both = threading.Barrier(2, timeout=HANGS)

    def call(_: int) -> list[mobilebert.Classification]:
        met = False

        def meet(done: int, total: int) -> None:
            nonlocal met
            if not met:
                met = True
                both.wait()

        return pipeline.classify(TEXTS, progress=meet)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(call, range(2))
    assert first == second == pipeline.classify(TEXTS)


@pytest.mark.skipif(sys.platform != "linux", reason="SKIPPED: reads /proc")
def test_memory_does_not_grow_with_calls(sentiment: mobilebert.TextClassification) -> None:
    def resident() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    sentiment.classify(TEXTS)
    before = resident()
    for _ in range(10):
        sentiment.classify(TEXTS)
    assert resident() - before < 8_000_000


def test_halves_of_pairs_have_the_places_of_other_errors(sentiment: mobilebert.TextClassification) -> None:
    qa, half, context = mobilebert.QuestionAnswering(QA), "b\ud83d", "It was built by Ada."
    calls: list[tuple[str, Callable[[], object]]] = [
        ("question", lambda: qa.answers(half, context)),
        ("context", lambda: qa.answers("Who?", half)),
        ("question 2: question", lambda: qa.answers(["Who?", half], context)),
        ("question 2: question", lambda: qa.answers(["Who?", half], qa.prepare(context))),
        ("pair 2: question", lambda: qa.answers(["Who?", half], [context, context])),
        ("pair 2: context", lambda: qa.answers(["Who?", "Who?"], (context, half))),
        ("pair 2: context", lambda: qa.answers("Who?", [context, half])),
        ("text 2: text", lambda: sentiment.classify(["a", half])),
        ("second text", lambda: sentiment.classify("a", half)),
        ("pair 2: text", lambda: sentiment.classify(["a", half], ["a", "a"])),
        ("pair 2: second text", lambda: sentiment.classify(["a", "a"], iter(["a", half]))),
    ]
    for place, call in calls:
        with pytest.raises(mobilebert.InvalidText) as raised:
            call()
        error = raised.value
        listed = place.rpartition(": ")[0]
        assert (error.place, error.index) == (place, 1 if listed else None)
        assert str(error).startswith(f"{listed}: the " if listed else "the "), str(error)
    # What the engine finds itself has the same places.
    for place, call in [
        ("question 2: question", lambda: qa.answers(["Who?", ""], context)),
        ("pair 2: context", lambda: qa.answers("Who?", [context, ""])),
        ("pair 2: second text", lambda: sentiment.classify(["a", "a"], ["a", ""])),
    ]:
        with pytest.raises(mobilebert.EmptyText) as empty:
            call()
        assert (empty.value.place, empty.value.index) == (place, 1)


def test_errors_and_results_are_pickled(sentiment: mobilebert.TextClassification) -> None:
    found = sentiment.classify("a joy")
    assert pickle.loads(pickle.dumps(found)) == found
    with pytest.raises(mobilebert.InvalidText) as raised:
        sentiment.classify(["a", "b\ud83d"])
    copy = pickle.loads(pickle.dumps(raised.value))
    assert (type(copy), str(copy)) == (mobilebert.InvalidText, str(raised.value))
    assert (copy.index, copy.place, copy.position) == (1, "text 2: text", 1)
    assert (copy.byte_position, copy.utf16_position) == (1, 1)


class Sub(mobilebert.TextClassification):
    """A class of a caller's own."""


@pytest.mark.parametrize("kind", [mobilebert.TextClassification, Sub])
def test_a_pipeline_is_pickled_by_its_name_and_options(kind: type[mobilebert.TextClassification]) -> None:
    pipeline = kind(SENTIMENT, threads=1, top_k=None, long_text="refuse")
    pickled = pickle.dumps(pipeline)
    assert len(pickled) < 1000
    copy = pickle.loads(pickled)
    assert (type(copy), copy.options, copy.model.threads) == (kind, pipeline.options, 1)
    assert copy.classify(TEXTS[0]) == pipeline.classify(TEXTS[0])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply_async(pipeline.classify, (TEXTS[0],)).get(HANGS) == copy.classify(TEXTS[0])
    with pytest.raises(TypeError, match="over the Model that was loaded before cannot be pickled"):
        pickle.dumps(kind(mobilebert.Model(SENTIMENT)))


def test_models_are_shared_and_may_come_from_memory() -> None:
    model = mobilebert.Model(QA)
    qa = mobilebert.QuestionAnswering(model, top_k=2)
    embedder = mobilebert.Embedder(model)
    assert (model.task, qa.options["top_k"]) == ("question-answering", 2)
    assert embedder.vectors("Ada").array.shape == (embedder.dimensions,) == (model.hidden_size,)
    with pytest.raises(mobilebert.MobileBertError, match="threads"):
        mobilebert.QuestionAnswering(model, threads=2)
    with pytest.raises(mobilebert.WrongTask):
        mobilebert.TextClassification(model)
    names = ("config.json", "vocab.txt", "tokenizer_config.json", "model.safetensors")
    files = {name: (QA / name).read_bytes() for name in names}
    in_memory = mobilebert.QuestionAnswering(files)
    assert in_memory.answer("Who?", "Ada.") == qa.answer("Who?", "Ada.")
    assert in_memory.model.name == "model in memory"


def test_built_in_names_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILEBERT_MODELS", str(ROOT / "models"))
    assert mobilebert.QuestionAnswering().answer("Who?", "Ada.").answer == "Ada"
    assert mobilebert.TextClassification("built-in:sentiment").classify("a joy").label == "positive"


def test_tools_stop(tmp_path: Path) -> None:
    def stop(step: str, done: int, total: int) -> None:
        raise KeyError(step)

    data = ROOT / "eval" / "samples" / "classify.csv"
    with pytest.raises(KeyError):
        mobilebert.quantize(SENTIMENT, tmp_path / "int8", task="classify", data=data, progress=stop)
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyError, match="tensors"):
        mobilebert.quantize(SENTIMENT, tmp_path / "int8", progress=stop)
    assert not list(tmp_path.iterdir())
    report = mobilebert.evaluate(SENTIMENT, "classify", data)
    assert (report["metric"], report["accuracy"], report["total"]) == ("accuracy", 100.0, 4)


def test_a_quantisation_without_a_task_is_watched(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    report = mobilebert.quantize(SENTIMENT, tmp_path / "int4", bits=4, progress=lambda *now: seen.append(now))
    total = seen[-1][2]
    assert seen[-1] == ("tensors", total, total)
    assert total >= report["quantized_tensors"] + report["f32_tensors"] > 100
    assert {step for step, _, _ in seen} == {"tensors"}
    done = [now for _, now, _ in seen]
    assert done == sorted(set(done))


def test_ctrl_c_stops_between_tensors(tmp_path: Path) -> None:
    found = python(CTRL_C_IN_A_TOOL.format(model=str(SENTIMENT), out=str(tmp_path / "int4")))
    assert found.startswith("stopped after") and float(found.split()[-1]) < 10
    assert not list(tmp_path.iterdir())
