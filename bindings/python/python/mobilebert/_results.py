"""The typed results of the classes.

``start`` and ``end`` count code points, as Python's slices do: ``context[a.start:a.end] == a.answer``. The
same piece in bytes of UTF-8 and in UTF-16 units (JavaScript, Java) is ``byte_span`` and ``utf16_span``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ._arguments import wrong

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    _Unit = Literal["char", "byte", "utf16"]

__all__ = [
    "Answer",
    "AnswerPlace",
    "AnswersWithin",
    "Classification",
    "Embeddings",
    "Entity",
    "Fill",
    "LabelScore",
    "UnreadPart",
]


class _Piece:
    """A piece of a text."""

    __slots__ = ()

    start: int
    end: int
    byte_span: tuple[int, int]
    utf16_span: tuple[int, int]

    def span(self, unit: _Unit = "char") -> tuple[int, int]:
        """Returns start and end.

        Args:
            unit: ``"char"`` (code points), ``"byte"`` (of UTF-8) or ``"utf16"`` (units of JavaScript and Java).
        """
        if unit == "char":
            return self.start, self.end
        if unit == "byte":
            return self.byte_span
        if unit == "utf16":
            return self.utf16_span
        raise wrong("unit", "`char`, `byte` or `utf16`", unit)


@dataclass(frozen=True, slots=True)
class AnswerPlace(_Piece):
    """One more place of an answer in its context.

    Attributes:
        score: this place's part of the answer's score.
        start: the number of code points before it.
        end: the number of code points up to its end.
        byte_span: start and end in bytes of UTF-8.
        utf16_span: start and end in UTF-16 units.
    """

    score: float
    start: int
    end: int
    byte_span: tuple[int, int]
    utf16_span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Answer(_Piece):
    """An answer: a piece of the context, or empty if the context does not say.

    Attributes:
        answer: the text of the answer.
        score: its share among the places of the context, from 0 to 1; see the option ``null_competes``.
        start: the number of code points of the context before it: ``context[start:end] == answer``.
        end: the number of code points up to its end.
        byte_span: start and end in bytes of UTF-8.
        utf16_span: start and end in UTF-16 units.
        others: the other places with the same text, best first, as `AnswerPlace`.
    """

    answer: str
    score: float
    start: int
    end: int
    byte_span: tuple[int, int]
    utf16_span: tuple[int, int]
    others: tuple[AnswerPlace, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Returns the dictionary of ``transformers``' pipeline."""
        return {"score": self.score, "start": self.start, "end": self.end, "answer": self.answer}


@dataclass(frozen=True, slots=True)
class UnreadPart(_Piece):
    """A part of a context that was not read.

    Attributes:
        start: the number of code points before it.
        end: the number of code points up to its end.
        byte_span: start and end in bytes of UTF-8.
        utf16_span: start and end in UTF-16 units.
    """

    start: int
    end: int
    byte_span: tuple[int, int]
    utf16_span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class AnswersWithin:
    """The answers in the part of a context that was read.

    Attributes:
        answers: the best answers in the windows that were read, best first. Their scores are shares among
            these windows.
        windows: the number of windows of the context.
        windows_read: the number of windows that were read.
        unread: the parts of the context that no window that was read holds, as `UnreadPart`, in their order.
    """

    answers: list[Answer]
    windows: int
    windows_read: int
    unread: tuple[UnreadPart, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelScore:
    """A label and its score.

    Attributes:
        label: the name of the label.
        score: from 0 to 1, unless ``function_to_apply`` is ``"none"``.
    """

    label: str
    score: float

    def as_dict(self) -> dict[str, Any]:
        """Returns the dictionary of ``transformers``' pipeline."""
        return {"label": self.label, "score": self.score}


@dataclass(frozen=True, slots=True)
class Classification:
    """The labels of one text.

    Attributes:
        labels: the labels with their scores, best first, as `LabelScore`.
        truncated: true if the end of the text was not read because it did not fit the model.
    """

    labels: tuple[LabelScore, ...]
    truncated: bool

    @property
    def best(self) -> LabelScore | None:
        """The best label, or ``None`` if none reached the threshold."""
        return self.labels[0] if self.labels else None

    @property
    def label(self) -> str | None:
        """The name of the best label."""
        return self.labels[0].label if self.labels else None

    @property
    def score(self) -> float | None:
        """The score of the best label."""
        return self.labels[0].score if self.labels else None


@dataclass(frozen=True, slots=True)
class Entity(_Piece):
    """A labelled piece of a text.

    Attributes:
        label: the name of the label.
        score: the model's certainty, from 0 to 1.
        word: the piece of the text.
        start: the number of code points of the text before it: ``text[start:end] == word``.
        end: the number of code points up to its end.
        byte_span: start and end in bytes of UTF-8.
        utf16_span: start and end in UTF-16 units.
        grouped: true if tokens were joined to an entity.
    """

    label: str
    score: float
    word: str
    start: int
    end: int
    byte_span: tuple[int, int]
    utf16_span: tuple[int, int]
    grouped: bool

    def as_dict(self) -> dict[str, Any]:
        """Returns the dictionary of ``transformers``' pipeline."""
        return {
            "entity_group" if self.grouped else "entity": self.label,
            "score": self.score,
            "word": self.word,
            "start": self.start,
            "end": self.end,
        }


@dataclass(frozen=True, slots=True)
class Fill:
    """A word for a mask.

    Attributes:
        sequence: the text with the word in the mask's place.
        score: the word's share, from 0 to 1.
        token: the word's id in the vocabulary.
        token_str: the word.
    """

    sequence: str
    score: float
    token: int
    token_str: str

    def as_dict(self) -> dict[str, Any]:
        """Returns the dictionary of ``transformers``' pipeline."""
        return {
            "score": self.score,
            "token": self.token,
            "token_str": self.token_str,
            "sequence": self.sequence,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Vectors of texts.

    Attributes:
        array: ``float32 [n, dim]``, or of one dimension for a single text. NumPy reads the engine's memory.
        truncated: whether the end of a text was not read because it did not fit the model: a flag for each text,
            or one for a single text.
    """

    array: NDArray[numpy.float32]
    truncated: tuple[bool, ...] | bool
