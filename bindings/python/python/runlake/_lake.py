"""`Lake`: reading what runs logged, also while they log."""

from __future__ import annotations

from runlake import _native
from runlake._chart import Chart
from runlake._errors import InvalidArgument
from runlake._tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator
    from datetime import datetime, timedelta
    from typing import Any, Literal

    from runlake._native import Relation

    _Path = str | os.PathLike[str]


def open(store: str | os.PathLike[str] | None = None) -> Lake:
    """Opens a lake for reading; it may be one that other processes write at the moment. Never creates one.

    Args:
        store: the lake; see the package for where it is otherwise.

    Raises:
        NoLake: no lake stands there; the message lists where it was looked for.

    >>> import runlake
    >>> lake = runlake.open()
    """
    return Lake(store)


class Lake(_native.Lake):
    """A lake that is open for reading. Each query sees one consistent view of it, as it is at that moment."""

    def runs(
        self,
        project: str | None = None,
        *,
        where: str | None = None,
        order_by: str | None = None,
        limit: int | None = None,
    ) -> Relation:
        """The runs, newest first, one row each: the columns of SQL table `runs`.

        With `where` or `order_by` they are the columns of `runs_wide` instead, with a column for each value of the
        configuration and the summary.

        Args:
            project: only runs of this project.
            where: a condition in SQL, on the columns of `runs_wide`: `"config.lr" > 0.01 and state = 'finished'`.
            order_by: the columns to sort by, in SQL: `"summary.val/loss"`, `duration_s desc`.
            limit: only so many.

        >>> import runlake
        >>> for lr in (0.1, 0.01):
        ...     with runlake.init(project="digits", config={"lr": lr}) as run:
        ...         run.log({"loss": lr * 2})
        >>> runlake.open().runs("digits").to_dicts()[0]["state"]
        'finished'
        >>> best = runlake.open().runs("digits", where='"config.lr" < 1', order_by='"summary.loss"', limit=1)
        >>> best.to_dicts()[0]["config.lr"]
        0.01
        """
        if where is None and order_by is None:
            table = "runs" if project is None else f"runs where project = {_text(project)}"
            query = f"select * from {table} order by created_at desc, run_id"
        else:
            table = f"runs_wide({'' if project is None else _text(project)})"
            condition = "" if where is None else f" where ({where})"
            query = f"select * from {table}{condition} order by {order_by or 'created_at desc, run_id'}"
        return self.sql(query if limit is None else f"{query} limit {int(limit)}")

    def chart(
        self,
        metric: str | Iterable[str],
        *,
        runs: str | Iterable[str] | None = None,
        where: str | None = None,
        x: str = "step",
        from_: float | str | datetime | None = None,
        to: float | str | datetime | None = None,
        buckets: int = 1000,
        smooth: float | None = None,
        group: str | None = None,
    ) -> Chart:
        """Metrics of any number of runs as they are drawn: what all points in each of `buckets` parts of an axis say.

        No extreme is lost, however many points there are. One row a series and bucket, with `min_value`, `max_value`,
        `mean_value`, `first_value`, `last_value`, `count` and others; one row a group and bucket with `group`. See
        `chart` in docs/sql.md for all columns.

        Args:
            metric: a metric or several; `*` stands for any text, and a regular expression follows a tilde: `"~loss$"`.
            runs: a run or several, each as for `Lake.run`. All where neither this nor `where` is given.
            where: a condition in SQL on the columns of `runs_wide`: `"config.lr" > 0.01`.
            x: "step", "time", "relative_time" (seconds since the run was created), or another metric.
            from_: where the axis begins.
            to: where the axis ends, included.
            buckets: how many there may be, at most.
            smooth: from 0 up to 1: adds `smooth_value`, an exponential moving average over the buckets.
            group: what series of one band share: `"config.lr"`, `"tags"`, `"label.rank"`, or a column of `runs`.

        Raises:
            InvalidQuery: there is no such metric, or an argument makes no sense; the message says what does.
            NotFound: no run is called so, or several are.

        >>> import runlake
        >>> with runlake.init(project="digits") as run:
        ...     run.log_many("loss", [1 / (step + 1) for step in range(10_000)])
        >>> chart = runlake.open().chart("loss", runs=run.id, buckets=100)
        >>> chart.to_dicts()[0]["max_value"]
        1.0
        """

        def place(place: float | str | datetime) -> str:
            if isinstance(place, float) and place.is_integer():
                place = int(place)
            return _text(str(place) if isinstance(place, (int, float, str)) else place.isoformat())

        arguments = [_texts(metric), f"x => {_text(x)}", f"buckets => {int(buckets)}"]
        if runs is not None:
            arguments.append(f"runs => {_texts(runs)}")
        for name, text in (("where", where), ("group", group)):
            if text is not None:
                arguments.append(f"{name} => {_text(text)}")
        for name, end in (("from", from_), ("to", to)):
            if end is not None:
                arguments.append(f"{name} => {place(end)}")
        if smooth is not None:
            arguments.append(f"smooth => {float(smooth)!r}")
        query = f"select * from chart({', '.join(arguments)})"
        return Chart(self.sql(query), axis=x, query=query)

    def watch(self, query: str | Chart, every: float = 1.0) -> Iterator[Relation]:
        """A query that stands: first its whole result, then, whenever it changes, the rows that were not there before.

        A row that changes comes again as it is then; one that is gone says nothing. So rows are best told apart by
        columns that stay: a run, a series, a bucket. Where other columns come (a new metric in `history`), all rows
        come again. It goes on until nobody asks for more.

        Args:
            query: the query, or a chart that `Lake.chart` returned; the changes are charts then, too.
            every: how many seconds lie between two looks.

        Raises:
            InvalidQuery: at the first look, as for `Lake.sql`.

        >>> import runlake
        >>> with runlake.init(project="digits", id="watched") as run:
        ...     run.log({"loss": 0.5})
        ...     watch = runlake.open().watch("select metric, last_value from series", every=0.01)
        ...     first = next(watch).fetchall()
        ...     run.log({"accuracy": 0.9})
        ...     then = next(watch).fetchall()
        >>> first, then
        ([('loss', 0.5)], [('accuracy', 0.9)])
        """
        import time

        text = query if isinstance(query, str) else query._query
        if text is None:
            raise InvalidArgument("only a chart that lake.chart() returned can be watched; give the query instead")
        known: Relation | None = None
        while True:
            due = time.monotonic() + every
            found = self.sql(text)
            changed = found if known is None else found._since(known)
            if known is None or len(changed) > 0:
                yield changed if isinstance(query, str) else Chart(changed, axis=query._axis, query=text)
            known = found
            time.sleep(max(0.0, due - time.monotonic()))

    def compare(
        self,
        *runs: str,
        where: str | None = None,
        baseline: str | None = None,
        metrics: str | Iterable[str] | None = None,
        min: str | Iterable[str] | None = None,
        max: str | Iterable[str] | None = None,
        all: bool = False,
    ) -> Relation:
        """Runs side by side: what differs in configuration, outcome and metrics, by how much, and which is the best.

        One row a thing that is known, with a column for each run, and for each but the first another one with the
        difference to the first. Column `best` names the run whose value is the best.

        Args:
            runs: the runs, each as for `Lake.run`.
            where: the runs for which a condition in SQL on the columns of `runs_wide` holds: `"config.lr" > 0.01`.
            baseline: the run that the others are compared with. The first where not given.
            metrics: only these, with `*` for any text.
            min: metrics of which less is better, with `*` for any text. Where nobody says, their names do: those with
                a word such as `loss` or `error`, see `compare` in docs/sql.md.
            max: metrics of which more is better.
            all: also what is the same for all runs.

        Raises:
            InvalidQuery: there are not two runs, or an argument makes no sense.
            NotFound: no run is called so, or several are.

        >>> import runlake
        >>> for id, lr in (("a", 0.1), ("b", 0.2)):
        ...     with runlake.init(project="digits", id=id, config={"lr": lr, "depth": 3}) as run:
        ...         run.log({"loss": lr})
        >>> rows = runlake.open().compare("a", "b", metrics="loss").to_dicts()
        >>> [(row["key"], row["a"], row["b"], row["best"]) for row in rows if row["part"] in ("config", "best")]
        [('lr', '0.1', '0.2', None), ('loss', '0.1', '0.2', 'a')]
        """
        arguments = [f"{name} => {_text(text)}" for name, text in (("where", where), ("baseline", baseline)) if text]
        for name, patterns in (("runs", runs or None), ("metrics", metrics), ("min", min), ("max", max)):
            if patterns is not None:
                arguments.append(f"{name} => {_texts(patterns)}")
        return self.sql(f"select * from compare({', '.join(arguments)}){'' if all else ' where differs'}")

    def run(self, run: str = "@last") -> RunInfo:
        """One run as the lake knows it now.

        Args:
            run: its id, a unique prefix of it, its name, `project/` and one of these, `@last`, or `@last-1`.

        Raises:
            NotFound: no run is called so, or several are; the message names candidates.
        """
        return RunInfo(self, *self.find_run(run))

    def history(self, run: str = "@last", metrics: str | Iterable[str] | None = None) -> Relation:
        """The metrics of a run side by side: one row a step, one column a metric.

        Args:
            run: a run, as for `Lake.run`.
            metrics: names of metrics, with `*` for any text: `"train/*"`, `["loss", "eval/*"]`. All where not given.

        >>> import runlake
        >>> with runlake.init(project="digits") as run:
        ...     run.log({"loss": 0.5, "accuracy": 0.8})
        >>> runlake.open().history(run.id, metrics="loss").to_dicts()[0]["loss"]
        0.5
        """
        project, id = self.find_run(run)
        # The id alone may name runs of several projects, so the project says which.
        arguments = [_text(f"{project}/{id}")]
        if metrics is not None:
            arguments.append(f"metrics => {_texts(metrics)}")
        return self.sql(f"select * from history({', '.join(arguments)})")

    def snapshot(self, version: int | None = None) -> Lake:
        """This lake as it is now, or as it stood after a commit, for any number of queries that have to agree.

        Args:
            version: a commit of table `points`, as `Lake.version` and the SQL table `segments` name them. What was in
                logs then is not seen, nor what is in logs now. Files that were merged stay for an hour: an older
                version may raise `SnapshotExpired` when it is asked.

        Raises:
            NotFound: there is no such version; the message names the oldest and the newest.

        >>> import runlake
        >>> with runlake.init(project="digits") as run:
        ...     run.log({"loss": 0.5})
        >>> before = runlake.open().snapshot()
        >>> with runlake.init(project="digits") as run:
        ...     run.log({"loss": 0.4})
        >>> len(before.runs("digits").to_dicts()), len(runlake.open().runs("digits").to_dicts())
        (1, 2)
        """
        return Lake(pinned=self._pin(version))

    def delete_runs(self, runs: str | Iterable[str], *, for_good: bool = False) -> int:
        """Deletes runs: no reader of the lake sees them or their points from here on. Returns how many.

        Their points are left out of the files by the first `runlake compact` a week later; until then `restore_runs`
        brings them back, and so does whoever resumes one.

        Args:
            runs: a run or several, each as for `Lake.run`. Where one is not found, none is deleted.
            for_good: do not wait for the week; the next `runlake compact` leaves them out.

        Raises:
            NotFound: no run is called so, or several are; the message names candidates.

        >>> import runlake
        >>> with runlake.init(project="digits") as run:
        ...     run.log({"loss": 0.5})
        >>> lake = runlake.open()
        >>> lake.delete_runs(run.id)
        1
        >>> lake.restore_runs(run.id)
        1
        """
        return self._delete([runs] if isinstance(runs, str) else list(runs), for_good)

    def restore_runs(self, runs: str | Iterable[str]) -> int:
        """Brings deleted runs back as they were. Returns how many. See `Lake.delete_runs`.

        Raises:
            NotFound: no deleted run is called so.
        """
        return self._restore([runs] if isinstance(runs, str) else list(runs))

    def merge(self, sources: _Path | Iterable[_Path], *, final: bool = False) -> int:
        """Merges other lakes into this one: their runs, points and facts. Returns how many points came.

        It can be repeated at any time, also while the sources go on: what is new comes, and nothing is doubled. What
        stands in the log of a living writer comes once it is flushed there.

        Args:
            sources: the folder of a lake, or several.
            final: the last merge of these lakes. Their files become this lake's own and are compacted with the rest.

        Raises:
            NoLake: no lake stands at one of the folders; then nothing is merged.
        """
        import os

        several = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources)
        return self._merge(several, final)

    def expire(self, *, raw_older_than: timedelta, project: str | None = None, dry_run: bool = False) -> int:
        """Lets the points of old runs go and keeps what they add up to. Returns how many points went.

        Of each series count, first, last, least and greatest values and their steps, mean, and coarse rollups of the
        long ones stay: SQL's `runs`, `config` and `series` answer as before. `points` and `history` have no rows of
        these runs any more. There is no way back. The space is free after `runlake compact`.

        Args:
            raw_older_than: runs that ended so long ago. Never one that runs, or whose host cannot be seen.
            project: only runs of this project.
            dry_run: only say how many points would go.

        Raises:
            StorageError: another process is merging at the moment.

        >>> import datetime, runlake
        >>> with runlake.init(project="digits") as run:
        ...     run.log({"loss": 0.5})
        >>> runlake.open().expire(raw_older_than=datetime.timedelta(days=90))
        0
        """
        return self._expire(raw_older_than.total_seconds(), project, dry_run)

    def export(
        self,
        folder: _Path,
        *,
        run: str | Iterable[str] | None = None,
        project: str | None = None,
        format: Literal["parquet", "csv", "json", "jsonl", "arrow"] = "parquet",
    ) -> tuple[int, int]:
        """Writes runs and their points to files for other programs, as `runlake export` does.

        The folder holds `runs`, `config`, `series` and `points` afterwards, each in the one format. Points are those
        that count, sorted by project, run, metric, labels and step. All four show the same moment. Returns how many
        runs and how many points were written.

        Args:
            folder: where the files go; made where it is missing. Nothing is overwritten: it must be empty.
            run: only this run, or these, each as for `Lake.run`.
            project: only runs of this project.
            format: the form of the files.

        Raises:
            NotFound: no run, or no project, is called so.
            InvalidArgument: the folder is not empty.
            StorageError: the folder cannot be written.

        >>> import runlake, tempfile
        >>> with runlake.init(project="digits") as run:
        ...     run.log({"loss": 0.5, "accuracy": 0.8})
        >>> runlake.open().export(tempfile.mkdtemp(), project="digits", format="csv")
        (1, 2)
        """
        runs = [] if run is None else [run] if isinstance(run, str) else list(run)
        return self._export(folder, runs, project, format)

    def __repr__(self) -> str:
        return f"<runlake.Lake {self.path!r}>"


