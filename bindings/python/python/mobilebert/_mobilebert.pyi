"""The native module."""

from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, final, overload

import numpy
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from ._results import Answer, AnswersWithin, Classification, Embeddings, Entity, Fill

__all__ = [
    "ERROR_CODES",
    "Context",
    "Embedder",
    "FillMask",
    "Model",
    "QuestionAnswering",
    "TextClassification",
    "TokenClassification",
    "_Numbers",
    "__version__",
    "convert",
    "evaluate",
    "quantize",
]

__version__: str
ERROR_CODES: tuple[str, ...]

class _ArrowArray(Protocol):
    def __arrow_c_array__(self, requested_schema: object | None = None, /) -> tuple[object, object]: ...

class _ArrowStream(Protocol):
    def __arrow_c_stream__(self, requested_schema: object | None = None, /) -> object: ...

_Path: TypeAlias = str | PathLike[str]
_ModelSource: TypeAlias = _Path | Mapping[str, bytes] | Model
_Texts: TypeAlias = Iterable[str | None] | _ArrowArray | _ArrowStream
_Progress: TypeAlias = Callable[[int, int], object]
_ToolProgress: TypeAlias = Callable[[str, int, int], object]
_OnNull: TypeAlias = Literal["error", "skip"]
_Precision: TypeAlias = Literal["int8", "bf16", "f32"]
_Function: TypeAlias = Literal["auto", "softmax", "sigmoid", "none"]
_LongText: TypeAlias = Literal["truncate", "windows-mean", "windows-max", "refuse"]
_Strategy: TypeAlias = Literal["none", "simple", "first", "average", "max"]
_Pooling: TypeAlias = Literal["mean", "cls", "max", "mean_sqrt_len", "weighted_mean", "last_token"]
_Self = TypeVar("_Self")

@final
class _Numbers:
    @property
    def __array_interface__(self) -> dict[str, Any]: ...

@final
class Model:
    def __new__(
        cls,
        model: _ModelSource,
        *,
        task: str | None = None,
        threads: int | None = None,
        precision: _Precision | None = None,
        special_tokens_in_text: bool | None = None,
    ) -> Model: ...
    @property
    def name(self) -> str: ...
    @property
    def task(self) -> str | None: ...
    @property
    def labels(self) -> list[str]: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def max_length(self) -> int: ...
    @property
    def threads(self) -> int: ...
    @property
    def precision(self) -> str: ...
    @property
    def kernel(self) -> str: ...

@final
class Context:
    @property
    def text(self) -> str: ...

@disjoint_base
class QuestionAnswering:
    def __new__(
        cls: type[_Self],
        model: _ModelSource | None = None,
        *,
        threads: int | None = None,
        precision: _Precision | None = None,
        special_tokens_in_text: bool | None = None,
        **options: Any,
    ) -> _Self: ...
    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]: ...
    @property
    def model(self) -> Model: ...
    @property
    def options(self) -> dict[str, Any]: ...
    def prepare(self, context: str) -> Context: ...
    @overload
    def answer(
        self,
        question: str,
        context: str | Context,
        *,
        timeout: float | None = None,
        progress: _Progress | None = None,
        on_null: _OnNull = "error",
        **options: Any,
    ) -> Answer: ...
    @overload
    def answer(
        self,
        question: _Texts,
        context: Context | _Texts,
        *,
        timeout: float | None = None,
        progress: _Progress | None = None,
        on_null: _OnNull = "error",
        **options: Any,
    ) -> list[Answer]: ...
    @overload
    def answers(
        self,
        question: str,
        context: str | Context,
        *,
        timeout: float | None = None,
        progress: _Progress | None = None,
        on_null: _OnNull = "error",
        **options: Any,
    ) -> list[Answer]: ...
    @overload
    def answers(
        self,
        question: _Texts,
        context: Context | _Texts,
        *,
        timeout: float | None = None,
        progress: _Progress | None = None,
        on_null: _OnNull = "error",
        **options: Any,
    ) -> list[list[Answer]]: ...
    def answers_within(
        self,
        question: str,
        context: str | Context,
        *,
        most_windows: int | None = None,
        timeout: float | None = None,
        progress: _Progress | None = None,
        **options: Any,
    ) -> AnswersWithin: ...

