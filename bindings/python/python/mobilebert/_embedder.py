"""The embedder, with the methods that users of sentence-transformers and fastembed know."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from . import _mobilebert
from ._arguments import flag, number

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

__all__ = ["Embedder"]


class Embedder(_mobilebert.Embedder):
    """Turns texts into vectors. Any model will do, because its head is not loaded.

    >>> from mobilebert import Embedder
    >>> embedder = Embedder("embed")
    >>> embedder.encode(["How old are you?", "What is your age?"]).shape
    (2, 384)

    Args:
        model: a name (``"qa"``, ``"sentiment"``, ``"ner"``, ``"embed"``, a hub id), the path of a folder, a
            dictionary of file names and bytes, or a `Model`.
        threads: the number of threads of each call; all cores that the process may use by default. With 1, a
            call runs on the thread that makes it. Results do not depend on it.
        precision: ``"int8"``, ``"bf16"`` or ``"f32"``; that of the stored weights by default.
        special_tokens_in_text: false if ``[SEP]`` and the like in a text are plain characters, as is right
            for texts of strangers. Beside a `Model`, this and the two above are refused.
        options: options of all calls that bring none: ``pooling`` (``"mean"``, ``"cls"``, ``"max"``,
            ``"mean_sqrt_len"``, ``"weighted_mean"``, ``"last_token"``), ``normalize`` and ``max_seq_len``. A
            folder of sentence-transformers brings its own.

    Raises:
        ModelNotFound: there is no model of this name, or its folder lacks a file.
        MobileBertError: the files are damaged, or an option has a value that it cannot have.
        TypeError: there is no such option.
    """

    def encode(
        self,
        sentences: Any,
        *,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        convert_to_numpy: bool = True,
        normalize_embeddings: bool | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> Any:
        """Returns vectors as ``SentenceTransformer.encode`` does.

        One text gives an array of one dimension; a list, or a column of a table, gives ``float32 [n, dim]``.

        Args:
            sentences: a text, a list of texts, or a column of a table.
            batch_size: accepted, and without effect: the engine chooses the sizes of its passes, and results
                do not depend on them.
            show_progress_bar: shows a bar if ``tqdm`` is installed.
            convert_to_numpy: false gives a list of arrays.
            normalize_embeddings: whether vectors are scaled to length 1. Without it, the embedder's own option
                decides, which is set unless the model or the caller says otherwise.
            timeout: seconds after which `DeadlineExceeded` is raised.
            options: the embedder's options for this call.
        """
        number("batch_size", batch_size)
        to_numpy = flag("convert_to_numpy", convert_to_numpy)
        if normalize_embeddings is not None:
            options["normalize"] = flag("normalize_embeddings", normalize_embeddings)
        is_shown = show_progress_bar is not None and flag("show_progress_bar", show_progress_bar)
        with _Bar(is_shown) as bar:
            found = self.vectors(sentences, timeout=timeout, progress=bar.progress, **options).array
        return found if to_numpy or found.ndim == 1 else list(found)

    def embed(
        self,
        documents: str | Iterable[str],
        batch_size: int = 256,
        parallel: int | None = None,
        **options: Any,
    ) -> Iterator[NDArray[numpy.float32]]:
        """Yields a vector for each document, as ``TextEmbedding.embed`` of fastembed does.

        Documents are read ``batch_size`` at a time, as vectors are asked for, so neither they nor the vectors
        have to fit in memory.

        Args:
            documents: a text, anything that gives texts one after another, or a column of a table.
            batch_size: how many documents are read at a time. It cannot change results.
            parallel: accepted, and without effect: the engine uses all threads it was given.
            options: the embedder's options for this call.
        """
        size = number("batch_size", batch_size)
        if parallel is not None:
            number("parallel", parallel, least=-1)
        return self._embed(documents, size, options)

    def _embed(self, documents: Any, batch_size: int, options: dict[str, Any]) -> Iterator[Any]:
        if isinstance(documents, str):
            documents = [documents]
        if hasattr(documents, "__arrow_c_stream__") or hasattr(documents, "__arrow_c_array__"):
            # A column is in memory already, and its texts are read in place.
            yield from self.vectors(documents, **options).array
            return
        rest = iter(documents)
        while batch := list(itertools.islice(rest, batch_size)):
            yield from self.vectors(batch, **options).array


class _Bar:
    """A progress bar, or nothing if it is not wanted or ``tqdm`` is not installed."""

    progress: Callable[[int, int], object] | None = None

    def __init__(self, wanted: bool) -> None:
        self._bar: Any = None
        if not wanted:
            return
        try:
            from tqdm.auto import tqdm
        except ImportError:
            return
        self._bar = tqdm(desc="Texts", unit=" texts")
        self.progress = self._show

    def _show(self, done: int, total: int) -> None:
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
