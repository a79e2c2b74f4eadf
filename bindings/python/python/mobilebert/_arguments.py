"""Checks of the arguments that the native module does not see."""

from __future__ import annotations

import sys
from typing import Any

from ._errors import MobileBertError

__all__ = ["flag", "number", "wrong"]


def wrong(name: str, expected: str, given: Any) -> MobileBertError:
    """Makes the error for the value of an argument, as the native module does."""
    written = ""
    if given is None or isinstance(given, int | float | str):
        try:
            written = repr(given)
        except ValueError:  # Python refuses to write numbers of thousands of digits.
            pass
    found = written if 0 < len(written) <= 60 else f"of the type {type(given).__name__}"
    return MobileBertError(f"`{name}` is {found}; expected {expected}", "option", name)


def number(name: str, given: Any, *, least: int = 1) -> int:
    """Returns a whole number that is not too small."""
    if hasattr(given, "__index__") and not isinstance(given, bool):
        try:
            found = int(given.__index__())
        except TypeError:  # An array has the method too.
            found = least - 1
        if least <= found <= sys.maxsize:
            return found
        if found > sys.maxsize:
            raise wrong(name, "a smaller number", given)
    raise wrong(name, f"a whole number, {least} or more", given)


def flag(name: str, given: Any) -> bool:
    """Returns a truth value, which may be NumPy's."""
    if isinstance(given, bool):
        return given
    if type(given).__module__ == "numpy" and type(given).__name__ in ("bool", "bool_"):
        return bool(given)
    raise wrong(name, "True or False", given)
