"""`Metric`: what `define_metric` said of a metric, or of all metrics that a pattern matches."""

from __future__ import annotations

from runlake._errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

GOALS = {"minimize": "minimize", "min": "minimize", "maximize": "maximize", "max": "maximize"}

AGGREGATES = ("min", "max", "mean", "first", "last", "best")


class Metric:
    """What was defined of a metric; `Run.define_metric` returns it."""

    __slots__ = ("goal", "hidden", "name", "step_metric", "step_sync", "summary")

    name: str
    step_metric: str | None
    step_sync: bool
    summary: tuple[str, ...] | None
    goal: str | None
    hidden: bool

    def __init__(
        self,
        name: str,
        step_metric: str | None = None,
        step_sync: bool = True,
        summary: tuple[str, ...] | None = None,
        goal: str | None = None,
        hidden: bool = False,
    ) -> None:
        self.name = name
        self.step_metric = step_metric
        self.step_sync = step_sync
        self.summary = summary
        self.goal = goal
        self.hidden = hidden

    def __repr__(self) -> str:
        said = ((key, getattr(self, key)) for key in ("step_metric", "summary", "goal", "hidden"))
        return f"Metric({', '.join([repr(self.name), *(f'{key}={value!r}' for key, value in said if value)])})"


def name_of(metric: Any, what: str) -> str:
    """The name of a metric that is given by its name or as a `Metric`."""
    name = metric.name if isinstance(metric, Metric) else metric
    if not isinstance(name, str) or not name:
        raise InvalidArgument(f"define_metric: {what} must be a str that is not empty, not {metric!r}")
    return name


def summary_of(words: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """The aggregates of a summary: `"min,max"`, or each by itself. `copy` asks for the last value as it is."""
    if words is None:
        return None
    given = [word.strip().lower() for word in (words.split(",") if isinstance(words, str) else words)]
    given = list(dict.fromkeys(word for word in given if word))
    for word in given:
        if word not in (*AGGREGATES, "none", "copy"):
            raise InvalidArgument(f"define_metric: summary: {word!r} is none of {', '.join(AGGREGATES)}, copy and none")
    found = tuple(word for word in given if word in AGGREGATES)
    return None if not found and "none" not in given else found


def goal_of(goal: str | None) -> str | None:
    """A goal in its one spelling."""
    if goal is None:
        return None
    if goal not in GOALS:
        raise InvalidArgument(f"define_metric: goal: {goal!r} is none of minimize, maximize")
    return GOALS[goal]
