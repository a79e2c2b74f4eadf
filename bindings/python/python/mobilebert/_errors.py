"""The exceptions of the package."""

from __future__ import annotations

__all__ = [
    "DeadlineExceeded",
    "EmptyText",
    "InvalidText",
    "MobileBertError",
    "ModelNotFound",
    "TooLong",
    "WrongTask",
]


class MobileBertError(ValueError):
    """What every error of the engine is.

    The message says what happened, where, what was expected and what to do. The attributes are for programs.

    >>> import mobilebert
    >>> try:
    ...     mobilebert.Model("no-such-model")
    ... except mobilebert.MobileBertError as error:
    ...     print(error.code, error.place)
    unknown_model no-such-model

    Attributes:
        code: a stable name of the kind of error, one of ``mobilebert.ERROR_CODES``.
        place: where it happened, such as ``"top_k"``, a file, or ``"pair 3: question"``; ``None`` if it has no
            place.
        index: the index of the input that failed, counted from 0, or ``None`` for a call with a single input.
        position: the code point of the text at fault, for `InvalidText`.
        byte_position: the same position in bytes of UTF-8.
        utf16_position: the same position in UTF-16 units.
    """

    code: str
    place: str | None
    index: int | None
    position: int | None
    byte_position: int | None
    utf16_position: int | None

    def __init__(
        self,
        message: str,
        code: str = "input",
        place: str | None = None,
        index: int | None = None,
        positions: tuple[int, int, int] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.place = place
        self.index = index
        self.position, self.byte_position, self.utf16_position = positions or (None, None, None)

    def __reduce__(self) -> tuple[object, ...]:
        positions = None
        if self.position is not None:
            positions = (self.position, self.byte_position, self.utf16_position)
        return type(self), (str(self), self.code, self.place, self.index, positions)

    def _in_row(self, unit: str, row: int) -> MobileBertError:
        """Returns the same error for an input of a list of such a ``unit``, as in "pair"."""
        place = f"{unit} {row + 1}"
        positions = None
        if self.position is not None:
            positions = (self.position, self.byte_position or 0, self.utf16_position or 0)
        inner = place if self.place is None else f"{place}: {self.place}"
        return type(self)(f"{place}: {self}", self.code, inner, row, positions)


class ModelNotFound(MobileBertError):
    """There is no model of this name, or its folder lacks a file.

    Codes ``unknown_model`` and ``missing_file``.
    """


class WrongTask(MobileBertError):
    """The model was trained for another task.

    Code ``wrong_task``.
    """


class EmptyText(MobileBertError):
    """A text has no words.

    Code ``empty_text``.
    """


class TooLong(MobileBertError):
    """A text does not fit where it may not be cut.

    Code ``too_long``.
    """


class InvalidText(MobileBertError):
    """A ``str`` holds half of a surrogate pair, which no Unicode text can.

    Code ``invalid_text``. ``position`` is that of the half.
    """


class DeadlineExceeded(MobileBertError, TimeoutError):
    """The call's ``timeout`` passed.

    Code ``deadline_exceeded``.
    """


_CLASSES: dict[str, type[MobileBertError]] = {
    "unknown_model": ModelNotFound,
    "missing_file": ModelNotFound,
    "wrong_task": WrongTask,
    "empty_text": EmptyText,
    "too_long": TooLong,
    "invalid_text": InvalidText,
    "deadline_exceeded": DeadlineExceeded,
}


def _make(
    message: str,
    code: str,
    place: str | None,
    index: int | None,
    positions: tuple[int, int, int] | None,
) -> MobileBertError:
    """Makes the exception for a failure of the native module."""
    return _CLASSES.get(code, MobileBertError)(message, code, place, index, positions)
