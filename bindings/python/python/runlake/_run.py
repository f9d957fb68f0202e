"""`Run`: what a training loop logs to."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping

from runlake import _launch, _native
from runlake._errors import not_yet
from runlake._metric import Metric, goal_of, name_of, summary_of
from runlake._settings import Settings
from runlake._tree import Config, Summary, mapping_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import timedelta
    from types import TracebackType
    from typing import Any

    from typing_extensions import Self

_DRAWN = 10
"""So many metrics are drawn at the end of a run."""


class Run(_native.Run):
    """A run that this process logs to; `runlake.init` makes it.

    It is a context manager: leaving the block ends the run, as failed where an exception leaves it, as killed where
    that is a KeyboardInterrupt. Any number of threads may log. A child made by fork logs to the run too, and a run can
    be handed to other processes as an argument; only the process that started a run ends it.
    """

    _process: int
    _settings: Settings
    _joined: bool
    _ended: bool
    _started: float
    _said: dict[str, Any]
    _earlier: Mapping[str, Any] | None
    _config: Config
    _summary: Summary
    _tags: tuple[str, ...] | None
    _fresh: bool
    _metrics: dict[str, Metric]
    _quiet_until: dict[str, float]

    def __new__(
        cls,
        *,
        store: str | os.PathLike[str],
        project: str,
        id: str | None = None,
        name: str | None = None,
        config: Mapping[str, Any] | object | None = None,
        group: str | None = None,
        job_type: str | None = None,
        tags: Iterable[str] | None = None,
        notes: str | None = None,
        launch: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        strict: bool = False,
        joined: bool = False,
        settings: Settings | None = None,
        resume_from: int | None = None,
        fork_from: tuple[str, int] | None = None,
    ) -> Self:
        """Starts a run. Use `runlake.init`, which finds the lake and sets the state when the program ends."""
        tags = None if tags is None else sorted_tags(tags)
        run = super().__new__(
            cls,
            store=store,
            project=project,
            id=id,
            name=name,
            config=config,
            group=group,
            job_type=job_type,
            tags=tags,
            notes=notes,
            launch=launch,
            attributes=dict(attributes or {}),
            strict=strict,
            joined=joined,
            resume_from=resume_from,
            fork_from=fork_from,
        )
        run._process = os.getpid()
        run._settings = Settings(project=project) if settings is None else settings
        run._joined = joined
        run._ended = False
        run._started = time.monotonic()
        run._earlier = None
        run._metrics = {}
        run._quiet_until = {}
        # Where the id is given, what is None here may have been said before; a fork takes things over from its parent.
        run._fresh = id is None and fork_from is None
        said = {"name": name, "group": group, "job_type": job_type, "notes": notes}
        run._said = said if id is not None else {**said, "name": run.first_name}
        run._tags = tags if id is not None or tags is not None else ()
        known = None if run._fresh else run._known
        run._config = Config(
            mapping_of(config),
            run._config_changed,
            None if known is None else lambda: known()["config"],
        )
        run._summary = Summary(
            run._summary_changed,
            run._summed,
            run.metrics,
            None if known is None else lambda: known()["summary"],
        )
        return run

    def _known(self) -> Mapping[str, Any]:
        """What the lake knew of the run when this process first asked."""
        if self._earlier is None:
            self._earlier = {"config": {}, "summary": {}, "metrics": {}, "tags": (), "resumed": False, **self.known()}
        return self._earlier

    def _attribute(self, key: str) -> Any:
        value = self._said[key]
        if value is None and not self._fresh:
            value = self._known().get(key)
        return value

    def _say(self, key: str, value: str | None) -> None:
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{key} must be a str, not {type(value).__name__}")
        self.set_attribute("group_name" if key == "group" else key, value)
        self._said[key] = value

    @property
    def name(self) -> str:
        """The name for people, such as `calm-otter-17`; may be set at any time."""
        return str(self._attribute("name") or self.first_name)

    @name.setter
    def name(self, value: str) -> None:
        self._say("name", value)

    @property
    def notes(self) -> str | None:
        """Notes in your words; may be set at any time."""
        notes: str | None = self._attribute("notes")
        return notes

    @notes.setter
    def notes(self, value: str | None) -> None:
        self._say("notes", value)

    @property
    def group(self) -> str | None:
        """The group that the run belongs to; may be set at any time."""
        group: str | None = self._attribute("group")
        return group

    @group.setter
    def group(self, value: str | None) -> None:
        self._say("group", value)

    @property
    def job_type(self) -> str | None:
        """The type of job, such as `train`; may be set at any time."""
        job_type: str | None = self._attribute("job_type")
        return job_type

    @job_type.setter
    def job_type(self, value: str | None) -> None:
        self._say("job_type", value)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags, sorted; `run.tags += ("baseline",)` adds one."""
        if self._tags is None:
            self._tags = tuple(self._known()["tags"])
        return self._tags

    @tags.setter
    def tags(self, value: Iterable[str]) -> None:
        before, after = self.tags, sorted_tags(value)
        for tag in before:
            if tag not in after:
                self.set_tag(tag, False)
        for tag in after:
            if tag not in before:
                self.set_tag(tag, True)
        self._tags = after

    @property
    def entity(self) -> str | None:
        """Whose project it is, as `init` was told. A lake has no entities, so no reader knows of it."""
        return self._settings.entity

    @property
    def path(self) -> str:
        """Which run it is, for `Api().run(...)` and `runlake show`: `project/id`."""
        return f"{self.project}/{self.id}"

    @property
    def settings(self) -> Settings:
        """What the run was started with, of the arguments, the settings and the environment."""
        return self._settings

    @property
    def disabled(self) -> bool:
        """Whether nothing of the run is kept: `mode="disabled"`."""
        return False

    @property
    def offline(self) -> bool:
        """True for every run: it is kept in the lake, and no server hears of it."""
        return True

    @property
    def resumed(self) -> bool:
        """Whether the run had been started before."""
        return not self._fresh and self._known()["resumed"] is True

    @property
    def config(self) -> Config:
        """The configuration: `run.config["lr"]`, `run.config.lr = 0.1`, `run.config.update(...)`."""
        return self._config

    @property
    def summary(self) -> Summary:
        """The summary: `run.summary["best"] = 0.93`; metrics that were not set read as their last value."""
        return self._summary

    def _summed(self, key: str) -> Any:
        """What the summary holds of a metric that the user did not set."""
        last = self.last(key)
        # Where something was defined of metrics, only the lake can tell, as it knows what was logged by others too.
        if last is not None and (self._metrics or (not self._fresh and self._known()["metrics"])):
            return self.summed(key).get(key)
        return last

    def _config_changed(self, key: str) -> None:
        _tell(self._config, key, self.set_config, self.remove_config)

    def _summary_changed(self, key: str) -> None:
        _tell(self._summary, key, self.set_summary, self.remove_summary)

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
        """Says what a metric is: its x axis, what the summary holds of it, whether more is better.

        It holds for the whole run, for what was logged before too, and stands in the SQL table `metrics`. A metric has
        one definition: its own, else that of the longest pattern that matches.

        Args:
            name: a metric, or a pattern such as `train/*`, in which `*` stands for any text.
            step_metric: the metric whose values are the x axis of this one.
            step_sync: whether rows with the metric, logged by this process, get the last value of `step_metric` where
                they hold none; so it is unless `False` is given.
            hidden: whether charts that nobody asked for should leave the metric out.
            summary: what `summary` holds of the metric in the stead of the last value: `min`, `max`, `mean`, `first`,
                `last`, `best`, or several between commas, as `{"max": 0.9}`. `none` leaves the metric out, `copy` is
                the last value itself.
            goal: `minimize` or `maximize`; `best` goes by it, and minimizes where it is not given.
            overwrite: forget what was defined under this name before. Otherwise what is not given stays as it was.

        Raises:
            InvalidArgument: a name is empty, or a word is none of those above.

        >>> import runlake
        >>> with runlake.init(project="digits") as run:
        ...     _ = run.define_metric("val/*", step_metric="epoch", summary="max")
        ...     for epoch, accuracy in enumerate([0.7, 0.9, 0.8]):
        ...         run.log({"epoch": epoch, "val/accuracy": accuracy})
        ...     run.summary["val/accuracy"]
        {'max': 0.9}
        """
        name = name_of(name, "name")
        before = None if overwrite else self._metric(name)
        metric = Metric(name) if before is None else before
        if step_metric is not None:
            metric.step_metric = name_of(step_metric, "step_metric")
        if step_sync is not None:
            metric.step_sync = step_sync
        if hidden is not None:
            metric.hidden = hidden
        if summary is not None:
            metric.summary = summary_of(summary)
        if goal is not None:
            metric.goal = goal_of(goal)
        self._define(metric)
        self._metrics[name] = metric
        return metric

    def alert(
        self,
        title: str,
        text: str = "",
        level: str | None = None,
        wait_duration: float | timedelta | None = None,
    ) -> None:
        """Prints an alert to stderr. Nobody else hears of it yet, which is said once.

        Args:
            title: what it is about.
            text: more about it.
            level: `INFO`, `WARN` or `ERROR`.
            wait_duration: seconds for which further alerts with this title are left out.
        """
        now = time.monotonic()
        if now < self._quiet_until.get(title, now):
            return
        wait = wait_duration or 0.0
        self._quiet_until[title] = now + (wait if isinstance(wait, (int, float)) else wait.total_seconds())
        level = str(getattr(level, "value", level or "INFO")).upper()
        self._print(f"alert {level}: {title}{': ' if text else ''}{text}")
        not_yet("alert()", "alerts are printed only; nobody is notified yet and none is kept")

    def save(
        self, glob_str: str | os.PathLike[str], base_path: str | os.PathLike[str] | None = None, policy: str = "live"
    ) -> list[str]:
        """Saves files with the run: none yet, which is said once. Returns those that were saved.

        Args:
            glob_str: which files.
            base_path: the folder that their names are relative to.
            policy: `live`, `now` or `end`: when they are taken.
        """
        not_yet("save()", "files are not kept yet; they stay where they are")
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
        """Logs gradients and parameters of models: not yet, which is said once.

        Args:
            models: a model or several.
            criterion: the loss function.
            log: `gradients`, `parameters` or `all`.
            log_freq: every so many batches.
            idx: the number of the first model.
            log_graph: the graph of the model too.
        """
        not_yet("watch()", "gradients and parameters are not logged by themselves yet; log what you compute of them")

    def unwatch(self, models: object = None) -> None:
        """Ends what `watch` began: nothing yet.

        Args:
            models: a model or several; all where not given.
        """

    def mark_preempting(self) -> None:
        """Tells that the run is about to be preempted: makes durable what was logged so far.

        A run whose process is then killed is `crashed`, as any; `init(resume="auto")` lets it go on.
        """
        self.sync()

    def _define(self, metric: Metric) -> None:
        words = None if metric.summary is None else list(metric.summary)
        self.define(metric.name, metric.step_metric, words, metric.goal, metric.hidden, metric.step_sync)

    def _metric(self, name: str) -> Metric | None:
        """What was defined under a name, by this process or before."""
        known = self._metrics.get(name)
        if known is None and not self._fresh and name in self._known()["metrics"]:
            step_metric, summary, goal, hidden = self._known()["metrics"][name]
            known = Metric(name, step_metric, True, None if summary is None else tuple(summary), goal, hidden)
        return known

    @property
    def _is_mine(self) -> bool:
        return not self._joined and self._process == os.getpid()

    def finish(self, exit_code: int | None = None) -> None:
        """Ends the run and prints its summary to stderr: as finished, or as failed where there is an `exit_code` but 0.

        Rows that are logged later are still kept. In a process that did not start the run, a forked child for example,
        this makes durable what the process logged, and the run goes on.
        """
        self._end("failed" if exit_code else "finished", exit_code or 0)

    def _end(self, state: str, exit_code: int) -> None:
        from runlake import _live

        if not self._is_mine:
            self.sync()
            _live.leave(self)
            return
        if self._ended:
            return
        self._ended = True
        try:
            self.end(state, exit_code)
        finally:
            _live.leave(self)
        self._print(self._farewell(state))

    def _print(self, text: str) -> None:
        if not self._settings.silent:
            report(text)

    def _farewell(self, state: str) -> str:
        stats, trends = self.stats(), self.trends(_DRAWN, 40)
        calls, seconds = stats["calls"], stats["seconds"]
        dropped = stats["dropped_rows"] + stats["refused_rows"]
        lines = [
            f"run {self.name} ({self.id}) {state} after {_duration(time.monotonic() - self._started)}: "
            f"{stats['rows']:,} rows, {stats['points']:,} points kept, {dropped:,} rows dropped"
        ]
        width = max((len(name) for name, _, _ in trends), default=0)
        lines += [f"  {name:<{width}}  {line:<40}  {last:.6g}" for name, line, last in trends]
        if (more := len(self.metrics()) - len(trends)) > 0:
            lines.append(f"  and {more:,} more metrics")
        if calls:
            lines.append(f"logging took {_duration(seconds)} in {calls:,} calls, {seconds / calls * 1e6:.2g} us each")
        lines.append(f"lake {self.store}")
        lines.append(f"next: runlake show {self.id}")
        return "\n".join(lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(*outcome(error))

    def __reduce__(self) -> tuple[Callable[..., Run], tuple[str, str, str, str]]:
        from runlake import _live

        return _live.attach, (self.launch, self.id, self.project, self.store)

    def __repr__(self) -> str:
        return f"<runlake.Run {self.name!r} id={self.id!r} project={self.project!r} store={self.store!r}>"

    def handed(self) -> _launch.Handed:
        """What another process needs to log to this run."""
        return _launch.Handed(self.launch, self.id, self.project, self.store)


def outcome(error: BaseException | None) -> tuple[str, int]:
    """The state and the exit code of a run whose program ends with `error`."""
    if error is None:
        return "finished", 0
    if isinstance(error, KeyboardInterrupt):
        return "killed", 130
    if isinstance(error, SystemExit):
        code = error.code
        if code is None:
            return "finished", 0
        if isinstance(code, int):
            return ("finished" if code == 0 else "failed"), code
    return "failed", 1


def report(text: str) -> None:
    """Prints to stderr in one write, so that lines of several processes do not mix."""
    if sys.stderr is not None:
        lines = text.split("\n")
        sys.stderr.write("".join(f"runlake: {line}\n" for line in lines))
        sys.stderr.flush()


def _tell(
    tree: Config,
    key: str,
    set: Callable[[str, object], None],
    remove: Callable[[str], None],
) -> None:
    if key in tree._values:
        set(key, tree._values[key])
    else:
        remove(key)


def sorted_tags(tags: Iterable[str]) -> tuple[str, ...]:
    if isinstance(tags, str):
        # A string is a sequence of strings, but nobody means its letters.
        return (tags,)
    return tuple(sorted({str(tag) for tag in tags}))


def _duration(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
