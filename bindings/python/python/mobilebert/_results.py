"""The typed results of the classes.

``start`` and ``end`` count code points, as Python's slices do: ``context[a.start:a.end] == a.answer``. The
same piece in bytes of UTF-8 and in UTF-16 units (JavaScript, Java) is ``byte_span`` and ``utf16_span``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    _Unit = Literal["char", "byte", "utf16"]

__all__ = ["Answer", "AnswerPlace", "Classification", "Embeddings", "Entity", "Fill", "LabelScore"]


class _Piece:
    """A piece of a text."""

    __slots__ = ()

    start: int
    end: int
    byte_span: tuple[int, int]
    utf16_span: tuple[int, int]

    def span(self, unit: _Unit = "char") -> tuple[int, int]:
        """Returns start and end in ``"char"`` (code points), ``"byte"`` (UTF-8) or ``"utf16"``."""
        if unit == "char":
            return self.start, self.end
        if unit == "byte":
            return self.byte_span
        if unit == "utf16":
            return self.utf16_span
        raise ValueError(f"unit is {unit!r}; expected 'char', 'byte' or 'utf16'")


@dataclass(frozen=True, slots=True)
class AnswerPlace(_Piece):
    """One more place of an answer in its context."""

    #: This place's part of the answer's score.
    score: float
    start: int
    end: int
    byte_span: tuple[int, int]
    utf16_span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Answer(_Piece):
    """An answer: a piece of the context, or empty if the context does not say."""

    answer: str
    #: A share among the places of the context; see the option ``null_competes``.
    score: float
    start: int
    end: int
    byte_span: tuple[int, int]
    utf16_span: tuple[int, int]
    #: Other places with the same text, best first.
    others: tuple[AnswerPlace, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Returns the dictionary of ``transformers``' pipeline."""
        return {"score": self.score, "start": self.start, "end": self.end, "answer": self.answer}


@dataclass(frozen=True, slots=True)
class LabelScore:
    """A label and its score."""

    label: str
    score: float

    def as_dict(self) -> dict[str, Any]:
        """Returns the dictionary of ``transformers``' pipeline."""
        return {"label": self.label, "score": self.score}


@dataclass(frozen=True, slots=True)
class Classification:
    """The labels of one text, best first."""

    labels: tuple[LabelScore, ...]
    #: True if the end of the text was not read because it did not fit the model.
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
    """A labelled piece of a text."""

    label: str
    score: float
    #: The piece of the text.
    word: str
    start: int
    end: int
    byte_span: tuple[int, int]
    utf16_span: tuple[int, int]
    #: True if tokens were joined.
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
    """A word for a mask."""

    #: The text with the word in the mask's place.
    sequence: str
    score: float
    #: The word's id in the vocabulary.
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
    """Vectors of texts."""

    #: ``float32``: one row a text, or one dimension for a single text. NumPy reads the engine's memory.
    array: NDArray[numpy.float32]
    #: Whether the end of a text was not read because it did not fit the model: a flag for each text, or one
    #: for a single text.
    truncated: tuple[bool, ...] | bool
