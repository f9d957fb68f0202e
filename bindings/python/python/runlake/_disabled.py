"""`DisabledRun`: the run of `mode="disabled"`, of which nothing is kept."""

from __future__ import annotations

import time

from runlake._metric import Metric, name_of
from runlake._run import Run, sorted_tags
from runlake._settings import Settings
from runlake._tree import Config, Summary, mapping_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping
    from datetime import timedelta
    from types import TracebackType
    from typing import Any

    from typing_extensions import Self


class DisabledRun:
    """Takes all calls that a `Run` takes, and keeps nothing but its configuration and its summary in memory.

    It is no subclass, for a `Run` of the extension has a lake; that `isinstance(run, runlake.Run)` is true all the same
    comes from `__class__`.
    """

    disabled = True
    offline = True
    resumed = False
    store = ""
    strict = False
    launch = ""
    _is_mine = True

    def __init__(self, settings: Settings, config: Mapping[str, Any] | object | None) -> None:
        self.settings = settings
        self.project = settings.project or "default"
        self.entity = settings.entity
        self.id = settings.run_id or f"disabled{time.monotonic_ns():x}"
        self.name = self.first_name = settings.run_name or "disabled"
        self.group = settings.run_group
        self.job_type = settings.run_job_type
        self.notes = settings.run_notes
        self.tags = sorted_tags(settings.run_tags or ())
        self.config = Config(mapping_of(config), _ignore)
        self.summary = Summary(_ignore, _nothing, tuple)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """A `Run`, as far as `isinstance` can tell."""
        return Run

    @property
    def path(self) -> str:
        """As that of a run that is kept."""
        return f"{self.project}/{self.id}"

    def log(
        self,
        data: Mapping[str, Any],
        step: int | None = None,
        commit: bool | None = None,
        labels: Mapping[str, Any] | None = None,
    ) -> None:
        """Keeps nothing."""

    def log_many(
        self,
        metric: str,
        values: Any,
        steps: Any | None = None,
        times: Any | None = None,
        labels: Mapping[str, Any] | None = None,
    ) -> None:
        """Keeps nothing."""

    def define_metric(
        self,
        name: str,
        step_metric: str | Metric | None = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: str | Iterable[str] | None = None,
        goal: str | None = None,
        overwrite: bool | None = None,
    ) -> Metric:
        """Defines nothing."""
        return Metric(name_of(name, "name"))

    def alert(
        self,
        title: str,
        text: str = "",
        level: str | None = None,
        wait_duration: float | timedelta | None = None,
    ) -> None:
        """Prints nothing."""

    def save(
        self, glob_str: str | os.PathLike[str], base_path: str | os.PathLike[str] | None = None, policy: str = "live"
    ) -> list[str]:
        """Saves nothing."""
        return []

    def watch(
        self,
        models: object,
        criterion: object = None,
        log: str | None = "gradients",
        log_freq: int = 1000,
        idx: int | None = None,
        log_graph: bool = False,
    ) -> None:
        """Watches nothing."""

    def unwatch(self, models: object = None) -> None:
        """Watches nothing."""

    def mark_preempting(self) -> None:
        """Has nothing to make durable."""

    def sync(self) -> None:
        """Has nothing to wait for."""

    def finish(self, exit_code: int | None = None) -> None:
        """Ends the run, of which nothing is left."""
        from runlake import _live

        _live.leave(self)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.finish()

    def __reduce__(self) -> tuple[type[DisabledRun], tuple[Settings, dict[str, Any]]]:
        return DisabledRun, (self.settings, self.config.as_dict())

    def __repr__(self) -> str:
        return f"<runlake.Run disabled project={self.project!r}>"


def _ignore(_key: str) -> None:
    pass


def _nothing(_metric: str) -> None:
    return None
