"""Texts in all forms in which people have them."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy
import pytest

import mobilebert

ROOT = Path(__file__).resolve().parents[3]
SENTIMENT = ROOT / "models" / "sentiment"

pytestmark = pytest.mark.skipif(not SENTIMENT.is_dir(), reason="SKIPPED: the models are in a checkout only")

TEXTS = ["a joy to watch", "é😀\r\n\0 東京", "two hours of nothing, and then a long, long end", "x", "fine"]


@pytest.fixture(scope="module")
def sentiment() -> mobilebert.TextClassification:
    return mobilebert.TextClassification(SENTIMENT)


@pytest.fixture(scope="module")
def expected(sentiment: mobilebert.TextClassification) -> list[mobilebert.Classification]:
    return [sentiment.classify(text) for text in TEXTS]


def test_python_forms(sentiment: Any, expected: Any) -> None:
    for form in (TEXTS, tuple(TEXTS), iter(TEXTS), (t for t in TEXTS), dict.fromkeys(TEXTS).keys()):
        assert sentiment.classify(form) == expected
    assert sentiment.classify(numpy.array(TEXTS)) == expected
    assert sentiment.classify(numpy.array(TEXTS, dtype=object)) == expected
    assert sentiment.classify([]) == []
    # Nothing has memory for as many texts as the last ones claim to be.
    for wrong in (5, None, b"bytes", {"a": "b"}, ["a", 5], [["a"]], [b"a"], range(10**15), range(2**62)):
        with pytest.raises(TypeError, match="expected str"):
            sentiment.classify(wrong)


def test_a_list_that_changes_while_the_engine_runs(sentiment: Any, expected: Any) -> None:
    texts = list(TEXTS) * 50
    found = sentiment.classify(texts, progress=lambda *_: texts.clear())
    assert (found, texts) == (expected * 50, [])


def arrow_forms() -> list[Any]:
    pa = pytest.importorskip("pyarrow", reason="SKIPPED: no pyarrow")
    plain = pa.array(TEXTS)
    return [
        plain,
        plain.cast(pa.large_string()),
        plain.cast(pa.string_view()),
        plain.dictionary_encode(),
        pa.array(TEXTS * 2).dictionary_encode().slice(5),
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 3, 4], pa.uint8()), plain.cast(pa.large_string())),
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 3, 4], pa.int64()), plain.cast(pa.string_view())),
        pa.array(["skipped", *TEXTS, "skipped"]).slice(1, 5),
        pa.array(["a text that is not inline", *TEXTS]).cast(pa.string_view()).slice(1),
        pa.chunked_array([TEXTS[:2], [], TEXTS[2:]]),
        pa.chunked_array([pa.array(TEXTS[:1]), pa.array(["x", *TEXTS[1:]]).slice(1)]),
        pa.table({"text": TEXTS}).column("text"),
    ]


def test_arrow_forms(sentiment: Any, expected: Any) -> None:
    for form in arrow_forms():
        assert sentiment.classify(form) == expected, form.type


def test_arrow_nulls(sentiment: Any, expected: Any) -> None:
    pa = pytest.importorskip("pyarrow", reason="SKIPPED: no pyarrow")
    with_null = [*TEXTS[:2], None, *TEXTS[2:]]
    column = pa.array(with_null)
    chunks = pa.chunked_array([pa.array(with_null[:1]), pa.array(with_null[1:])])
    forms = [column, column.cast(pa.string_view()), column.dictionary_encode(), chunks, with_null]
    forms.append(numpy.array(with_null, dtype=object))
    for form in forms:
        with pytest.raises(mobilebert.MobileBertError, match="row 3: text: it is missing") as raised:
            sentiment.classify(form)
        assert raised.value.index == 2
        assert sentiment.classify(form, on_null="skip") == expected
    # Nulls are seen through an offset into the bits.
    many = pa.array([None] * 11 + TEXTS)
    assert sentiment.classify(many.slice(11)) == expected
    assert sentiment.classify(pa.nulls(3), on_null="skip") == []
    with pytest.raises(mobilebert.MobileBertError, match="`on_null` is 'drop'"):
        sentiment.classify(column, on_null="drop")


def test_arrow_of_other_types(sentiment: Any) -> None:
    pa = pytest.importorskip("pyarrow", reason="SKIPPED: no pyarrow")
    for wrong in (pa.array([1]), pa.table({"a": ["x"]}), pa.array([b"x"]), pa.array([["x"]])):
        with pytest.raises(TypeError, match="expected a column of strings"):
            sentiment.classify(wrong)
    # Streams without arrays have a type all the same.
    reader = pa.RecordBatchReader.from_batches(pa.schema([("a", pa.string())]), [])
    for empty in (reader, pa.chunked_array([], type=pa.int64())):
        with pytest.raises(TypeError, match="expected a column of strings"):
            sentiment.classify(empty)
    assert sentiment.classify(pa.chunked_array([], type=pa.string())) == []
    with pytest.raises(ValueError, match="more rows than fit the memory"):
        sentiment.classify(pa.Array.from_buffers(pa.null(), 10**15, [None], null_count=10**15))


def test_one_answer_is_the_best_one() -> None:
    qa = mobilebert.QuestionAnswering(ROOT / "models" / "qa")
    # Errors name the row of the caller's contexts.
    with pytest.raises(mobilebert.EmptyText) as raised:
        qa.answers("Who built it?", ["It was built by Ada.", None, ""], on_null="skip")
    assert raised.value.index == 2
    with pytest.raises(mobilebert.MobileBertError, match="`answers` returns several"):
        qa.answer("Who built it?", "It was built by Ada.", top_k=3)


class Once:
    """An object that gives the same capsules twice, against the rules."""

    def __init__(self, column: Any) -> None:
        self.capsules = column.__arrow_c_array__()

    def __arrow_c_array__(self, requested_schema: object = None) -> Any:
        return self.capsules


def test_arrow_data_is_taken_once(sentiment: Any, expected: Any) -> None:
    pa = pytest.importorskip("pyarrow", reason="SKIPPED: no pyarrow")
    once = Once(pa.array(TEXTS))
    assert sentiment.classify(once) == expected
    with pytest.raises(ValueError, match="already consumed"):
        sentiment.classify(once)


def test_arrow_memory_is_released(sentiment: Any) -> None:
    pa = pytest.importorskip("pyarrow", reason="SKIPPED: no pyarrow")
    gc.collect()
    before = pa.total_allocated_bytes()
    for _ in range(3):
        for form in arrow_forms():
            sentiment.classify(form)
        with pytest.raises(mobilebert.MobileBertError):
            sentiment.classify(pa.array(["a", None]))
    del form
    gc.collect()
    assert pa.total_allocated_bytes() <= before


def test_polars_and_pandas(sentiment: Any, expected: Any) -> None:
    polars = pytest.importorskip("polars", reason="SKIPPED: no polars")
    assert sentiment.classify(polars.Series(TEXTS)) == expected
    assert sentiment.classify(polars.DataFrame({"t": TEXTS})["t"]) == expected
    pandas = pytest.importorskip("pandas", reason="SKIPPED: no pandas")
    assert sentiment.classify(pandas.Series(TEXTS)) == expected
    assert sentiment.classify(pandas.Series(TEXTS, dtype="category")) == expected


def test_arrays_are_the_memory_of_the_engine(sentiment: Any) -> None:
    embedder = mobilebert.Embedder(SENTIMENT)
    found = embedder.vectors(TEXTS).array
    assert found.shape == (len(TEXTS), embedder.dimensions)
    assert found.dtype == numpy.float32
    assert not found.flags.owndata
    one = embedder.vectors(TEXTS[0]).array
    assert (one.shape, one.tobytes()) == ((embedder.dimensions,), found[0].tobytes())
    copy = found.copy()
    del embedder
    gc.collect()
    assert (found == copy).all()
    found[0] = 0  # It is the caller's own.
    assert (found[0] == 0).all()
    assert mobilebert.Embedder(SENTIMENT).vectors([]).array.shape == (0, copy.shape[1])


def test_pairs_stay_pairs_where_texts_are_missing(sentiment: Any) -> None:
    pa = pytest.importorskip("pyarrow", reason="SKIPPED: no pyarrow")
    first: list[str | None] = ["a joy", None, "fine", "dull"]
    second: list[str | None] = [None, "bad", "good", "long"]
    expected = [sentiment.classify("fine", "good"), sentiment.classify("dull", "long")]
    for form in (list, pa.array):
        assert sentiment.classify(form(first), form(second), on_null="skip") == expected
        with pytest.raises(mobilebert.MobileBertError, match="text_pair: there are 3 for 4 rows"):
            sentiment.classify(form(first), form(second[1:]), on_null="skip")
    assert sentiment.classify(first, pa.array(second), on_null="skip") == expected
    # Errors name the row of the caller's list.
    with pytest.raises(mobilebert.EmptyText) as raised:
        sentiment.classify(["a", None, ""], on_null="skip")
    assert (raised.value.index, raised.value.place) == (2, "text 3: text")
