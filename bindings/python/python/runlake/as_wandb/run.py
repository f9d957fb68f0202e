"""`wandb.Run`: wandb's words for a `runlake.Run`, and its rules about steps."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Mapping, Sequence

from runlake._errors import DataWarning, InvalidArgument
from runlake.as_wandb import later
from runlake.as_wandb.config import Config, plain
from runlake.as_wandb.errors import UsageError
from runlake.as_wandb.metric import checked
from runlake.as_wandb.settings import Settings
from runlake.as_wandb.summary import Summary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, TextIO

    from typing_extensions import Self

    import runlake
    from runlake._metric import Metric
    from runlake.as_wandb.artifact import Artifact

_NUMBERS = frozenset({float, int, bool})

_TEXT = frozenset({str})

_DEEPEST = 64
"""Mappings that are nested deeper, in themselves perhaps, are kept as text."""

_FEW = 32
"""Arrays of so many values are lists to wandb, and those of more are histograms."""


class Run:
    """A run; `wandb.init` makes it.

    A row that is logged without a step goes to the step at which the run stands, and the run moves on; with a step the
    run goes to that, and stays there for more of the same row, until a row comes without one. So the calls of wandb's
    users mean what they mean there. Nothing waits for its row to be complete, so a kill takes nothing.

    >>> import runlake
    >>> runlake.alias_wandb()
    >>> import wandb
    >>> run = wandb.init(project="digits")
    >>> run.log({"loss": 0.5}, commit=False)
    >>> run.log({"accuracy": 0.8})
    >>> run.step
    1
    >>> run.finish()
    """

    def __init__(self, kept: runlake.Run, settings: Settings, step: int = 0) -> None:
        self._kept = kept
        self._settings = settings
        self._step = self._starting_step = step
        self._finished = False
        self._start_time = time.time()
        self._texts: dict[str, Any] = {}
        self._summaries: dict[str, tuple[str, ...]] = {}
        self._dir: str | None = None
        self._config = Config(kept.config)
        self._summary = Summary(kept)

    @property
    def id(self) -> str:
        """The id."""
        return self._kept.id

    @property
    def name(self) -> str:
        """The name; may be set."""
        return self._kept.name

    @name.setter
    def name(self, value: str) -> None:
        self._kept.name = value

    @property
    def notes(self) -> str | None:
        """The notes; may be set."""
        return self._kept.notes

    @notes.setter
    def notes(self, value: str) -> None:
        self._kept.notes = value

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags; may be set."""
        return tuple(self._kept.tags)

    @tags.setter
    def tags(self, value: Sequence[str]) -> None:
        self._kept.tags = tuple(value)

    @property
    def group(self) -> str:
        """The group, or an empty text."""
        return self._kept.group or ""

    @property
    def job_type(self) -> str:
        """The type of job, or an empty text."""
        return self._kept.job_type or ""

    @property
    def project(self) -> str:
        """The project."""
        return self._kept.project

    @property
    def entity(self) -> str:
        """The entity that was given, or an empty text."""
        return self._settings.entity or ""

    @property
    def path(self) -> str:
        """`entity/project/id`, without the entity where there is none."""
        return "/".join(part for part in (self.entity, self.project, self.id) if part)

    @property
    def settings(self) -> Settings:
        """What the run was started with."""
        return self._settings

    @property
    def config(self) -> Config:
        """The configuration."""
        return self._config

    @property
    def config_static(self) -> Config:
        """A copy of the configuration; a change of it changes nothing."""
        return Config(self._config.as_dict())

    @property
    def summary(self) -> Summary:
        """The summary."""
        return self._summary

    @property
    def step(self) -> int:
        """The step at which the next row goes that is logged without one."""
        return self._step

    @property
    def starting_step(self) -> int:
        """The step at which this process began: 0, or where a resumed run was."""
        return self._starting_step

    @property
    def start_time(self) -> float:
        """When it was started, in seconds since 1970."""
        return self._start_time

    @property
    def resumed(self) -> bool:
        """Whether the run had been started before."""
        return bool(self._kept.resumed)

    @property
    def offline(self) -> bool:
        """True: a lake is never online."""
        return True

    @property
    def disabled(self) -> bool:
        """Whether nothing is kept."""
        return bool(self._kept.disabled)

    @property
    def url(self) -> None:
        """There is no page."""

    @property
    def project_url(self) -> None:
        """There is no page."""

    @property
    def sweep_id(self) -> None:
        """There are no sweeps yet."""

    @property
    def sweep_url(self) -> None:
        """There is no page."""

    @property
    def dir(self) -> str:
        """A folder for files of the run, in `wandb/` where the program runs or in `dir=`; made when it is asked for."""
        if self._dir is None:
            started = time.strftime("%Y%m%d_%H%M%S", time.localtime(self._start_time))
            root = self._settings.root_dir or os.getcwd()
            self._dir = os.path.abspath(os.path.join(root, "wandb", f"offline-run-{started}-{self.id}", "files"))
        os.makedirs(self._dir, exist_ok=True)
        return self._dir

    @property
    def sync_dir(self) -> str:
        """The folder in which `dir` is."""
        return os.path.dirname(self.dir)

    def log(self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        """Logs values, as one row or as a part of one.

        Args:
            data: names and values; nested mappings are joined by dots.
            step: where they go; without it, at the step at which the run stands.
            commit: whether the row is complete, so that the run moves on. Where it is not given, a row with a step is
                not, and one without is.

        Raises:
            TypeError: `data` is no mapping, or a key is no text.
            UsageError: the run is finished.
        """
        self._live("log")
        if not isinstance(data, Mapping):
            raise TypeError(f"log: data must be a dict of names and values, not {type(data).__name__}")
        if step is not None:
            self._step = max(int(step), self._step)
        at = self._step if step is None else int(step)
        if row := self._numbers(data):
            self._kept.log(row, at)
            self._summary.logged(row)
        if (commit or (commit is None and step is None)) and at == self._step:
            self._step += 1

    def _numbers(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """The part of a row that is points; of the rest, text and lists go into the summary."""
        # Asked in two calls, for most rows are only numbers, and this is done for each.
        if _NUMBERS.issuperset(map(type, data.values())) and _TEXT.issuperset(map(type, data)):
            return data
        for key in data:
            if not isinstance(key, str):
                raise TypeError(f"log: a key must be text, not {key!r} of type {type(key).__name__}")
        row: dict[str, Any] = {}
        self._sort(data, "", 0, row)
        return row

    def _sort(self, data: Mapping[Any, Any], prefix: str, depth: int, row: dict[str, Any]) -> None:
        from runlake.as_wandb.media import is_media

        for key, value in data.items():
            name = f"{prefix}{key}"
            if type(value) in _NUMBERS:
                row[name] = value
            elif isinstance(value, Mapping):
                if depth < _DEEPEST:
                    self._sort(value, f"{name}.", depth + 1, row)
                else:
                    self._keep_text(name, repr(value))
            elif is_media(value):
                spread = type(value).__name__ == "Histogram"
                later.say("histograms" if spread else "images, audio, video, tables, plots and other media")
            elif isinstance(value, (str, list, tuple)):
                self._keep_text(name, plain(value))
            elif (count := _count(value)) is None or count == 1:
                row[name] = value
            elif count <= _FEW:
                self._keep_text(name, plain(value))
            else:
                later.say("histograms")

    def _keep_text(self, name: str, value: Any) -> None:
        """Sets text or a list in the summary; said to the lake only where it changed."""
        later.say("text and lists")
        if self._texts.get(name) != value:
            self._texts[name] = value
            try:
                self._kept.summary[name] = value
            except InvalidArgument as error:
                # A name that no lake takes: empty, or very long.
                warnings.warn(f"log: {error}", DataWarning, stacklevel=4)

    def define_metric(
        self,
        name: str,
        step_metric: str | Metric | None = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: str | None = None,
        overwrite: bool | None = None,
    ) -> Metric:
        """Says how a metric is drawn and summed up.

        Args:
            name: the metric; with `*` at its end, all that begin so.
            step_metric: the metric that stands on the x-axis.
            step_sync: whether a row that lacks the step metric gets its last value; yes, where there is one.
            hidden: whether it is left out of what is drawn unasked.
            summary: what the summary has of it: `min`, `max`, `mean`, `last`, `first`, or several with commas; `none`.
            overwrite: whether what was said before is forgotten.

        Raises:
            Error: an argument cannot be meant so.
        """
        self._live("define_metric")
        checked(name, step_metric, step_sync, hidden, summary, overwrite)
        if summary and not overwrite:
            # What is said of a summary adds to what was said of it before.
            words = (*self._summaries.get(name, ()), *summary.split(","))
            summary = ",".join(dict.fromkeys(words))
        self._summaries[name] = tuple((summary or "").split(",")) if summary else self._summaries.get(name, ())
        return self._kept.define_metric(
            name, step_metric=step_metric, step_sync=step_sync, hidden=hidden, summary=summary, overwrite=overwrite
        )

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        """Ends the run: as failed where `exit_code` is not 0."""
        from runlake.as_wandb import session

        if not self._finished:
            self._finished = True
            self._kept.finish(exit_code)
        session.leave(self)

    join = finish

    def save(
        self, glob_str: Any = None, base_path: Any = None, policy: str = "live", glob: bool = True
    ) -> bool | list[str]:
        """Keeps files with the run: none yet; see `runlake.Run.save`.

        Args:
            glob_str: a file, or a pattern that several match.
            base_path: the folder that their names are relative to.
            policy: `now`, `live` or `end`.
            glob: whether `glob_str` is a pattern.
        """
        self._live("save")
        if glob_str is None:
            return True
        if policy not in ("now", "live", "end"):
            raise ValueError(f"save: policy {policy!r} is none of now, live, end")
        pattern = os.fspath(glob_str)
        if not glob:
            from glob import escape

            pattern = escape(pattern)
        return self._kept.save(pattern, base_path, policy)

    def restore(
        self, name: str, run_path: str | None = None, replace: bool = False, root: str | None = None
    ) -> TextIO | None:
        """Opens a file of `dir`; there is no server that has others."""
        path = os.path.join(root or self.dir, name)
        if not os.path.exists(path):
            raise ValueError(f"restore: {path} does not exist, and no server has it")
        return open(path, encoding="utf-8")

    def alert(self, title: str, text: str, level: Any = None, wait_duration: Any = None) -> None:
        """Prints an alert; a level is `INFO`, `WARN` or `ERROR`."""
        self._live("alert")
        word = str(getattr(level, "value", level) or "INFO").upper()
        if word not in ("INFO", "WARN", "ERROR"):
            raise ValueError(f"alert: level {level!r} is none of INFO, WARN, ERROR")
        self._kept.alert(title, text, word, wait_duration)

    def mark_preempting(self) -> None:
        """Says that the run is about to be stopped by its scheduler: what was logged is made durable."""
        self._live("mark_preempting")
        self._kept.mark_preempting()

    def watch(
        self,
        models: Any,
        criterion: Any = None,
        log: str | None = "gradients",
        log_freq: int = 1000,
        idx: int | None = None,
        log_graph: bool = False,
    ) -> None:
        """Logs no gradients and parameters yet."""
        self._kept.watch(models, criterion, log, log_freq, idx, log_graph)

    def unwatch(self, models: Any = None) -> None:
        """Nothing is watched."""
        self._kept.unwatch(models)

    def write_logs(self, text: str) -> None:
        """Stores no console output yet."""
        later.say("console output")

    def log_code(
        self, root: str | None = ".", name: str | None = None, include_fn: Any = None, exclude_fn: Any = None
    ) -> None:
        """Stores no code yet."""
        later.say("log_code()")

    def log_artifact(
        self,
        artifact_or_path: Any,
        name: str | None = None,
        type: str | None = None,
        aliases: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
    ) -> Artifact:
        """Stores no artifact yet, and returns it."""
        from runlake.as_wandb.artifact import made_of

        self._live("log_artifact")
        return made_of(artifact_or_path, name, type, self.id)._log(aliases, tags)

    def upsert_artifact(
        self,
        artifact_or_path: Any,
        name: str | None = None,
        type: str | None = None,
        aliases: Sequence[str] | None = None,
        distributed_id: str | None = None,
    ) -> Artifact:
        """Stores no artifact yet, and returns it."""
        return self.log_artifact(artifact_or_path, name, type, aliases)

    def finish_artifact(
        self,
        artifact_or_path: Any,
        name: str | None = None,
        type: str | None = None,
        aliases: Sequence[str] | None = None,
        distributed_id: str | None = None,
    ) -> Artifact:
        """Stores no artifact yet, and returns it."""
        return self.log_artifact(artifact_or_path, name, type, aliases)

    def use_artifact(
        self,
        artifact_or_name: Any,
        type: str | None = None,
        aliases: Sequence[str] | None = None,
        use_as: str | None = None,
    ) -> Artifact:
        """Takes note of an artifact of this process; one by its name is not stored yet.

        Raises:
            CommError: it is asked for by its name.
        """
        from runlake.as_wandb.artifact import Artifact, none_stored

        if not isinstance(artifact_or_name, Artifact):
            raise none_stored(artifact_or_name)
        return artifact_or_name._log(aliases)

    def link_artifact(self, artifact: Artifact, target_path: str, aliases: Sequence[str] | None = None) -> Artifact:
        """Links nothing: there is no registry."""
        return artifact.link(target_path, aliases)

    def log_model(self, path: Any, name: str | None = None, aliases: Sequence[str] | None = None) -> None:
        """Stores no model yet."""
        self.log_artifact(path, name, "model", aliases)

    def use_model(self, name: str) -> str:
        """Cannot be done yet."""
        from runlake.as_wandb.artifact import none_stored

        raise none_stored(name)

    def link_model(
        self, path: Any, registered_model_name: str, name: str | None = None, aliases: Sequence[str] | None = None
    ) -> Artifact:
        """Stores no model yet, and links nothing."""
        return self.log_artifact(path, name, "model", aliases)

    def pin_config_keys(self, keys: Sequence[str] = ()) -> None:
        """Says which keys of the configuration pages show first; there is no page yet."""

    def status(self) -> Any:
        """What is still to be sent: nothing, ever."""
        from types import SimpleNamespace

        return SimpleNamespace(sync_items_total=0, sync_items_pending=0, sync_time=None)

    def display(self, height: int = 420, hidden: bool = False) -> bool:
        """Shows nothing: there is no page."""
        return False

    def to_html(self, height: int = 420, hidden: bool = False) -> str:
        """What notebooks show of the run."""
        import html

        return f"<p>run <b>{html.escape(self.name)}</b> of {html.escape(self.project)}</p>"

    def _repr_html_(self) -> str:
        return self.to_html()

    def _label(self, *_labels: Any, **_more: Any) -> None:
        """What integrations say of themselves to wandb; nobody is told."""

    def _live(self, call: str) -> None:
        if self._finished:
            raise UsageError(f"{call}: run {self.id} is finished; call wandb.init() for another")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        from runlake.as_wandb import session

        self._finished = True
        self._kept.__exit__(kind, error, traceback)
        session.leave(self)

    def __reduce__(self) -> tuple[Any, ...]:
        from runlake.as_wandb import session

        return session.attached, (self._kept, self.settings.model_dump(), self._step)

    def __repr__(self) -> str:
        return f"<wandb.Run {self.path!r} in the lake {self._kept.store!r}>"


def _count(value: Any) -> int | None:
    """How many values an array of any library has; `None` where it is none."""
    if not getattr(value, "ndim", 0) or not hasattr(value, "tolist"):
        return None
    return int(value.numel() if callable(value.size) else value.size)
