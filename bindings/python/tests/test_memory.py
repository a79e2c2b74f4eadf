"""Memory over many calls."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

import mobilebert

ROOT = Path(__file__).resolve().parents[3]
TINY = ROOT / "bindings" / "vectors" / "models" / "ner"

pytestmark = [
    pytest.mark.skipif(not TINY.is_dir(), reason="SKIPPED: the models are in a checkout only"),
    pytest.mark.skipif(sys.platform != "linux", reason="SKIPPED: reads /proc"),
]

#: The number of calls: a part by default, and all if MOBILEBERT_LONG_TESTS is set.
CALLS = 100_000 if os.environ.get("MOBILEBERT_LONG_TESTS") else 10_000
#: What a leak of 100 bytes a call would exceed.
MAX_GROWTH = CALLS * 100


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def growth(call: Any) -> int:
    for _ in range(CALLS // 10):
        call()
    before = resident()
    for _ in range(CALLS):
        call()
    return resident() - before


def test_calls() -> None:
    tagger = mobilebert.TokenClassification(TINY)
    assert growth(lambda: tagger.tag("Ada lives in London, é😀")) < MAX_GROWTH


def test_calls_that_fail() -> None:
    tagger = mobilebert.TokenClassification(TINY)

    def fail() -> None:
        try:
            tagger.tag(["fine", "half of a pair: \ud83d"])
        except mobilebert.InvalidText:
            return
        raise AssertionError("no error")

    assert growth(fail) < MAX_GROWTH


def test_columns() -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="SKIPPED: no pyarrow")
    embedder = mobilebert.Embedder(TINY)
    column = pyarrow.array(["Ada", "lives", "in London"])
    assert growth(lambda: embedder.encode(column)) < MAX_GROWTH


def test_pipelines_that_are_opened() -> None:
    def opened() -> None:
        mobilebert.pipeline("ner", TINY, threads=1)("Ada")

    global CALLS
    before, CALLS = CALLS, CALLS // 50
    try:
        assert growth(opened) < 4_000_000
    finally:
        CALLS = before
