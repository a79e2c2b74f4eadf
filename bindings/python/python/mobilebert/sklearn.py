"""A transformer for scikit-learn. Importing this module imports scikit-learn, and nothing else does.

>>> from mobilebert.sklearn import MobileBertVectorizer
>>> MobileBertVectorizer().fit_transform(["a joy to watch", "two hours of nothing"]).shape
(2, 384)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin

from ._embedder import Embedder

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray
    from typing_extensions import Self

__all__ = ["MobileBertVectorizer"]


class MobileBertVectorizer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turns texts into vectors, in a ``Pipeline`` or alone.

    There is nothing to fit. Pickles hold the model's name and the options, not the weights, so that a search
    over parameters may send them to its processes; each process loads the model when it first transforms.

    Args:
        model: a name, the path of a folder, or what else `mobilebert.Embedder` takes; the built-in model of
            vectors by default. To be pickled it has to be a name or a path.
        pooling: how hidden states become one vector; the model's own way by default.
        normalize: whether vectors have length 1; the model's own way by default.
        max_seq_len: the longest sequence in tokens; the model's limit by default.
        threads: the number of threads; all cores by default. 1 fits a search that runs processes side by
            side.
        precision: ``"int8"``, ``"bf16"`` or ``"f32"``; that of the stored weights by default.
    """

    def __init__(
        self,
        model: Any = "embed",
        *,
        pooling: str | None = None,
        normalize: bool | None = None,
        max_seq_len: int | None = None,
        threads: int | None = None,
        precision: Any = None,
    ) -> None:
        self.model = model
        self.pooling = pooling
        self.normalize = normalize
        self.max_seq_len = max_seq_len
        self.threads = threads
        self.precision = precision

    def fit(self, X: Any, y: Any = None) -> Self:
        """Does nothing but check that the texts are a list."""
        _check(X)
        return self

    def transform(self, X: Any) -> NDArray[numpy.float32]:
        """Returns ``float32 [n, dim]``."""
        _check(X)
        return self._embedder().vectors(X).array

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.target_tags.required = False
        tags.requires_fit = False
        return tags

    @property
    def _n_features_out(self) -> int:
        return self._embedder().dimensions

    def _embedder(self) -> Embedder:
        """Loads the model when it is first needed, and again when a parameter has changed."""
        parameters = self.get_params(deep=False)
        loaded = self.__dict__.get("_loaded")
        if loaded is None or loaded[0] != parameters:
            options = {name: parameters[name] for name in ("pooling", "normalize", "max_seq_len")}
            options = {name: value for name, value in options.items() if value is not None}
            embedder = Embedder(self.model, threads=self.threads, precision=self.precision, **options)
            self._loaded = loaded = (parameters, embedder)
        return loaded[1]

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_loaded", None)
        return state


def _check(texts: Any) -> None:
    if isinstance(texts, (str, bytes)):
        raise ValueError(f"X is {type(texts).__name__}; expected a list of texts")
    shape = getattr(texts, "shape", None)
    if shape is not None and len(shape) != 1:
        raise ValueError(
            f"X has the shape {tuple(shape)}; expected one dimension of texts, such as one column"
        )
