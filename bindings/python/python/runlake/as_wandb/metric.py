"""`wandb.define_metric`: what it was told, and which step metric a row lacks."""

from __future__ import annotations

from collections.abc import Mapping

from runlake.as_wandb.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Metric:
    """What was said of one metric, or of all those that a name with `*` means."""

    name: str
    step_metric: str | None
    step_sync: bool | None
    hidden: bool | None
    summary: tuple[str, ...]

    def __init__(
        self,
        name: str,
        step_metric: str | None = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.step_metric = step_metric
        self.step_sync = step_sync
        self.hidden = hidden
        self.summary = summary

    def __repr__(self) -> str:
        return f"<wandb.Metric {self.name!r}>"


class StepMetrics:
    """Completes rows: a metric whose step metric a row lacks gets the value that was logged of that last."""

    def __init__(self) -> None:
        self._exact: dict[str, str | None] = {}
        self._globs: dict[str, str | None] = {}
        self._found: dict[str, str | None] = {}
        self._last: dict[str, Any] = {}

    def define(self, metric: Metric) -> None:
        """Takes note of a metric."""
        step = metric.step_metric if metric.step_sync else None
        (self._globs if "*" in metric.name else self._exact)[metric.name] = step
        self._found.clear()
        if step is not None:
            self._last.setdefault(step, None)

    def complete(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """The row, with the step metrics that it lacks."""
        if not self._last:
            return row
        lacking = {}
        for name in row:
            step = self._step_of(name)
            if step is not None and step not in row and self._last[step] is not None:
                lacking[step] = self._last[step]
        for name in self._last:
            if name in row:
                self._last[name] = row[name]
        return {**row, **lacking} if lacking else row

    def _step_of(self, name: str) -> str | None:
        try:
            return self._found[name]
        except KeyError:
            pass
        step = self._exact[name] if name in self._exact else self._by_glob(name)
        self._found[name] = None if step == name else step
        return self._found[name]

    def _by_glob(self, name: str) -> str | None:
        from fnmatch import fnmatchcase

        for glob, step in self._globs.items():
            if fnmatchcase(name, glob):
                return step
        return None


_SUMMARIES = ("min", "max", "mean", "last", "first", "copy", "none")


def checked(name: Any, step_metric: Any, step_sync: Any, hidden: Any, summary: Any) -> Metric:
    """What was said of a metric, or an error that says what cannot be meant."""
    if not isinstance(name, str) or not name:
        raise Error(f"define_metric: a name is needed, not {name!r}")
    if "*" in name[:-1]:
        raise Error(f"define_metric: the * of {name!r} can only stand at its end")
    if isinstance(step_metric, Metric):
        step_metric = step_metric.name
    for argument, value, type_ in (
        ("step_metric", step_metric, str),
        ("step_sync", step_sync, bool),
        ("hidden", hidden, bool),
        ("summary", summary, str),
    ):
        if value is not None and not isinstance(value, type_):
            raise Error(f"define_metric: {argument} must be a {type_.__name__}, not {type(value).__name__}")
    words = tuple(word.strip().lower() for word in (summary or "").split(",") if word.strip())
    for word in words:
        if word not in _SUMMARIES:
            raise Error(f"define_metric: summary {word!r} is none of {', '.join(_SUMMARIES)}")
    if step_sync is None:
        step_sync = step_metric is not None
    return Metric(name, step_metric, step_sync, hidden, words)
