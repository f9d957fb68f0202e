"""Prints the public names of the wandb that is installed, with the parameters of each: `python wandb_names.py`.

The list is kept in `wandb_names.json`; `make frameworks` compares it with the wandb that is installed.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any

NAMES = Path(__file__).parent / "wandb_names.json"

MODULES = ("wandb", "wandb.plot", "wandb.errors")
"""Whose public names are walked, and whose classes' public members."""

CLASSES = (
    "wandb.apis.public.File",
    "wandb.apis.public.Files",
    "wandb.apis.public.Project",
    "wandb.apis.public.Projects",
    "wandb.apis.public.Run",
    "wandb.apis.public.Runs",
    "wandb.sdk.wandb_metric.Metric",
    "wandb.sdk.wandb_summary.Summary",
)
"""Classes that programs get and do not name."""


def parameters(value: Any) -> list[str] | None:
    """The names of the parameters of what can be called."""
    if not callable(value):
        return None
    try:
        return [name for name in inspect.signature(value).parameters if name != "self"]
    except ValueError:
        return []


def walked() -> dict[str, list[str] | None]:
    """Names, and the parameters of those that can be called."""
    found: dict[str, list[str] | None] = {}
    for module in MODULES:
        for name, value in sorted(vars(importlib.import_module(module)).items()):
            public = not name.startswith("_") and name not in ("annotations", "TYPE_CHECKING")
            ours = getattr(value, "__module__", module) or module
            if public and not inspect.ismodule(value) and ours.startswith("wandb"):
                _walk(f"{module}.{name}", value, found)
    import wandb

    _walk("wandb.Api", wandb.Api, found)
    for path in CLASSES:
        module, _, name = path.rpartition(".")
        _walk(path, getattr(importlib.import_module(module), name), found)
    found["wandb.Settings"] = sorted(wandb.Settings.model_fields)
    for name in [name for name in found if name.startswith("wandb.Settings.")]:
        del found[name]
    return found


def _walk(path: str, value: Any, found: dict[str, list[str] | None]) -> None:
    found[path] = parameters(value)
    if inspect.isclass(value):
        for name in sorted(dir(value)):
            if not name.startswith("_") and not (issubclass(value, BaseException) and hasattr(BaseException, name)):
                member = inspect.getattr_static(value, name)
                # A lazy or computed attribute is not asked, for it may ask a server.
                found[f"{path}.{name}"] = None if isinstance(member, property) else parameters(getattr(value, name))


def main() -> int:
    """Prints the list, or compares it with the one that is kept."""
    import wandb

    now = {"wandb": wandb.__version__, "names": walked()}
    if "--check" in sys.argv:
        kept = json.loads(NAMES.read_text(encoding="utf-8"))
        changed = [
            name
            for name in sorted({*kept["names"], *now["names"]})
            if kept["names"].get(name, "none") != now["names"].get(name, "none")
        ]
        print(f"{len(now['names'])} names of wandb {now['wandb']}, of which {len(changed)} are not as in the list")
        print(*changed, sep="\n")
        return 1 if changed else 0
    lines = [f"  {json.dumps(name)}: {json.dumps(names)}" for name, names in sorted(now["names"].items())]
    print(f'{{\n "wandb": "{now["wandb"]}",\n "names": {{\n' + ",\n".join(lines) + "\n }\n}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
