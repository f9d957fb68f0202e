"""`wandb.define_metric`: what wandb lets be said of a metric."""

from __future__ import annotations

from runlake._metric import Metric
from runlake.as_wandb.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Metric", "checked"]

_SUMMARIES = ("min", "max", "mean", "last", "first", "copy", "none", "best")


def checked(name: Any, step_metric: Any, step_sync: Any, hidden: Any, summary: Any, overwrite: Any) -> None:
    """Raises wandb's exception where the arguments of `define_metric` cannot be meant so."""
    if not isinstance(name, str) or not name:
        raise Error(f"define_metric: a name is needed, not {name!r}")
    if "*" in name[:-1]:
        raise Error(f"define_metric: the * of {name!r} can only stand at its end")
    for argument, value, types in (
        ("step_metric", step_metric, (str, Metric)),
        ("step_sync", step_sync, (bool,)),
        ("hidden", hidden, (bool,)),
        ("summary", summary, (str,)),
        ("overwrite", overwrite, (bool,)),
    ):
        if value is not None and not isinstance(value, types):
            raise Error(f"define_metric: {argument} must be a {types[0].__name__}, not {type(value).__name__}")
    for word in (summary or "").split(","):
        if word.strip() and word.strip().lower() not in _SUMMARIES:
            raise Error(f"define_metric: summary: {word.strip()!r} is none of {', '.join(_SUMMARIES)}")
