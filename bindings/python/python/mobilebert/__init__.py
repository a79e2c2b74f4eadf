"""A compact BERT engine: answers, labels, entities, words and vectors without a framework."""

from __future__ import annotations

from ._errors import (
    DeadlineExceeded,
    EmptyText,
    InvalidText,
    MobileBertError,
    ModelNotFound,
    TooLong,
    WrongTask,
)
from ._mobilebert import (
    ERROR_CODES,
    Context,
    Embedder,
    FillMask,
    Model,
    QuestionAnswering,
    TextClassification,
    TokenClassification,
    __version__,
    convert,
    evaluate,
    quantize,
)
from ._results import Answer, AnswerPlace, Classification, Embeddings, Entity, Fill, LabelScore

__all__ = [
    "ERROR_CODES",
    "Answer",
    "AnswerPlace",
    "Classification",
    "Context",
    "DeadlineExceeded",
    "Embedder",
    "Embeddings",
    "EmptyText",
    "Entity",
    "Fill",
    "FillMask",
    "InvalidText",
    "LabelScore",
    "MobileBertError",
    "Model",
    "ModelNotFound",
    "QuestionAnswering",
    "TextClassification",
    "TokenClassification",
    "TooLong",
    "WrongTask",
    "__version__",
    "convert",
    "evaluate",
    "quantize",
]