@disjoint_base
class TextClassification:
    def __new__(
        cls: type[_Self],
        model: _ModelSource | None = None,
        *,
        threads: int | None = None,
        precision: _Precision | None = None,
        special_tokens_in_text: bool | None = None,
        **options: Any,
    ) -> _Self: ...
    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]: ...
    @property
    def model(self) -> Model: ...
    @property
    def options(self) -> dict[str, Any]: ...
    @property
    def labels(self) -> list[str]: ...
    @overload
    def classify(
        self,
        texts: str,
        text_pair: str | None = None,
        *,
        timeout: float | None = None,
        progress: _Progress | None = None,
        on_null: _OnNull = "error",
        **options: Any,
    ) -> Classification: ...
    @overload
    def classify(
        self,
        texts: _Texts,
        text_pair: _Texts | None = None,
        *,
        timeout: float | None = None,
        progress: _Progress | None = None,
        on_null: _OnNull = "error",
        **options: Any,
    ) -> list[Classification]: ...

@disjoint_base
class TokenClassification:
    def __new__(
        cls: type[_Self],
        model: _ModelSource,
        *,
        threads: int | None = None,
        precision: _Precision | None = None,
        special_tokens_in_text: bool | None = None,
        **options: Any,
    ) -> _Self: ...
    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]: ...
    @property
    def model(self) -> Model: ...
    @property
    def options(self) -> dict[str, Any]: ...
    @overload
    def tag(
        self,
        texts: str,
        *,
        timeout: float | None = None,
        progress: _Progress | None = None,
        on_null: _OnNull = "error",
        **options: Any,
    ) -> list[Entity]: ...
    @overload
    def tag(
        self,
        texts: _Texts,
        *,
        timeout: float | None = None,
        progress: _Progress | None = None,
        on_null: _OnNull = "error",
        **options: Any,
    ) -> list[list[Entity]]: ...

@disjoint_base
class FillMask:
    def __new__(
        cls: type[_Self],
        model: _ModelSource,
        *,
        threads: int | None = None,
        precision: _Precision | None = None,
        special_tokens_in_text: bool | None = None,
        **options: Any,
    ) -> _Self: ...
    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]: ...
    @property
    def model(self) -> Model: ...
    @property
    def options(self) -> dict[str, Any]: ...
    @property
    def mask_token(self) -> str: ...
    @overload
    def fill(
        self,
        texts: str,
        *,
        timeout: float | None = None,
        progress: _Progress | None = None,
        on_null: _OnNull = "error",
        **options: Any,
    ) -> list[list[Fill]]: ...
    @overload
    def fill(
        self,
        texts: _Texts,
        *,
        timeout: float | None = None,
        progress: _Progress | None = None,
        on_null: _OnNull = "error",
        **options: Any,
    ) -> list[list[list[Fill]]]: ...

@disjoint_base
class Embedder:
    def __new__(
        cls: type[_Self],
        model: _ModelSource,
        *,
        threads: int | None = None,
        precision: _Precision | None = None,
        special_tokens_in_text: bool | None = None,
        **options: Any,
    ) -> _Self: ...
    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]: ...
    @property
    def model(self) -> Model: ...
    @property
    def options(self) -> dict[str, Any]: ...
    @property
    def dimensions(self) -> int: ...
    @property
    def is_trained_for_embeddings(self) -> bool: ...
    def vectors(
        self,
        texts: _Texts,
        *,
        timeout: float | None = None,
        progress: _Progress | None = None,
        on_null: _OnNull = "error",
        **options: Any,
    ) -> Embeddings: ...
    @overload
    def token_states(
        self,
        texts: str,
        *,
        timeout: float | None = None,
        progress: _Progress | None = None,
        on_null: _OnNull = "error",
        **options: Any,
    ) -> NDArray[numpy.float32]: ...
    @overload
    def token_states(
        self,
        texts: _Texts,
        *,
        timeout: float | None = None,
        progress: _Progress | None = None,
        on_null: _OnNull = "error",
        **options: Any,
    ) -> list[NDArray[numpy.float32]]: ...

def convert(
    source: _Path,
    destination: _Path,
    *,
    verify: bool = False,
    force: bool = False,
    config: _Path | None = None,
    vocab: _Path | None = None,
    progress: _ToolProgress | None = None,
) -> dict[str, Any]: ...
def quantize(
    source: _Path,
    destination: _Path,
    *,
    bits: Literal[8, 4] = 8,
    scales: Literal["max", "error"] | None = None,
    task: str | None = None,
    data: _Path | None = None,
    max_drop: float | None = None,
    limit: int | None = None,
    max_f32_modules: int | None = None,
    threads: int | None = None,
    progress: _ToolProgress | None = None,
) -> dict[str, Any]: ...
def evaluate(
    model: _Path,
    task: str,
    data: _Path,
    *,
    limit: int | None = None,
    threads: int | None = None,
    precision: _Precision | None = None,
    progress: _ToolProgress | None = None,
) -> dict[str, Any]: ...
