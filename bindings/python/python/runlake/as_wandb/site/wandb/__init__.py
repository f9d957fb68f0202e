"""The names of wandb, by runlake: what is logged goes into a lake. See `runlake.as_wandb`."""

from __future__ import annotations

from runlake.as_wandb import session as _session
from runlake.as_wandb.errors import CommError, Error, UsageError
from runlake.as_wandb.session import (
    attach,
    ensure_configured,
    finish,
    init,
    login,
    require,
    restore,
    setup,
    teardown,
)
from runlake.as_wandb.settings import Settings
from runlake.as_wandb.term import termerror, termlog, termsetup, termwarn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.31.0"

join = finish
_attach, _teardown = attach, teardown
patched: dict[str, list[object]] = {"tensorboard": [], "keras": [], "gym": []}

_LATER = {
    "AlertLevel": "runlake.as_wandb.alert",
    "Api": "runlake.as_wandb.api",
    "Artifact": "runlake.as_wandb.artifact",
    "ArtifactTTL": "runlake.as_wandb.artifact",
    "Audio": "runlake.as_wandb.media",
    "Classes": "runlake.as_wandb.media",
    "Config": "runlake.as_wandb.config",
    "EvalTable": "runlake.as_wandb.table",
    "Graph": "runlake.as_wandb.media",
    "Histogram": "runlake.as_wandb.histogram",
    "Html": "runlake.as_wandb.media",
    "Image": "runlake.as_wandb.media",
    "JoinedTable": "runlake.as_wandb.table",
    "Molecule": "runlake.as_wandb.media",
    "Object3D": "runlake.as_wandb.media",
    "Plotly": "runlake.as_wandb.media",
    "Run": "runlake.as_wandb.run",
    "Table": "runlake.as_wandb.table",
    "Video": "runlake.as_wandb.media",
    "agent": "runlake.as_wandb.sweep",
    "box3d": "runlake.as_wandb.media",
    "controller": "runlake.as_wandb.sweep",
    "plot_table": "runlake.as_wandb.plot",
    "sweep": "runlake.as_wandb.sweep",
    "visualize": "runlake.as_wandb.plot",
}
"""Where names are that most programs do not need: they are loaded when they are asked for."""

_MODULE_NAMES = """
apis data_types env errors integration keras lightgbm plot sdk util wandb_agent wandb_run xgboost
"""
_MODULES = frozenset(_MODULE_NAMES.split())
_ELSEWHERE = {
    "keras": "wandb.integration.keras",
    "lightgbm": "wandb.integration.lightgbm",
    "xgboost": "wandb.integration.xgboost",
    "wandb_lib": "wandb.sdk.lib",
    "wandb_sdk": "wandb.sdk",
}
"""The modules that stand under another name too."""

_CALLED = """
alert define_metric link_artifact link_model log log_artifact log_model mark_preempting pin_config_keys save unwatch
use_artifact use_model watch
"""
_CALLS = frozenset(_CALLED.split())
"""What is called on the live run."""

__all__ = [
    "AlertLevel",
    "Api",
    "Artifact",
    "ArtifactTTL",
    "Audio",
    "Classes",
    "CommError",
    "Config",
    "Error",
    "EvalTable",
    "Graph",
    "Histogram",
    "Html",
    "Image",
    "JoinedTable",
    "Molecule",
    "Object3D",
    "Plotly",
    "Run",
    "Settings",
    "Table",
    "UsageError",
    "Video",
    "__version__",
    "agent",
    "alert",
    "attach",
    "box3d",
    "config",
    "controller",
    "define_metric",
    "ensure_configured",
    "finish",
    "init",
    "join",
    "link_model",
    "log",
    "log_artifact",
    "log_model",
    "login",
    "mark_preempting",
    "pin_config_keys",
    "plot_table",
    "require",
    "restore",
    "run",
    "save",
    "setup",
    "summary",
    "sweep",
    "teardown",
    "termerror",
    "termlog",
    "termsetup",
    "termwarn",
    "unwatch",
    "use_artifact",
    "use_model",
    "visualize",
    "watch",
]


def __getattr__(name: str) -> Any:
    # These three follow the live run, so they cannot be plain variables of the module.
    if name in ("run", "config", "summary"):
        return _session.attribute(name)
    import importlib

    if name in _LATER:
        value = getattr(importlib.import_module(_LATER[name]), name)
    elif name in _CALLS:
        value = _on_live_run(name)
    elif name in _ELSEWHERE or name in _MODULES:
        value = importlib.import_module(_ELSEWHERE.get(name, f"wandb.{name}"))
    else:
        raise AttributeError(
            f"module 'wandb' of runlake has no {name!r}; docs/wandb-differences.md says what is left out"
        )
    globals()[name] = value
    return value


def _on_live_run(name: str) -> Any:
    """A function that calls a method of the live run, and has its signature."""
    import functools

    from runlake.as_wandb.run import Run

    @functools.wraps(getattr(Run, name))
    def call(*arguments: Any, **named: Any) -> Any:
        return getattr(_session.current(name), name)(*arguments, **named)

    return call
