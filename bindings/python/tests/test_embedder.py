"""The methods of sentence-transformers and fastembed."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest

import mobilebert

ROOT = Path(__file__).resolve().parents[3]
SENTIMENT = ROOT / "models" / "sentiment"

pytestmark = pytest.mark.skipif(not SENTIMENT.is_dir(), reason="SKIPPED: the models are in a checkout only")

TEXTS = ["a joy to watch", "é😀 東京", "two hours of nothing"]


@pytest.fixture(scope="module")
def embedder() -> mobilebert.Embedder:
    return mobilebert.Embedder(SENTIMENT)


def test_shapes_of_encode(embedder: mobilebert.Embedder) -> None:
    one, many = embedder.encode(TEXTS[0]), embedder.encode(TEXTS)
    assert (one.shape, one.dtype) == ((384,), numpy.float32)
    assert (many.shape, many.dtype) == ((3, 384), numpy.float32)
    assert (many[0] == one).all()
    assert embedder.encode([]).shape == (0, 384)
    rows = embedder.encode(TEXTS, convert_to_numpy=False)
    assert type(rows) is list and [row.shape for row in rows] == [(384,)] * 3
    for size in (1, 2, 1000):
        assert (embedder.encode(TEXTS, batch_size=size) == many).all()
    assert (embedder.encode(numpy.array(TEXTS)) == many).all()
    assert (embedder.vectors(TEXTS).array == many).all()


def test_lengths() -> None:
    plain = mobilebert.Embedder(SENTIMENT, normalize=False)
    lengths = numpy.linalg.norm(plain.encode(TEXTS), axis=1)
    assert (abs(lengths - 1) > 0.1).all()
    assert numpy.linalg.norm(plain.encode(TEXTS, normalize_embeddings=True), axis=1) == pytest.approx(1)
    # Without a word of the caller, the embedder's own option decides.
    assert numpy.linalg.norm(mobilebert.Embedder(SENTIMENT).encode(TEXTS), axis=1) == pytest.approx(1)
    assert plain.encode(TEXTS[0], pooling="cls").tolist() != plain.encode(TEXTS[0]).tolist()


def test_embed_reads_as_vectors_are_asked_for(embedder: mobilebert.Embedder) -> None:
    read = []

    def documents() -> Any:
        for number in range(100):
            read.append(number)
            yield TEXTS[number % 3]

    vectors = embedder.embed(documents(), batch_size=8)
    assert read == []
    first = next(vectors)
    assert (len(read), first.shape) == (8, (384,))
    rest = list(vectors)
    assert len(rest) == 99
    many = embedder.encode(TEXTS)
    assert all((vector == many[number % 3]).all() for number, vector in enumerate([first, *rest]))
    assert [vector.tolist() for vector in embedder.embed(TEXTS[0])] == [many[0].tolist()]
    assert list(embedder.embed([], parallel=4)) == []


def test_embed_takes_columns(embedder: mobilebert.Embedder) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="SKIPPED: no pyarrow")
    many = embedder.encode(TEXTS)
    assert (numpy.array(list(embedder.embed(pyarrow.array(TEXTS)))) == many).all()
    assert (embedder.encode(pyarrow.chunked_array([TEXTS])) == many).all()
    polars = pytest.importorskip("polars", reason="SKIPPED: no polars")
    assert (embedder.encode(polars.Series(TEXTS)) == many).all()


def test_wrong_arguments(embedder: mobilebert.Embedder) -> None:
    for wrong in (0, -3, True, 2.5):
        with pytest.raises(ValueError, match="batch_size"):
            embedder.encode(TEXTS, batch_size=wrong)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="batch_size"):
            embedder.embed(TEXTS, batch_size=wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no option `convert_to_tensor`"):
        embedder.encode(TEXTS, convert_to_tensor=True)
    with pytest.raises(mobilebert.InvalidText):
        embedder.encode("\ud800")
    with pytest.raises(mobilebert.DeadlineExceeded):
        embedder.encode(TEXTS * 20_000, timeout=0.2)


def test_a_bar_is_shown_if_it_can_be(
    embedder: mobilebert.Embedder, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = embedder.encode(TEXTS)
    assert capfd.readouterr().err == ""
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    assert (embedder.encode(TEXTS, show_progress_bar=True) == expected).all()
    assert capfd.readouterr().err == ""
    monkeypatch.undo()
    pytest.importorskip("tqdm", reason="SKIPPED: no tqdm")
    embedder.encode(TEXTS, show_progress_bar=True)
    assert "3/3" in capfd.readouterr().err


def test_pickles_hold_no_weights(embedder: mobilebert.Embedder) -> None:
    pickled = pickle.dumps(embedder)
    assert len(pickled) < 1000
    copy = pickle.loads(pickled)
    assert type(copy) is mobilebert.Embedder
    assert (copy.encode(TEXTS) == embedder.encode(TEXTS)).all()
    assert repr(mobilebert.Embedder) == "<class 'mobilebert.Embedder'>"
