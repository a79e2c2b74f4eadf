"""Pipelines that are called as those of ``transformers``, and return what those return."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from types import GeneratorType
from typing import Any, cast

from ._arguments import flag, number, wrong
from ._embedder import Embedder
from ._mobilebert import (
    FillMask,
    Model,
    QuestionAnswering,
    TextClassification,
    TokenClassification,
)

__all__ = ["Pipeline", "pipeline"]

#: What takes the place of an argument that was not given, where ``None`` means something.
_NOT_GIVEN: Any = object()
#: The number of inputs that are read from a generator at a time, unless ``batch_size`` says otherwise.
_READ_AHEAD = 32


class Pipeline:
    """What `pipeline` returns: call it with texts.

    >>> from mobilebert import pipeline
    >>> classify = pipeline("text-classification")
    >>> [found["label"] for found in classify(["a joy", "dull"])]
    ['positive', 'negative']

    A list gives a list. A generator gives an iterator that reads it as results are asked for, ``batch_size``
    inputs at a time. Every call also takes ``timeout`` (seconds), ``progress`` (a function of the number of
    inputs done and of all) and ``on_null`` (``"error"`` or ``"skip"``).
    """

    #: The name of the task in ``transformers``.
    task: str
    #: The object that does the work. Its methods return typed results.
    engine: Any

    #: The options in which the defaults of ``transformers`` differ from those of the engine.
    _defaults: dict[str, Any] = {}
    #: The options that decide about shapes here. Those of the second kind are not the engine's.
    _shaping: tuple[str, ...] = ()
    _own: tuple[str, ...] = ()

    def __init__(
        self, opened: Callable[[dict[str, Any]], Any], options: dict[str, Any], batch_size: int
    ) -> None:
        options = {**self._defaults, **self._named(options)}
        kept = (*self._shaping, *self._own)
        self._options = {name: value for name, value in options.items() if name in kept}
        self._batch_size = batch_size
        self.engine = opened({name: value for name, value in options.items() if name not in self._own})

    @property
    def model(self) -> Model:
        """The loaded model."""
        return cast(Model, self.engine.model)

    def __repr__(self) -> str:
        return f"pipeline({self.task!r}, model={self.model.name!r})"

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Returns the results for one input, for a list of inputs, or for those of a generator."""
        raise NotImplementedError

    def _call(self, inputs: Any, options: dict[str, Any]) -> Any:
        batch_size = _batch_size(options, self._batch_size)
        options = {**self._options, **self._named(options)}
        if isinstance(inputs, GeneratorType):
            return self._stream(inputs, batch_size, options)
        return self._run(inputs, options)

    def _stream(self, inputs: Iterator[Any], batch_size: int, options: dict[str, Any]) -> Iterator[Any]:
        while batch := list(itertools.islice(inputs, batch_size)):
            yield from self._many(batch, options)

    def _run(self, inputs: Any, options: dict[str, Any]) -> Any:
        if isinstance(inputs, (str, Mapping)):
            return self._one(inputs, options)
        return self._many(inputs, options)

    def _named(self, options: dict[str, Any]) -> dict[str, Any]:
        """Gives options the names that the engine has for them."""
        return options

    def _one(self, item: Any, options: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _many(self, items: Any, options: dict[str, Any]) -> list[Any]:
        raise NotImplementedError


class _Answers(Pipeline):
    task = "question-answering"
    _defaults = {"max_answer_len": 15, "null_competes": True, "merge_equal_texts": False}
    _shaping = ("top_k",)

    def __call__(
        self, *args: Any, question: Any = None, context: Any = None, data: Any = None, **options: Any
    ) -> Any:
        """Returns the best answer, or a list of the best if ``top_k`` is more than 1.

        Called with ``question=`` and ``context=``, with both in this order, with a dictionary of both, or
        with a list of dictionaries. As in ``transformers``, a list of one question gives what that question
        alone would give.
        """
        inputs = _questions(args, question, context, data)
        results = self._call(inputs, options)
        # Where rows may be left out, one result says nothing about the number of questions.
        is_list = isinstance(results, list) and not isinstance(inputs, Mapping)
        if is_list and len(results) == 1 and options.get("on_null") != "skip":
            return results[0]
        return results

    def _named(self, options: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in options.items() if name != "padding"}

    def _one(self, item: Any, options: dict[str, Any]) -> Any:
        question, context = _question(item)
        return self._shaped(self.engine.answers(question, context, **options), options)

    def _many(self, items: Any, options: dict[str, Any]) -> list[Any]:
        if isinstance(items, _Columns):
            questions, contexts = items.questions, items.contexts
        else:
            pairs = [_question(item) for item in items]
            questions, contexts = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        found = self.engine.answers(questions, contexts, **options)
        return [self._shaped(answers, options) for answers in found]

    def _shaped(self, answers: list[Any], options: dict[str, Any]) -> Any:
        found = [answer.as_dict() for answer in answers]
        return found[0] if options.get("top_k", 1) == 1 and found else found


class _Columns:
    """Questions and contexts that were given apart, one of them or both as a list."""

    def __init__(self, questions: Any, contexts: Any) -> None:
        self.questions = questions
        self.contexts = contexts


def _questions(args: tuple[Any, ...], question: Any, context: Any, data: Any) -> Any:
    """Finds the questions in the ways in which callers of ``transformers`` give them."""
    if len(args) > 2:
        raise TypeError(f"{len(args)} positional arguments; expected a question and a context")
    if args and isinstance(args[0], str) or len(args) == 2:
        if question is not None or (len(args) == 2 and context is not None):
            raise TypeError("the question or the context is given twice")
        question = args[0]
        context = args[1] if len(args) == 2 else context
    elif args:
        data = args[0] if data is None else _twice("data")
    if data is not None:
        return data if question is None and context is None else _twice("question")
    if question is None or context is None:
        raise TypeError('a question and its context are needed, as in (question="Who?", context="Ada.")')
    if isinstance(question, str):
        return {"question": question, "context": context}
    return _Columns(question, context)


def _twice(name: str) -> Any:
    raise TypeError(f"`{name}` is given in two ways")


def _question(item: Any) -> tuple[Any, Any]:
    if not isinstance(item, Mapping) or set(item) != {"question", "context"}:
        found = f"keys {sorted(item)}" if isinstance(item, Mapping) else type(item).__name__
        raise TypeError(f'an input is {found}; expected a dict of "question" and "context"')
    return item["question"], item["context"]


class _Labels(Pipeline):
    task = "text-classification"
    _shaping = ("top_k",)

    def __call__(self, inputs: Any, *, top_k: Any = _NOT_GIVEN, **options: Any) -> Any:
        """Returns the labels of texts, or of pairs as ``{"text": ..., "text_pair": ...}``.

        The shapes are those of ``transformers``: without ``top_k``, a text gives a list of its best label,
        and a list gives one label for each text. With ``top_k`` in the call, a text gives a list of labels,
        and a list gives a list of lists. ``top_k=None`` means all labels.
        """
        if top_k is not _NOT_GIVEN:
            options["top_k"] = top_k
        found = self._call(inputs, options)
        # The odd one out of the shapes of `transformers`.
        return [found] if isinstance(inputs, str) and top_k is _NOT_GIVEN else found

    def _named(self, options: dict[str, Any]) -> dict[str, Any]:
        options = _tokenizer_options(options)
        if "truncation" in options:
            is_cut = _truncation(options.pop("truncation"))
            options["long_text"] = "truncate" if is_cut else "refuse"
        if options.get("function_to_apply", "") in (None, "default"):
            options["function_to_apply"] = "auto"
        return options

    def _one(self, item: Any, options: dict[str, Any]) -> Any:
        text, pair = _text_and_pair(item)
        return _labels(self.engine.classify(text, pair, **options), options)

    def _many(self, items: Any, options: dict[str, Any]) -> list[Any]:
        if not isinstance(items, list) or not any(isinstance(item, Mapping) for item in items):
            return [_labels(found, options) for found in self.engine.classify(items, **options)]
        rows = [_text_and_pair(item) for item in items]
        pairs = [row for row, (_, pair) in enumerate(rows) if pair is not None]
        if len(pairs) not in (0, len(rows)):
            raise TypeError(
                f'input {pairs[0] + 1} has a "text_pair" and others have none; call once for each kind'
            )
        second = [pair for _, pair in rows] if pairs else None
        found = self.engine.classify([text for text, _ in rows], second, **options)
        return [_labels(labels, options) for labels in found]


def _labels(found: Any, options: dict[str, Any]) -> Any:
    labels = [label.as_dict() for label in found.labels]
    # A threshold may leave no label.
    return labels[0] if "top_k" not in options and labels else labels


def _text_and_pair(item: Any) -> tuple[Any, Any]:
    if not isinstance(item, Mapping):
        return item, None
    if "text" not in item or not set(item) <= {"text", "text_pair"}:
        raise TypeError(f'an input has the keys {sorted(item)}; expected "text" and perhaps "text_pair"')
    return item["text"], item.get("text_pair")


class _Entities(Pipeline):
    task = "token-classification"
    _defaults = {"aggregation_strategy": "none"}

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Returns the labelled tokens of a text, or its entities with another ``aggregation_strategy``."""
        return self._call(inputs, options)

    def _named(self, options: dict[str, Any]) -> dict[str, Any]:
        options = _tokenizer_options(options)
        if "stride" in options:
            options["doc_stride"] = number("stride", options.pop("stride"), least=0)
        strategy = options.get("aggregation_strategy")
        if isinstance(strategy, str):
            options["aggregation_strategy"] = strategy.lower()
        if options.get("ignore_labels", "") is None:
            del options["ignore_labels"]
        return options

    def _one(self, item: Any, options: dict[str, Any]) -> Any:
        return [entity.as_dict() for entity in self.engine.tag(item, **options)]

    def _many(self, items: Any, options: dict[str, Any]) -> list[Any]:
        return [[entity.as_dict() for entity in found] for found in self.engine.tag(items, **options)]


class _Fills(Pipeline):
    task = "fill-mask"

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Returns words for the mask of a text, or a list for each mask if there are several.

        As in ``transformers``, a list of one text gives what that text alone would give.
        """
        found = self._call(inputs, options)
        is_list = isinstance(found, list) and not isinstance(inputs, str)
        return found[0] if is_list and len(found) == 1 and options.get("on_null") != "skip" else found

    def _named(self, options: dict[str, Any]) -> dict[str, Any]:
        options = dict(options)
        if isinstance(options.get("targets"), str):
            options["targets"] = [options["targets"]]
        for name in ("targets", "top_k"):
            if options.get(name, "") is None:
                del options[name]
        return options

    def _one(self, item: Any, options: dict[str, Any]) -> Any:
        return _masks(self.engine.fill(item, **options))

    def _many(self, items: Any, options: dict[str, Any]) -> list[Any]:
        return [_masks(found) for found in self.engine.fill(items, **options)]


def _masks(found: Any) -> Any:
    masks = [[fill.as_dict() for fill in mask] for mask in found]
    return masks[0] if len(masks) == 1 else masks


class _States(Pipeline):
    task = "feature-extraction"
    _own = ("return_tensors",)

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Returns the last hidden states: for a text, ``[1, tokens, hidden]`` as nested lists.

        ``return_tensors=True`` or ``"np"`` gives arrays of NumPy instead.
        """
        return self._call(inputs, options)

    def _named(self, options: dict[str, Any]) -> dict[str, Any]:
        options = dict(options)
        inner = options.pop("tokenize_kwargs", None)
        if inner is not None and not isinstance(inner, Mapping):
            raise wrong("tokenize_kwargs", "a dict of options or None", inner)
        options = _tokenizer_options({**options, **(inner or {})})
        # The end of a longer text is never read; the option says that the caller knows.
        if "truncation" in options:
            _truncation(options.pop("truncation"))
        tensors = options.get("return_tensors")
        if not (
            tensors is None or isinstance(tensors, bool) or (isinstance(tensors, str) and tensors == "np")
        ):
            raise wrong("return_tensors", 'True or "np", which give arrays of NumPy', tensors)
        return options

    def _one(self, item: Any, options: dict[str, Any]) -> Any:
        arrays, options = self._parted(options)
        return self._shaped(self.engine.token_states(item, **options), arrays)

    def _many(self, items: Any, options: dict[str, Any]) -> list[Any]:
        arrays, options = self._parted(options)
        return [self._shaped(states, arrays) for states in self.engine.token_states(items, **options)]

    def _parted(self, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Takes the option that is not the engine's out of the others."""
        others = dict(options)
        return others.pop("return_tensors", False), others

    def _shaped(self, states: Any, arrays: Any) -> Any:
        return states[None] if arrays else [states.tolist()]


def _tokenizer_options(options: dict[str, Any]) -> dict[str, Any]:
    """Takes the options that callers of ``transformers`` pass on to the tokenizer."""
    options = dict(options)
    # Nothing is padded here, so this cannot change results.
    options.pop("padding", None)
    if "max_length" in options:
        longest = options.pop("max_length")
        options["max_seq_len"] = None if longest is None else number("max_length", longest)
    return options


def _truncation(given: Any) -> bool:
    """Returns whether longer texts are cut, from the ways in which callers of ``transformers`` say it."""
    if isinstance(given, str) and given in ("longest_first", "only_first", "do_not_truncate"):
        return given != "do_not_truncate"
    return flag("truncation", given)


def _batch_size(options: dict[str, Any], default: int) -> int:
    given = options.pop("batch_size", None)
    if given is None:
        return default
    return number("batch_size", given)


#: The class behind each task, the engine behind that, and the model if none is named.
_TASKS: dict[str, tuple[type[Pipeline], Callable[..., Any], str | None]] = {
    "question-answering": (_Answers, QuestionAnswering, "qa"),
    "text-classification": (_Labels, TextClassification, "sentiment"),
    "token-classification": (_Entities, TokenClassification, "ner"),
    "fill-mask": (_Fills, FillMask, None),
    "feature-extraction": (_States, Embedder, "embed"),
}
_ALIASES = {"sentiment-analysis": "text-classification", "ner": "token-classification"}


def pipeline(
    task: str | None = None,
    model: Any = None,
    *,
    tokenizer: Any = None,
    device: Any = None,
    batch_size: int | None = None,
    threads: int | None = None,
    precision: Any = None,
    special_tokens_in_text: bool | None = None,
    **options: Any,
) -> Pipeline:
    """Opens a model and returns a function that is called as the pipeline of ``transformers``.

    >>> from mobilebert import pipeline
    >>> qa = pipeline("question-answering")
    >>> qa(question="Who built it?", context="It was built by Ada.")["answer"]
    'Ada'

    Args:
        task: ``"question-answering"``, ``"text-classification"`` (or ``"sentiment-analysis"``),
            ``"token-classification"`` (or ``"ner"``), ``"fill-mask"`` or ``"feature-extraction"``. Without
            it, the model's own.
        model: a name (``"qa"``, ``"sentiment"``, ``"ner"``, ``"embed"``, a hub id), the path of a folder, a
            dictionary of file names and bytes, or a `Model`. Every task but fill-mask has a model of its own.
        tokenizer: the model's own; a name that is the model's is accepted.
        device: there is one, ``"cpu"`` (or -1).
        batch_size: how many inputs are read from a generator at a time. It bounds memory. It cannot change
            results, and the engine chooses the sizes of its passes itself.
        threads: as in the classes: all cores by default, and 1 for the calling thread.
        precision: ``"int8"``, ``"bf16"`` or ``"f32"``; that of the stored weights by default.
        special_tokens_in_text: false if ``[SEP]`` and the like in a text are plain characters, as is right
            for texts of strangers. Beside a `Model`, this and the two above are refused.
        options: the task's options, for all calls that do not bring their own. Unknown ones are errors.

    Where a model is made to compare with ``transformers``, the results are the same: the options have its
    defaults, which differ from those of the classes for question answering (``max_answer_len=15``,
    ``null_competes=True``, ``merge_equal_texts=False``) and tags (``aggregation_strategy="none"``).
    """
    if device is not None and str(device) not in ("-1", "cpu"):
        raise wrong("device", '"cpu", the only one there is', device)
    if tokenizer is not None and tokenizer is not model and not _same(tokenizer, model):
        raise wrong("tokenizer", "the name that `model` has, or None for the model's own", tokenizer)
    common = {
        "threads": threads,
        "precision": precision,
        "special_tokens_in_text": special_tokens_in_text,
    }
    if task is None:
        task = _task_of(model, common)
    kind = _TASKS.get(_ALIASES.get(task, task)) if isinstance(task, str) else None
    if kind is None:
        raise wrong("task", f"one of {', '.join([*_TASKS, *_ALIASES])}", task)
    cls, engine, default = kind
    source = default if model is None else model
    if source is None:
        raise ValueError(
            f'{task} has no model of its own; name one, as in pipeline({task!r}, model="folder")'
        )
    size = _batch_size({"batch_size": batch_size}, _READ_AHEAD)
    return cls(lambda options: engine(source, **common, **options), options, size)


def _same(tokenizer: Any, model: Any) -> bool:
    """Returns whether both are the same name or path."""
    kinds = (str, os.PathLike)
    return isinstance(tokenizer, kinds) and isinstance(model, kinds) and tokenizer == model


def _task_of(model: Any, common: dict[str, Any]) -> str:
    """Returns the task that a model was trained for."""
    if model is None:
        raise ValueError(
            'neither a task nor a model is named; name one, as in pipeline("question-answering")'
        )
    loaded = model if isinstance(model, Model) else Model(model, **common)
    if loaded.task is None:
        raise ValueError(f'the model {loaded.name} has no task; name one, such as "feature-extraction"')
    return loaded.task