class RunInfo:
    """A run as a lake knows it: what the columns of SQL table `runs` say, with config and summary as mappings.

    `name`, `notes`, `tags`, `config` and `summary` can be changed, also of a run that ended long ago; each change is
    durable when it returns. The rest stays as it was when `Lake.run` looked.

    >>> import runlake
    >>> with runlake.init(project="digits", config={"lr": 0.1}) as run:
    ...     run.log({"loss": 0.5})
    >>> found = runlake.open().run(run.id)
    >>> found.tags += ["baseline"]
    >>> found.notes = "the one to beat"
    >>> found.config["dataset"] = "v2"
    >>> found.summary["verdict"] = "good"
    >>> again = runlake.open().run(run.id)
    >>> again.tags, again.notes, again.config, again.summary
    (['baseline'], 'the one to beat', {'lr': 0.1, 'dataset': 'v2'}, {'loss': 0.5, 'verdict': 'good'})
    """

    project: str
    id: str
    group: str | None
    job_type: str | None
    state: str
    created_at: datetime | None
    finished_at: datetime | None
    heartbeat_at: datetime | None
    duration_s: float | None
    last_step: int | None
    host: str | None
    user_name: str | None
    program: str | None
    command: str | None
    exit_code: int | None
    git_commit: str | None
    git_remote: str | None
    parent_run_id: str | None
    fork_step: int | None
    dropped_rows: int
    config: Tree
    summary: Tree
    _name: str | None
    _notes: str | None
    _tags: list[str]

    def __init__(self, lake: Lake, project: str, id: str) -> None:
        import functools
        import json

        rows = lake.sql(f"select * from runs where project = {_text(project)} and run_id = {_text(id)}")
        row = rows.to_dicts()[0]
        row["id"], row["group"] = row.pop("run_id"), row.pop("group_name")
        self._name, self._notes, self._tags = row.pop("name"), row.pop("notes"), row.pop("tags") or []
        for kind in ("config", "summary"):
            row[kind] = Tree(json.loads(row[kind] or "{}"), functools.partial(self._changed, kind))
        vars(self).update(row)
        self._lake = lake

    @property
    def name(self) -> str | None:
        """The name for people; it can be set."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._edit("run", {"name": name})
        self._name = name

    @property
    def notes(self) -> str | None:
        """The notes; they can be set, and taken off by `None`."""
        return self._notes

    @notes.setter
    def notes(self, notes: str | None) -> None:
        self._edit("run", {} if notes is None else {"notes": notes}, off=["notes"] if notes is None else [])
        self._notes = notes

    @property
    def tags(self) -> list[str]:
        """The tags, sorted; a list of others can be set: `run.tags += ["baseline"]`."""
        return list(self._tags)

    @tags.setter
    def tags(self, tags: Iterable[str]) -> None:
        after = sorted({tags} if isinstance(tags, str) else set(tags))
        on = {tag: True for tag in after if tag not in self._tags}
        self._edit("tag", on, off=[tag for tag in self._tags if tag not in after])
        self._tags = after

    def _changed(self, kind: str, key: str) -> None:
        values = (self.config if kind == "config" else self.summary).as_dict()
        said = {key: values[key]} if key in values else {}
        self._edit(kind, said, off=[] if said else [key])

    def _edit(self, kind: str, said: dict[str, Any], off: Iterable[str] = ()) -> None:
        self._lake._edit(f"{self.project}/{self.id}", kind, said, list(off))

    def history(self, metrics: str | Iterable[str] | None = None) -> Relation:
        """The metrics of the run side by side; see `Lake.history`."""
        return self._lake.history(f"{self.project}/{self.id}", metrics)

    def __repr__(self) -> str:
        return f"<runlake.RunInfo {self.name!r} id={self.id!r} project={self.project!r} state={self.state!r}>"


def _text(text: str) -> str:
    """A text as SQL spells it."""
    return "'" + text.replace("'", "''") + "'"


def _texts(texts: str | Iterable[str]) -> str:
    """A text or several as SQL spells a list of them."""
    return f"[{', '.join(map(_text, [texts] if isinstance(texts, str) else texts))}]"
