"""Every public name of wandb is in `runlake.as_wandb` with its parameters, or the page for its users says why not."""

from __future__ import annotations

import ast
import contextlib
import fnmatch
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import runlake
import wandb_names

PAGE = Path(__file__).parents[3] / "docs" / "wandb-differences.md"
KEPT = json.loads(wandb_names.NAMES.read_text(encoding="utf-8"))["names"]
NOTHING = object()


def spoken_of() -> tuple[list[str], dict[str, set[str]]]:
    """What the first cells of the page's last tables name: names, as patterns; and parameters of names."""
    names: list[str] = []
    parameters: dict[str, set[str]] = {}
    _others, _, text = PAGE.read_text(encoding="utf-8").partition("\n## What is not stored yet\n")
    for line in text.splitlines():
        if not line.startswith("| `"):
            continue
        for word in re.findall(r"`([^`]+)`", line.split(" | ")[0]):
            name, _, given = word.partition("(")
            if given:
                parameters.setdefault(name, set()).update(given.rstrip(")").replace(" ", "").split(","))
            else:
                names.append(name)
    return names, parameters


NAMES, PARAMETERS = spoken_of()


def called(name: str) -> str:
    """A name as people call it: without the modules that it stands in."""
    return re.sub(r"^wandb\.(apis\.public\.(?=[A-Z])|sdk\.wandb_\w+\.)?", "public." if ".public." in name else "", name)


def stands(name: str) -> bool:
    """Whether the page speaks of a name."""
    return any(fnmatch.fnmatchcase(called(name), pattern) for pattern in NAMES)


def parameters_that_stand(name: str, parameters: set[str]) -> set[str]:
    """Those of the parameters of a name of which the page speaks."""
    patterns: set[str] = set()
    for owner, words in PARAMETERS.items():
        if fnmatch.fnmatchcase(called(name), owner):
            patterns |= words
    return {one for one in parameters if any(fnmatch.fnmatchcase(one, pattern) for pattern in patterns)}


@pytest.fixture(scope="module")
def find() -> Iterator[Any]:
    """Finds ours of a name of wandb's."""
    import importlib
    import os
    import sys

    path, variable = list(sys.path), os.environ.get("PYTHONPATH")
    runlake.alias_wandb()

    def find(name: str) -> Any:
        value, *words = importlib.import_module("wandb"), *name.split(".")[1:]
        for word in words:
            if inspect.ismodule(value) and not hasattr(value, word):
                with contextlib.suppress(ImportError):
                    importlib.import_module(f"{value.__name__}.{word}")
            if inspect.isclass(value) and not hasattr(value, word) and word in attributes(value):
                return None
            try:
                value = inspect.getattr_static(value, word) if inspect.isclass(value) else getattr(value, word)
            except AttributeError:
                return NOTHING
            value = getattr(value, "__func__", value)
        return value

    yield find
    sys.path[:] = path
    for module in [module for module in sys.modules if module.partition(".")[0] == "wandb"]:
        del sys.modules[module]
    os.environ.pop("PYTHONPATH") if variable is None else os.environ.update(PYTHONPATH=variable)


def attributes(kind: type) -> set[str]:
    """What instances of a class have that the class has not: annotated in it, or set by its methods."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    targets = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)]
    return {*getattr(kind, "__annotations__", {}), *(target.attr for target in targets)}


def unused(function: Any) -> set[str]:
    """The parameters that a function of ours never looks at."""
    if inspect.isclass(function):
        function = function.__init__
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (OSError, TypeError):
        return set()
    body = tree.body[0]
    used = {node.id for node in ast.walk(body) if isinstance(node, ast.Name)}
    return {name for name in inspect.signature(function).parameters if name != "self"} - used


@pytest.mark.parametrize("name", KEPT)
def test_a_name_works_or_stands_on_the_page(find: Any, name: str) -> None:
    value = find(name)
    if value is NOTHING:
        assert stands(name), f"{name} is not there, and {PAGE.name} does not say why"
        return
    if name == "wandb.Settings":
        assert set(KEPT[name]) <= set(value.model_fields)
        return
    if KEPT[name] is None or stands(name):
        return
    given = inspect.signature(value).parameters
    takes_all = any(one.kind is one.VAR_KEYWORD for one in given.values())
    theirs = {word for word in KEPT[name] if word not in ("args", "kwargs", "cls")}
    lacking = set() if takes_all else theirs - set(given)
    without_effect = (unused(value) & theirs) | lacking
    unsaid = without_effect - parameters_that_stand(name, without_effect)
    assert not unsaid, f"{PAGE.name} says nothing of these parameters of {name}"


def test_settings_without_effect_stand_on_the_page() -> None:
    from runlake.as_wandb.settings import WITHOUT_EFFECT

    assert parameters_that_stand("wandb.Settings", set(WITHOUT_EFFECT)) == WITHOUT_EFFECT


def test_the_page_speaks_of_no_name_that_wandb_does_not_have() -> None:
    known = {".".join(called(name).split(".")[: end + 1]) for name in KEPT for end in range(5)}
    modules = {"sklearn", "jupyter", "integration.*", "tensorflow", "gym", "sacred", "catboost"}
    unknown = [name for name in [*NAMES, *PARAMETERS] if name not in modules and not fnmatch.filter(known, name)]
    assert unknown == []
