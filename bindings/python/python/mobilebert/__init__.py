"""A compact BERT engine: answers, labels, entities, words and vectors without a framework."""

from __future__ import annotations

from ._embedder import Embedder
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
from ._pipeline import Pipeline, pipeline
from ._results import (
    Answer,
    AnswerPlace,
    AnswersWithin,
    Classification,
    Embeddings,
    Entity,
    Fill,
    LabelScore,
    UnreadPart,
)

__all__ = [
    "ERROR_CODES",
    "Answer",
    "AnswerPlace",
    "AnswersWithin",
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
    "Pipeline",
    "QuestionAnswering",
    "TextClassification",
    "TokenClassification",
    "TooLong",
    "UnreadPart",
    "WrongTask",
    "__version__",
    "convert",
    "evaluate",
    "pipeline",
    "quantize",
]

Embedder.__module__ = Pipeline.__module__ = pipeline.__module__ = __name__
