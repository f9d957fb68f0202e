"""The examples in the docstrings run, and every public name has a docstring."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path

import pytest

import runlake


def documented() -> list[tuple[str, str]]:
    """Every docstring of the package, by name; `doctest` itself does not look into an extension module."""
    found = [("runlake", runlake.__doc__ or "")]
    for name in runlake.__all__:
        if name in ("run", "config", "summary", "__version__"):
            continue
        value = getattr(runlake, name)
        found.append((name, inspect.getdoc(value) or ""))
        if inspect.isclass(value) and value.__module__.startswith("runlake"):
            found += [
                (f"{name}.{member}", inspect.getdoc(getattr(value, member)) or "")
                for member in dir(value)
                if not member.startswith("_")
                and not issubclass(value, BaseException)
                and (callable(getattr(value, member)) or isinstance(getattr(value, member), property))
            ]
    return found


@pytest.mark.parametrize(("name", "text"), documented(), ids=[name for name, _ in documented()])
def test_everything_public_is_documented(name: str, text: str) -> None:
    assert len(text) > 10


EXAMPLES = [(name, text) for name, text in documented() if ">>>" in text]


@pytest.mark.parametrize(("name", "text"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_examples_run(store: Path, name: str, text: str) -> None:
    parsed = doctest.DocTestParser().get_doctest(text, {}, name, None, 0)
    if name == "open":
        runlake.init("p").finish()
    results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(parsed)
    assert results.attempted > 0
    assert results.failed == 0


def test_the_main_entries_have_examples() -> None:
    assert {"runlake", "init", "Run.log", "Run.log_many", "Lake.history"} <= {name for name, _ in EXAMPLES}
