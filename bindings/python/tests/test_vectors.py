"""The vectors of `bindings/vectors`: results that every binding must give, floats to the bit."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

import mobilebert

ROOT = Path(__file__).resolve().parents[3]
VECTORS = ROOT / "bindings" / "vectors"
KNOWN = {"answers", "classify", "embed", "errors", "fill", "tag", "text", "within"}
CLASSES = {
    "answers": mobilebert.QuestionAnswering,
    "answers_within": mobilebert.QuestionAnswering,
    "classify": mobilebert.TextClassification,
    "tag": mobilebert.TokenClassification,
    "fill": mobilebert.FillMask,
    "embed": mobilebert.Embedder,
    "states": mobilebert.Embedder,
}

pytestmark = pytest.mark.skipif(not VECTORS.is_dir(), reason="SKIPPED: the vectors are in a checkout only")


def files() -> list[Path]:
    return sorted(VECTORS.glob("*.json"))


def test_every_file_is_known() -> None:
    assert {path.stem for path in files()} == KNOWN


def cases() -> list[Any]:
    found = []
    for path in files():
        content = json.loads(path.read_text(encoding="utf-8"))
        for number, case in enumerate(content["cases"]):
            found.append(pytest.param(content["model"], case, id=f"{path.stem}-{number}-{case['op']}"))
    return found


_opened: dict[tuple[str, str], Any] = {}


def opened(op: str, model: str) -> Any:
    key = (op, model)
    if key not in _opened:
        _opened[key] = CLASSES[op](ROOT / model)
    return _opened[key]


@pytest.mark.parametrize(("model", "case"), cases())
def test_vector(model: str, case: dict[str, Any]) -> None:
    op, options, given, expect = case["op"], case["options"], case["input"], case["expect"]
    if op in ("text", "offsets"):
        check_text(op, given, expect)
        return
    if "error" in expect:
        check_error(lambda: call(op, opened(op, model), given, options), expect["error"])
        return
    found = call(op, opened(op, model), given, options)
    if "results" in expect:
        assert [written(op, item) for item in found] == expect["results"]
    else:
        assert written(op, found) == expect["result"]


def call(op: str, pipeline: Any, given: dict[str, Any], options: dict[str, Any]) -> Any:
    texts = given.get("text", given.get("texts"))
    if op == "answers":
        questions = given.get("question", given.get("questions"))
        contexts = given.get("context", given.get("contexts"))
        return pipeline.answers(questions, contexts, **options)
    if op == "answers_within":
        return pipeline.answers_within(**given, **options)
    if op == "classify":
        return pipeline.classify(texts, given.get("text_pair", given.get("text_pairs")), **options)
    if op == "tag":
        return pipeline.tag(texts, **options)
    if op == "fill":
        return pipeline.fill(texts, **options)
    if op == "states":
        return pipeline.token_states(texts, **options)
    found = pipeline.vectors(texts, **options)
    if isinstance(texts, str):
        return found.array, found.truncated
    return list(zip(found.array, found.truncated, strict=True))


def bits(value: float) -> str:
    return struct.pack(">f", value).hex()


def number(value: float) -> dict[str, Any]:
    """Writes a float as the vectors do; the decimal is compared after rounding to f32."""
    return {"bits": bits(value), "decimal": pytest.approx(value, rel=1e-6, abs=1e-30)}


def numbers(values: Any) -> dict[str, Any]:
    values = [float(value) for value in values]
    return {"bits": [bits(v) for v in values], "decimal": pytest.approx(values, rel=1e-6, abs=1e-30)}


def place(found: Any) -> dict[str, Any]:
    return {unit: list(found.span(unit)) for unit in ("byte", "char", "utf16")}


def written(op: str, found: Any) -> Any:
    if op == "answers":
        return [
            {
                "answer": a.answer,
                "score": number(a.score),
                "place": place(a),
                "others": [{"score": number(o.score), "place": place(o)} for o in a.others],
            }
            for a in found
        ]
    if op == "answers_within":
        return {
            "answers": written("answers", found.answers),
            "windows": found.windows,
            "windows_read": found.windows_read,
            "unread": [place(part) for part in found.unread],
        }
    if op == "classify":
        labels = [{"label": label.label, "score": number(label.score)} for label in found.labels]
        return {"labels": labels, "truncated": found.truncated}
    if op == "tag":
        return [
            {
                "label": e.label,
                "grouped": e.grouped,
                "score": number(e.score),
                "word": e.word,
                "place": place(e),
            }
            for e in found
        ]
    if op == "fill":
        return [
            [
                {
                    "sequence": fill.sequence,
                    "score": number(fill.score),
                    "token": fill.token,
                    "token_str": fill.token_str,
                }
                for fill in mask
            ]
            for mask in found
        ]
    if op == "states":
        # A binding hands out the matrix; whether a text was cut is known to `vectors`.
        return Rows([numbers(row) for row in found])
    array, truncated = found
    return {"embedding": numbers(array), "truncated": truncated}


class Rows:
    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __eq__(self, other: object) -> bool:
        return isinstance(other, dict) and self.rows == other["states"]


def check_error(run: Any, expect: dict[str, Any]) -> None:
    if expect["code"] == "unknown_option":
        with pytest.raises(TypeError) as unexpected:
            run()
        assert str(unexpected.value) == expect["message"]
        return
    with pytest.raises(mobilebert.MobileBertError) as raised:
        run()
    error = raised.value
    assert (error.code, str(error), error.place) == (expect["code"], expect["message"], expect["place"])
    assert error.index == expect.get("index")
    assert error.code in mobilebert.ERROR_CODES
    position = expect.get("position", {"byte": None, "char": None, "utf16": None})
    assert error.position == position["char"]
    assert (error.byte_position, error.utf16_position) == (position["byte"], position["utf16"])


def check_text(op: str, given: dict[str, Any], expect: dict[str, Any]) -> None:
    if op == "offsets":
        if "error" in expect:
            return  # Python's callers never pass offsets in.
        text = given["text"]
        for unit, size in (("char", 4), ("utf16", 2)):
            encoding = {4: "utf-32-le", 2: "utf-16-le"}[size]
            found = [len(text.encode()[:b].decode().encode(encoding)) // size for b in given["byte"]]
            assert found == expect[unit]
        return
    units = struct.pack(f"<{len(given['utf16'])}H", *given["utf16"])
    text = units.decode("utf-16-le", "surrogatepass")
    pipeline = opened("classify", "models/sentiment")
    if "error" in expect:
        check_error(lambda: pipeline.classify(text), expect["error"])
    else:
        assert text == expect["text"]
        assert pipeline.classify(text) == pipeline.classify([text])[0]
