"""The documentation that `help` shows: every public name has one, it names every argument, and its examples run."""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import re
from typing import Any

import pytest

import mobilebert

#: Public names that are not classes or functions, which have no docstring of their own.
DATA = {"ERROR_CODES", "__version__"}
NAMES = [name for name in mobilebert.__all__ if name not in DATA]


def members(owner: type) -> list[tuple[str, Any]]:
    """Returns the public methods and properties of a class, its own and those of its base in this package."""
    found = []
    for name in dir(owner):
        member = inspect.getattr_static(owner, name)
        is_ours = any(
            name in base.__dict__ for base in owner.__mro__ if base.__module__.startswith("mobilebert")
        )
        if is_ours and not name.startswith("_") and (callable(member) or hasattr(member, "__get__")):
            found.append((name, member))
    return found


def documented() -> list[Any]:
    """Returns all that has a docstring: the public classes and functions, methods and properties."""
    found = []
    for name in NAMES:
        thing = getattr(mobilebert, name)
        found.append(pytest.param(thing, id=name))
        if isinstance(thing, type) and not issubclass(thing, Exception):
            fields = getattr(thing, "__dataclass_fields__", {})
            for member, value in members(thing):
                if member not in fields:
                    found.append(pytest.param(value, id=f"{name}.{member}"))
    return found


def parameters(thing: Any) -> list[str]:
    """Returns the names of the arguments that a caller gives."""
    if isinstance(thing, property) or inspect.isgetsetdescriptor(thing):
        return []
    if isinstance(thing, type) and (issubclass(thing, Exception) or hasattr(thing, "__dataclass_fields__")):
        return []  # The engine makes them.
    if thing in (mobilebert.Context, mobilebert.Pipeline):
        return []  # `prepare` and `pipeline` make them.
    return [name for name in inspect.signature(thing).parameters if name not in ("self", "cls")]


@pytest.mark.parametrize("thing", documented())
def test_every_public_name_is_documented(thing: Any) -> None:
    doc = inspect.getdoc(thing)
    assert doc, "it has no docstring"
    first = re.split(r"[.:]", doc)[0]
    assert len(first) > 8 and first[0].isupper(), doc
    arguments = doc.partition("\nArgs:\n")[2].partition("\n\n")[0]
    named = re.findall(r"^ {4}(\w+):", arguments, re.MULTILINE)
    expected = parameters(thing)
    assert named == expected, f"documented {named}, and the signature has {expected}"
    is_value = isinstance(thing, property) or inspect.isgetsetdescriptor(thing)
    is_explained = bool(named) or ">>>" in doc or "\nAttributes:\n" in doc or "Code" in doc
    assert is_value or is_explained or not expected and callable(thing) and not isinstance(thing, type), doc
    if isinstance(thing, type) and hasattr(thing, "__dataclass_fields__"):
        attributes = doc.partition("\nAttributes:\n")[2]
        assert re.findall(r"^ {4}(\w+):", attributes, re.MULTILINE) == list(thing.__dataclass_fields__)


@pytest.mark.parametrize("name", ["answer", "answers", "prepare"])
def test_help_says_what_is_given_returned_and_raised(name: str) -> None:
    method = getattr(mobilebert.QuestionAnswering, name)
    for part in ("\nArgs:\n", "\nReturns:\n", "\nRaises:\n"):
        assert part in method.__doc__
    assert method.__text_signature__.startswith("($self, ")
    for line in method.__doc__.splitlines():
        assert len(line) <= 110, line


@pytest.mark.parametrize("thing", documented())
def test_examples_run(thing: Any) -> None:
    doc = inspect.getdoc(thing) or ""
    if ">>>" not in doc:
        return
    if importlib.util.find_spec("mobilebert_qa") is None:
        pytest.skip("SKIPPED: the packages of the models are not installed")
    test = doctest.DocTestParser().get_doctest(doc, {}, str(thing), None, None)
    output: list[str] = []
    results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=output.append)
    assert results.failed == 0 and results.attempted > 0, "".join(output)
