"""Every argument and option of a wrong type or range is an error that names it, before any work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

import mobilebert

ROOT = Path(__file__).resolve().parents[3]
MODELS = ROOT / "models"
CHECKPOINTS = ROOT / "tests" / "golden" / "checkpoints"
NER, FILL = CHECKPOINTS / "mobilebert-ner-f32", CHECKPOINTS / "mobilebert-mlm-f32"
QA = CHECKPOINTS / "mobilebert-f32"
DATA = ROOT / "eval" / "samples" / "classify.csv"

pytestmark = pytest.mark.skipif(not MODELS.is_dir(), reason="SKIPPED: the models are in a checkout only")

NAN, INFINITY, HUGE, ENDLESS = float("nan"), float("inf"), 2**64, 10**5000
#: A list that holds itself.
LOOP: list[Any] = []
LOOP.append(LOOP)

#: Values that fit no argument of the kind. `None` is among them where it does not mean "the default".
COUNT: tuple[Any, ...] = (
    -1,
    HUGE,
    ENDLESS,
    -ENDLESS,
    1.5,
    NAN,
    INFINITY,
    "1",
    b"1",
    [1],
    {},
    True,
    object(),
    numpy.float32(2),
)
NUMBER: tuple[Any, ...] = ("x", b"1", [], LOOP, {}, True, object(), NAN, ENDLESS)
FLAG: tuple[Any, ...] = ("yes", 1, 0.0, [], {}, object(), None, NAN)
NAME: tuple[Any, ...] = (5, NAN, True, b"x", [], {}, object(), "no such name", "", "\ud800")
NAMES: tuple[Any, ...] = (5, NAN, "x", [5], [NAN], [None], [["x"]], LOOP, [b"x"], {}, object(), ["\ud800"])
FUNCTION: tuple[Any, ...] = (5, "print", [], {}, object(), True)
FILE: tuple[Any, ...] = (5, NAN, [], {}, object(), True, "\ud800")

ANSWERS = {
    "top_k": (0, *COUNT),
    "doc_stride": COUNT,
    "max_seq_len": (0, *COUNT),
    "max_question_len": COUNT,
    "max_answer_len": (0, *COUNT),
    "handle_impossible_answer": FLAG,
    "null_threshold": (*NUMBER, INFINITY),
    "merge_equal_texts": FLAG,
    "null_competes": FLAG,
}
LABELS = {
    "top_k": (0, *COUNT),
    "threshold": (*NUMBER, INFINITY),
    "function_to_apply": NAME,
    "long_text": NAME,
    "max_seq_len": (0, *COUNT),
    "doc_stride": COUNT,
    "labels": NAMES,
}
TAGS = {
    "aggregation_strategy": NAME,
    "ignore_labels": NAMES,
    "max_seq_len": (0, *COUNT),
    "doc_stride": COUNT,
}
FILLS = {"top_k": (0, *COUNT), "targets": NAMES}
VECTORS = {"pooling": NAME, "normalize": [v for v in FLAG if v is not None], "max_seq_len": (0, *COUNT)}
OPENING = {
    "threads": (0, *COUNT),
    "precision": NAME,
    "special_tokens_in_text": [v for v in FLAG if v is not None],
}
CALL = {"timeout": (-1, -0.5, INFINITY, 1e300, *NUMBER), "progress": FUNCTION, "on_null": (*NAME, None)}
WATCHED = {"progress": FUNCTION}
MODEL: tuple[Any, ...] = (5, NAN, [], object(), True)

#: What is called, on a pipeline that is opened once, with the arguments that are checked.
Call = Callable[..., Any]


def calls() -> list[tuple[str, Call, dict[str, Any]]]:
    """Returns the classes, methods and functions, and the wrong values of each of their arguments."""
    qa, labels = mobilebert.QuestionAnswering(QA), mobilebert.TextClassification(MODELS / "sentiment")
    tags, fills = mobilebert.TokenClassification(NER), mobilebert.FillMask(FILL)
    vectors, kinds = mobilebert.Embedder(NER), mobilebert
    one: dict[str, Any] = {name: values for name, values in ANSWERS.items() if name != "top_k"}
    made = "never-made"
    batch = {"batch_size": (0, None, *COUNT)}
    own = {
        "batch_size": (0, *COUNT),
        "device": ("cuda", 0, 5, NAN, [], numpy.zeros(2)),
        "tokenizer": ("x", 5, []),
    }
    pipes = {task: mobilebert.pipeline(task, model) for task, model in PIPELINES.items()}
    tokenizer = {"truncation": ("x", 1, [], NAN, None), "max_length": (0, *COUNT)}
    found: list[tuple[str, Call, dict[str, Any]]] = [
        ("Model", lambda **k: kinds.Model(**{"model": NER, **k}), {**OPENING, "task": NAME, "model": MODEL}),
        ("QuestionAnswering", lambda **k: kinds.QuestionAnswering(QA, **k), {**OPENING, **ANSWERS}),
        (
            "TextClassification",
            lambda **k: kinds.TextClassification(MODELS / "sentiment", **k),
            {**OPENING, **LABELS},
        ),
        ("TokenClassification", lambda **k: kinds.TokenClassification(NER, **k), {**OPENING, **TAGS}),
        ("FillMask", lambda **k: kinds.FillMask(FILL, **k), {**OPENING, **FILLS}),
        ("Embedder", lambda **k: kinds.Embedder(NER, **k), {**OPENING, **VECTORS}),
        ("answer", lambda **k: qa.answer("Who?", "Ada.", **k), {**CALL, **one}),
        ("answers", lambda **k: qa.answers("Who?", "Ada.", **k), {**CALL, **ANSWERS}),
        ("prepare", lambda **k: qa.prepare(**k), {"context": (5, None, [], b"x")}),
        ("classify", lambda **k: labels.classify("a joy", **k), {**CALL, **LABELS}),
        ("tag", lambda **k: tags.tag("Ada", **k), {**CALL, **TAGS}),
        ("fill", lambda **k: fills.fill("a [MASK]", **k), {**CALL, **FILLS}),
        ("vectors", lambda **k: vectors.vectors("Ada", **k), {**CALL, **VECTORS}),
        ("token_states", lambda **k: vectors.token_states("Ada", **k), {**CALL, **VECTORS}),
        (
            "encode",
            lambda **k: vectors.encode("Ada", **k),
            {
                **VECTORS,
                **batch,
                "timeout": CALL["timeout"],
                "show_progress_bar": [v for v in FLAG if v is not None],
                "convert_to_numpy": FLAG,
                "normalize_embeddings": [v for v in FLAG if v is not None],
            },
        ),
        (
            "embed",
            lambda **k: list(vectors.embed("Ada", **k)),
            {**VECTORS, **batch, "parallel": (-2, 1.5, "1", True, [], NAN)},
        ),
        (
            "convert",
            lambda **k: mobilebert.convert(**{"source": NER, "destination": made, **k}),
            {
                **WATCHED,
                "source": MODEL,
                "destination": (*FILE, None),
                "config": FILE,
                "vocab": FILE,
                "verify": FLAG,
                "force": FLAG,
            },
        ),
        (
            "quantize",
            lambda **k: mobilebert.quantize(**{"source": NER, "destination": made, **k}),
            {
                **WATCHED,
                "source": MODEL,
                "destination": (*FILE, None),
                "bits": (0, 5, 300, *COUNT),
                "scales": NAME,
                "data": FILE,
            },
        ),
        (
            "quantize with a task",
            lambda **k: mobilebert.quantize(**GATE, **{"destination": made, **k}),
            {
                "max_drop": (-1, INFINITY, *NUMBER),
                "limit": COUNT,
                "max_f32_modules": COUNT,
                "threads": (0, *COUNT),
            },
        ),
        (
            "evaluate",
            lambda **k: mobilebert.evaluate(**{**EVALUATE, **k}),
            {
                **WATCHED,
                "task": (*NAME, None),
                "data": (*FILE, None),
                "limit": COUNT,
                "threads": (0, *COUNT),
                "precision": NAME,
                "model": (*MODEL, None),
            },
        ),
        (
            "pipeline",
            lambda **k: mobilebert.pipeline(**{"task": "ner", "model": NER, **k}),
            {**OPENING, **TAGS, **own, "task": NAME, "model": MODEL},
        ),
    ]
    named: dict[str, dict[str, Any]] = {
        "question-answering": ANSWERS,
        "text-classification": {**LABELS, **tokenizer},
        "token-classification": {**TAGS, "stride": COUNT, "max_length": (0, *COUNT)},
        "fill-mask": FILLS,
        "feature-extraction": {
            "return_tensors": ("pt", 1, [], NAN, numpy.zeros(2)),
            "tokenize_kwargs": (5, "x", [1]),
            **tokenizer,
        },
    }
    for task, options in named.items():
        given = (
            {"question": "Who?", "context": "Ada."}
            if task == "question-answering"
            else {"inputs": TEXTS[task]}
        )
        found.append(
            (f"pipeline of {task}", bound(pipes[task], given), {**CALL, **options, "batch_size": COUNT})
        )
    return found


def bound(call: Call, given: dict[str, Any]) -> Call:
    return lambda **k: call(**given, **k)


PIPELINES = {
    "question-answering": QA,
    "text-classification": MODELS / "sentiment",
    "token-classification": NER,
    "fill-mask": FILL,
    "feature-extraction": NER,
}
TEXTS = {
    "text-classification": "a joy",
    "token-classification": "Ada",
    "fill-mask": "a [MASK]",
    "feature-extraction": "Ada",
}
GATE: dict[str, Any] = {"source": MODELS / "sentiment", "task": "classify", "data": DATA}
EVALUATE: dict[str, Any] = {"model": MODELS / "sentiment", "task": "classify", "data": DATA}


def test_every_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    problems, tried = [], 0
    for call, run, arguments in calls():
        for name, values in arguments.items():
            for value in values:
                tried += 1
                problem = problem_of(run, name, value)
                if problem:
                    problems.append(f"{call}({name}={shown(value)}): {problem}")
    assert not problems, f"{len(problems)} of {tried}:\n" + "\n".join(problems)
    assert tried > 1000
    assert list(tmp_path.iterdir()) == []


def problem_of(run: Call, name: str, value: Any) -> str | None:
    """Says what is wrong with what a call raises."""
    try:
        run(**{name: value})
    except mobilebert.MobileBertError as error:
        if error.code == "invalid_text" and name in str(error):
            return None
        if error.code != "option" or name not in (error.place or ""):
            return f"the error is of {error.place!r} with the code {error.code}: {error}"
        return None if name in str(error) and len(str(error)) < 500 else f"the message is {error}"
    except TypeError as error:
        return None if name in str(error) else f"TypeError without the name: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was raised"


def shown(value: Any) -> str:
    return "a huge number" if isinstance(value, int) and abs(value) > HUGE else repr(value)


def test_numbers_of_numpy_are_numbers() -> None:
    kinds: Any = mobilebert
    labels = kinds.TextClassification(MODELS / "sentiment", threads=numpy.int64(1))
    for top_k in (2, numpy.int32(2), numpy.uint8(2)):
        assert len(labels.classify("a joy", top_k=top_k).labels) == 2
    assert len(labels.classify("a joy", top_k=2, threshold=numpy.float32(0.5)).labels) == 1
    assert labels.classify("a joy", timeout=numpy.float64(60)).label == "positive"
    merged = kinds.QuestionAnswering(QA, merge_equal_texts=numpy.bool_(False))
    assert merged.options["merge_equal_texts"] is False
    assert kinds.Model(NER, special_tokens_in_text=numpy.bool_(True)).task == "token-classification"
    embedder = kinds.Embedder(NER)
    for size in (numpy.int8(3), 3):
        assert len(embedder.encode(["Ada"] * 4, batch_size=size)) == 4


def test_what_stops_the_program_is_not_taken_for_a_wrong_value() -> None:
    class Stopped:
        def __index__(self) -> int:
            raise KeyboardInterrupt

        def __float__(self) -> float:
            raise KeyboardInterrupt

        def __fspath__(self) -> str:
            raise KeyboardInterrupt

    stopped: Any = Stopped()
    labels: Any = mobilebert.TextClassification(MODELS / "sentiment")
    for option in ("top_k", "threshold", "timeout"):
        with pytest.raises(KeyboardInterrupt):
            labels.classify("a joy", **{option: stopped})
    tools: Any = mobilebert
    with pytest.raises(KeyboardInterrupt):
        tools.convert(stopped, "folder")


def test_names_that_are_no_options() -> None:
    labels: Any = mobilebert.TextClassification(MODELS / "sentiment")
    for name in ("topk", "", "\ud800", "top_k "):
        with pytest.raises(TypeError, match="there is no option"):
            labels.classify("a joy", **{name: 1})
    numbers: Any = {5: 1}
    with pytest.raises(TypeError, match="keywords must be strings"):
        labels.classify("a joy", **numbers)


def test_a_loaded_model_is_not_opened_a_second_time() -> None:
    options: dict[str, Any] = {
        "threads": 1,
        "precision": "f32",
        "special_tokens_in_text": False,
    }
    classes = {
        mobilebert.QuestionAnswering: QA,
        mobilebert.TextClassification: MODELS / "sentiment",
        mobilebert.TokenClassification: NER,
        mobilebert.FillMask: FILL,
        mobilebert.Embedder: NER,
    }
    calls: list[tuple[Callable[..., Any], mobilebert.Model]] = [
        (kind, mobilebert.Model(path)) for kind, path in classes.items()
    ]
    calls += [
        (lambda model, task=task, **k: mobilebert.pipeline(task, model, **k), mobilebert.Model(path))
        for task, path in PIPELINES.items()
    ]
    for call, model in calls:
        for name, value in options.items():
            with pytest.raises(mobilebert.MobileBertError, match="nothing beside a Model") as raised:
                call(model, **{name: value})
            assert (raised.value.code, raised.value.place) == ("option", name)
        # True is what the model may have been loaded without.
        with pytest.raises(mobilebert.MobileBertError):
            call(model, special_tokens_in_text=True)
        call(model, **dict.fromkeys(options))


def test_what_may_name_a_model_is_said_where_it_may() -> None:
    given: Any = mobilebert
    model, qa = mobilebert.Model(QA), " or a Model"
    with pytest.raises(TypeError, match=qa):
        given.QuestionAnswering(5)
    calls: list[Callable[[], object]] = [
        lambda: given.Model(model),
        lambda: given.Model(5),
        lambda: given.convert(model, "folder"),
        lambda: given.quantize(model, "folder"),
        lambda: given.evaluate(model, "classify", DATA),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="expected a name") as raised:
            call()
        assert qa not in str(raised.value)
