"""Pipelines: what `transformers` returns for the same calls, and its ways of calling."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy
import pytest

import mobilebert
from mobilebert import pipeline

ROOT = Path(__file__).resolve().parents[3]
CHECKPOINTS = ROOT / "tests" / "golden" / "checkpoints"
RECORDED = [Path(__file__).with_name(name) for name in ("transformers.json", "questions.json")]
SENTIMENT = ROOT / "models" / "sentiment"
QA = ROOT / "models" / "qa"
NER = CHECKPOINTS / "mobilebert-ner-f32"
FILL = CHECKPOINTS / "mobilebert-mlm-f32"

pytestmark = pytest.mark.skipif(not SENTIMENT.is_dir(), reason="SKIPPED: the models are in a checkout only")

CONTEXT = "The bridge was built by Ada Stone in 1911. It is red."


@pytest.fixture(scope="module")
def qa() -> Any:
    return pipeline("question-answering", QA)


@pytest.fixture(scope="module")
def sentiment() -> Any:
    return pipeline("text-classification", SENTIMENT)


def recorded() -> list[Any]:
    cases = [case for file in RECORDED for case in json.loads(file.read_text(encoding="utf-8"))]
    return [pytest.param(case, id=f"{number}-{case['task']}") for number, case in enumerate(cases)]


_opened: dict[str, Any] = {}


@pytest.mark.parametrize("case", recorded())
def test_results_are_those_of_transformers(case: dict[str, Any]) -> None:
    key = json.dumps([case["task"], case["model"], case["options"]])
    if key not in _opened:
        _opened[key] = pipeline(case["task"], CHECKPOINTS / case["model"], **case["options"])
    inputs, call = [case["inputs"]], case["call"]
    if isinstance(inputs[0], dict) and isinstance(inputs[0].get("question"), list):
        # Questions as columns are keyword arguments.
        inputs, call = [], {**inputs[0], **call}
    same(_opened[key](*inputs, **call), case["result"])


def same(found: Any, expected: Any) -> None:
    """Compares results. The keys are the same but for `index`, the number of a token in its sequence."""
    if isinstance(expected, list):
        assert isinstance(found, list) and len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected, dict):
        expected.pop("index", None)
        assert list(sorted(found)) == sorted(expected)
        for name, value in expected.items():
            # A word is a piece of the text here, and there it is made of tokens, in lower case.
            if name == "word":
                assert found[name].lower().replace(" ", "") == value.replace(" ", "").replace("##", "")
            elif name != "sequence":
                same(found[name], value)
    elif isinstance(expected, float):
        assert type(found) is float
        assert found == pytest.approx(expected, abs=3e-5)
    else:
        assert found == expected and type(found) is type(expected)


def test_ways_of_asking(qa: Any) -> None:
    one = qa(question="Who built the bridge?", context=CONTEXT)
    assert set(one) == {"score", "start", "end", "answer"}
    assert [type(one[key]) for key in ("score", "start", "end", "answer")] == [float, int, int, str]
    assert one["answer"] == "Ada Stone" == CONTEXT[one["start"] : one["end"]]
    item = {"question": "Who built the bridge?", "context": CONTEXT}
    assert qa("Who built the bridge?", CONTEXT) == qa(item) == qa(data=item) == one
    assert qa(question=item["question"], context=qa.engine.prepare(CONTEXT)) == one
    # A list of one question gives one result, as in transformers.
    assert qa([item]) == qa(question=[item["question"]], context=CONTEXT) == one
    assert qa([item, item]) == qa(question=[item["question"]] * 2, context=[CONTEXT] * 2) == [one, one]
    assert qa(question=[item["question"]] * 2, context=CONTEXT) == [one, one]
    assert list(qa(item for _ in range(3))) == [one, one, one]
    best = qa(item, top_k=3)
    assert [len(best), best[0]] == [3, one]
    assert qa([item, item], top_k=3) == [best, best]
    assert pipeline("question-answering", QA, top_k=3)(item) == best
    assert qa(item, padding=True, max_seq_len=64, doc_stride=16)["answer"] == "Ada Stone"


def test_options_have_the_defaults_of_transformers(qa: Any) -> None:
    assert qa.engine.options["max_answer_len"] == 15
    assert qa.engine.options["null_competes"] is True
    assert pipeline("ner", NER).engine.options["aggregation_strategy"] == "none"
    assert pipeline("ner", NER, aggregation_strategy="MAX").engine.options["aggregation_strategy"] == "max"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda qa: qa("Who?"), "a question and its context are needed"),
        (lambda qa: qa("Who?", "Ada.", "more"), "3 positional arguments"),
        (lambda qa: qa("Who?", question="Who?", context="Ada."), "given twice"),
        (lambda qa: qa({"question": "Who?", "context": "A."}, question="Who?"), "`question` is given in two"),
        (lambda qa: qa({"question": "Who?"}), "expected a dict of"),
        (lambda qa: qa([("Who?", "Ada.")]), "an input is tuple"),
        (lambda qa: qa("Who?", "Ada.", topk=2), "no option `topk`"),
        (lambda qa: qa("Who?", "Ada.", truncation=True), "no option `truncation`"),
    ],
)
def test_wrong_questions(qa: Any, call: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call(qa)


def test_arguments_of_the_tokenizer(sentiment: Any) -> None:
    long = "a joy to watch " * 400
    whole, cut = sentiment(long), sentiment(long, truncation=True, padding=True, max_length=16)
    assert whole != cut
    assert sentiment("a joy", truncation=False) == sentiment("a joy")
    with pytest.raises(mobilebert.TooLong):
        sentiment(long, truncation=False)


def test_streams_are_read_as_results_are_asked_for(sentiment: Any) -> None:
    read: list[int] = []

    def texts() -> Any:
        for number in range(100):
            read.append(number)
            yield f"a joy, number {number}"

    results = sentiment(texts(), batch_size=4)
    assert read == []
    first = next(results)
    assert (first, len(read)) == (sentiment("a joy, number 0")[0], 4)
    assert len(list(results)) == 99
    for wrong in (0, -1, 1.5, True, "8"):
        with pytest.raises(ValueError, match="batch_size"):
            sentiment("a joy", batch_size=wrong)


def test_columns_are_lists(sentiment: Any) -> None:
    texts = ["a joy", "two hours of nothing"]
    expected = sentiment(texts)
    assert sentiment(tuple(texts)) == sentiment(numpy.array(texts)) == expected
    pyarrow = pytest.importorskip("pyarrow", reason="SKIPPED: no pyarrow")
    assert sentiment(pyarrow.array(texts)) == expected
    assert sentiment(pyarrow.array([*texts, None]), on_null="skip") == expected
    assert sentiment([]) == []


def test_an_error_of_a_single_input_names_no_index() -> None:
    calls: dict[str, tuple[Any, Any]] = {
        "feature-extraction": (NER, ""),
        "token-classification": (NER, ""),
        "fill-mask": (FILL, ""),
        "text-classification": (SENTIMENT, ""),
        "question-answering": (QA, {"question": "", "context": "Ada."}),
    }
    for task, (model, given) in calls.items():
        pipe = pipeline(task, model)
        with pytest.raises(mobilebert.MobileBertError) as single:
            pipe(given)
        assert (single.value.index, ":" in str(single.value.place)) == (None, False), task
        # A list of one question is what the question is.
        with pytest.raises(mobilebert.MobileBertError) as listed:
            pipe([given])
        assert listed.value.index == 0, task


def test_calls_are_watched(sentiment: Any) -> None:
    seen: list[tuple[int, int]] = []
    sentiment(["a joy"] * 3, progress=lambda *now: seen.append(now))
    assert seen[-1] == (3, 3)
    with pytest.raises(mobilebert.DeadlineExceeded):
        sentiment(["a joy to watch, and then two hours of nothing"] * 50_000, timeout=0.2)
    with pytest.raises(mobilebert.InvalidText) as raised:
        sentiment(["fine", "\udc00"])
    assert raised.value.index == 1


def test_pickles_hold_no_weights() -> None:
    labels = pipeline("text-classification", SENTIMENT, top_k=None, threads=1)
    pickled = pickle.dumps(labels)
    assert len(pickled) < 1000
    assert pickle.loads(pickled)("a joy") == labels("a joy")
    assert len(labels("a joy")[0]) == 2


def test_pairs_do_not_mix_with_texts(sentiment: Any) -> None:
    with pytest.raises(TypeError, match="input 1 has a"):
        sentiment([{"text": "a", "text_pair": "b"}, {"text": "a"}])
    with pytest.raises(TypeError, match='expected "text"'):
        sentiment({"texts": "a"})


def test_states_as_arrays() -> None:
    states = pipeline("feature-extraction", SENTIMENT)
    nested, array = states("a joy"), states("a joy", return_tensors=True)
    assert (array.dtype, array.shape) == (numpy.float32, (1, 4, 384))
    assert array.tolist() == nested
    assert pipeline("feature-extraction", SENTIMENT, return_tensors="np")("a joy").shape == (1, 4, 384)
    assert [found.shape for found in states(["a", "a joy"], return_tensors="np")] == [
        (1, 3, 384),
        (1, 4, 384),
    ]
    assert (
        states("a joy", tokenize_kwargs={"truncation": True, "max_length": 3}, return_tensors=True).shape[1]
        == 3
    )
    with pytest.raises(ValueError, match="`return_tensors` is 'pt'"):
        states("a joy", return_tensors="pt")


def test_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILEBERT_MODELS", str(ROOT / "models"))
    assert pipeline("question-answering").model.name == "qa"
    assert pipeline("sentiment-analysis").model.name == "sentiment"
    assert pipeline("ner").model.name == "ner"
    assert pipeline(model="qa").task == "question-answering"
    assert pipeline(model=NER).task == "token-classification"
    assert pipeline(model=FILL, tokenizer=FILL, device=-1).task == "fill-mask"
    model = mobilebert.Model(QA)
    assert pipeline(model=model)("Who?", "Ada.")["answer"] == "Ada"
    assert repr(pipeline(model="qa")) == "pipeline('question-answering', model='qa')"
    wrong: Any
    for wrong, message in (
        (lambda: pipeline(), "neither a task nor a model"),
        (lambda: pipeline("summarization"), "expected one of question-answering"),
        (lambda: pipeline("fill-mask"), "fill-mask has no model of its own"),
        (lambda: pipeline("ner", NER, device="cuda:0"), "`device` is 'cuda:0'"),
        (lambda: pipeline("ner", NER, tokenizer="other"), "`tokenizer` is 'other'"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()
    with pytest.raises(TypeError, match="no option `framework`"):
        pipeline("ner", NER, framework="pt")
