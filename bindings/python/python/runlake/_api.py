"""`Api`: reading a lake with the words of wandb's public API."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from runlake import _filters
from runlake._errors import InvalidArgument, NotFound, not_yet
from runlake._lake import Lake, _text
from runlake._tree import mapping_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Literal, overload

    import pandas

_COLUMNS = (
    "project, run_id, name, group_name, job_type, state, created_at, finished_at, heartbeat_at, duration_s, tags, "
    "notes, host, user_name, program, command, exit_code, git_commit, git_remote, sweep_id, config"
)
"""What costs no look at the series."""


class Api:
    """Reads a lake as wandb's public API reads its server: `Api().runs("team/digits", filters={"state": "finished"})`.

    A path names an entity, a project and a run, as far as they are wanted: `team/digits/x3f9a2b1`. A lake has no
    entities, so that part may be anything and may be missing. A run is named as everywhere: by its id, the beginning of
    it, its name, or `@last`.

    Each call sees the lake as it is then. For SQL and DataFrames over many runs see `runlake.open`.

    Args:
        overrides: the `project` and the `entity` of paths that name none.
        timeout: without meaning; no server is waited for.
        api_key: without meaning; there is no account.
        store: the lake; see the package for where it is otherwise.

    Raises:
        NoLake: no lake stands there.

    >>> import runlake
    >>> for lr in (0.1, 0.01):
    ...     with runlake.init(project="digits", config={"lr": lr}) as run:
    ...         run.log({"loss": lr * 2})
    >>> runs = runlake.Api().runs("digits", filters={"config.lr": {"$lt": 1}}, order="+summary_metrics.loss")
    >>> [(run.config["lr"], run.summary["loss"]) for run in runs]
    [(0.01, 0.02), (0.1, 0.2)]
    """

    def __init__(
        self,
        overrides: Mapping[str, Any] | None = None,
        timeout: int | None = None,
        api_key: str | None = None,
        *,
        store: str | os.PathLike[str] | None = None,
    ) -> None:
        known = {
            "entity": os.environ.get("RUNLAKE_ENTITY") or None,
            "project": os.environ.get("RUNLAKE_PROJECT") or None,
        }
        self.settings: dict[str, Any] = {**known, **(overrides or {})}
        self._lake = Lake(store)

    @property
    def lake(self) -> Lake:
        """The lake that is read."""
        return self._lake

    @property
    def default_entity(self) -> str | None:
        """The entity of paths that name none."""
        entity: str | None = self.settings["entity"]
        return entity

    def projects(self, entity: str | None = None, per_page: int = 200) -> list[str]:
        """The names of all projects.

        Args:
            entity: without meaning; a lake has no entities.
            per_page: without meaning; all are read at once.
        """
        return [name for (name,) in self._lake.sql("select distinct project from runs order by project").fetchall()]

    def runs(
        self,
        path: str | None = None,
        filters: Mapping[str, Any] | None = None,
        order: str = "+created_at",
        per_page: int = 50,
        include_sweeps: bool = False,
        lazy: bool = True,
    ) -> Runs:
        """The runs of a project that a filter wants. They are read when they are first looked at.

        Args:
            path: a project, or an entity and a project. All projects where neither it nor `overrides` names one.
            filters: as MongoDB takes it: `{"state": "finished", "config.lr": {"$lt": 0.1}}`. Paths begin with `config`,
                `summary_metrics`, `name` (the id), `display_name`, `state`, `tags`, `group`, `job_type`, `created_at`,
                `username`, `host` and so on. Operators are `$eq`, `$ne`, `$gt`, `$gte`, `$lt`, `$lte`, `$in`, `$nin`,
                `$all`, `$exists`, `$regex`, `$not`, `$size`, `$elemMatch`, and `$and`, `$or`, `$nor` over filters.
            order: a path with `+` for the least or `-` for the greatest first; several between commas. Runs without a
                value come last.
            per_page: without meaning, as are the next two; all are read at once.
            include_sweeps: there are no sweeps yet.
            lazy: runs are read lazily anyhow.

        Raises:
            InvalidArgument: a path or an operator is unknown; the message says what there is.
        """
        project = self.settings["project"] if path is None else _project_of(path)
        return Runs(self, project, filters, order)

    def run(self, path: str = "@last") -> StoredRun:
        """One run.

        Args:
            path: `entity/project/run`, `project/run` or `run`, the run as its id, the beginning of it, its name, or
                `@last`.

        Raises:
            NotFound: no run is called so, or several are; the message names candidates.
        """
        project, id = self._found(path)
        rows = self._lake.sql(
            f"select {_COLUMNS} from runs where project = {_text(project)} and run_id = {_text(id)}"
        ).to_dicts()
        return StoredRun(self, rows[0])

    def _found(self, path: str) -> tuple[str, str]:
        parts = path.strip("/").split("/")
        if len(parts) == 1 and self.settings["project"] and not path.startswith("@"):
            parts.insert(0, self.settings["project"])
        # What stands before project and run is an entity; a name with slashes is none.
        wanted = dict.fromkeys(["/".join(parts), "/".join(parts[1:]), parts[-1] if parts[-1].startswith("@") else ""])
        problem: NotFound | None = None
        for name in filter(None, wanted):
            try:
                return self._lake.find_run(name)
            except NotFound as error:
                problem = problem or error
        raise problem or NotFound(f"no run is called {path!r}")

    def flush(self) -> None:
        """Has nothing to do: each call sees the lake as it is."""


def _project_of(path: str) -> str:
    *_entity, project = path.strip("/").split("/", 1)
    return project


class Runs(Sequence["StoredRun"]):
    """The runs that `Api.runs` found: a sequence, read when it is first looked at."""

    def __init__(self, api: Api, project: str | None, filters: Mapping[str, Any] | None, order: str) -> None:
        self._api = api
        self._project = project
        self._wanted, used = _filters.compiled(filters)
        self._order = _filters.ordered(order)
        self._used = used | {path[0] for path, _descends in self._order}
        self._read: list[StoredRun] | None = None

    def _runs(self) -> list[StoredRun]:
        if self._read is None:
            # Summaries cost a look at every series: only where somebody asks for them.
            summed = self._used & {"summary_metrics", "last_step"}
            columns = f"{_COLUMNS}, last_step, summary" if summed else _COLUMNS
            where = "" if self._project is None else f" where project = {_text(self._project)}"
            rows = self._api.lake.sql(f"select {columns} from runs{where} order by created_at, run_id").to_dicts()
            runs = [StoredRun(self._api, row) for row in rows]
            documents = {id(run): run._document() for run in runs}
            runs = [run for run in runs if self._wanted(documents[id(run)])]
            # The last word sorts first, and each sort keeps what the ones before it did.
            for path, descends in reversed(self._order):
                having = [run for run in runs if _filters.kind(_filters.found(documents[id(run)], path)) > 1]
                lacking = [run for run in runs if _filters.kind(_filters.found(documents[id(run)], path)) <= 1]

                def key(run: StoredRun, path: tuple[str, ...] = path) -> tuple[int, Any]:
                    value = _filters.found(documents[id(run)], path)
                    kind = _filters.kind(value)
                    return kind, value if kind in (2, 3, 6, 7) else str(value)

                runs = [*sorted(having, key=key, reverse=descends), *lacking]
            self._read = runs
        return self._read

    def __len__(self) -> int:
        return len(self._runs())

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, index: int) -> StoredRun: ...
        @overload
        def __getitem__(self, index: slice) -> list[StoredRun]: ...

    def __getitem__(self, index: int | slice) -> StoredRun | list[StoredRun]:
        return self._runs()[index]

    def __iter__(self) -> Iterator[StoredRun]:
        return iter(self._runs())

    def __repr__(self) -> str:
        return f"<runlake.Runs of {self._project or 'all projects'}>"


class StoredRun:
    """A run as `Api` finds it in a lake; what of it may be changed is kept by `update`.

    Attributes:
        id: the id.
        name: the name for people.
        project: the project.
        entity: the entity of the `Api`; a lake has none.
        state: `running`, `finished`, `failed`, `killed`, `crashed` or `unknown`.
        config: the configuration, as dicts.
        tags: the tags, a list.
        notes: the notes; `description` is another word for it.
        group: the group.
        job_type: the type of job.
        user: the user who started it; `username` is another word for it.
        created_at: when it started, a text as in ISO 8601.
        heartbeat_at: when it last showed that it lives, likewise.
        metadata: host, program, command, git, exit code and duration.
    """

    def __init__(self, api: Api, row: dict[str, Any]) -> None:
        self._api = api
        self._summary: Summed | None = None
        self._load(row)

    def _load(self, row: dict[str, Any]) -> None:
        import json

        self._row = row
        self.id: str = row["run_id"]
        self.project: str = row["project"]
        self.entity: str = self._api.settings["entity"] or ""
        self.name: str = row["name"]
        self.state: str = row["state"]
        self.tags: list[str] = list(row["tags"] or [])
        self.notes: str | None = row["notes"]
        self.group: str | None = row["group_name"]
        self.job_type: str | None = row["job_type"]
        self.user: str | None = row["user_name"]
        self.created_at: str | None = _iso(row["created_at"])
        self.heartbeat_at: str | None = _iso(row["heartbeat_at"])
        self.config: dict[str, Any] = json.loads(row["config"] or "{}")
        self._summary = None if row.get("summary") is None else Summed(self, json.loads(row["summary"]))

    def _said(self) -> dict[str, dict[str, Any]]:
        """What may be changed, by kind, as it is now."""
        words = zip(_WORDS, (self.name, self.notes, self.group, self.job_type), strict=True)
        return {
            "run": {key: value for key, value in words if value is not None},
            "tag": {str(tag): True for tag in self.tags},
            "config": self.config,
        }

    def _document(self) -> dict[str, Any]:
        """What filters and orders look at."""
        row = self._row
        document = {
            "name": self.id,
            "display_name": self.name,
            "project": self.project,
            "state": self.state,
            "group": self.group,
            "job_type": self.job_type,
            "tags": self.tags,
            "notes": self.notes,
            "created_at": row["created_at"],
            "finished_at": row["finished_at"],
            "heartbeat_at": row["heartbeat_at"],
            "duration": row["duration_s"],
            "username": self.user,
            "host": row["host"],
            "program": row["program"],
            "command": row["command"],
            "commit": row["git_commit"],
            "exit_code": row["exit_code"],
            "sweep": row["sweep_id"],
            "last_step": row.get("last_step"),
            "config": self.config,
        }
        if self._summary is not None:
            document["summary_metrics"] = self._summary
        return {key: value for key, value in document.items() if value is not None}

    @property
    def path(self) -> list[str]:
        """Entity, project and id."""
        return [self.entity, self.project, self.id]

    @property
    def storage_id(self) -> str:
        """Another word for the id."""
        return self.id

    @property
    def username(self) -> str | None:
        """Another word for `user`."""
        return self.user

    @property
    def description(self) -> str | None:
        """Another word for `notes`."""
        return self.notes

    @description.setter
    def description(self, value: str | None) -> None:
        self.notes = value

    @property
    def metadata(self) -> dict[str, Any]:
        """Where it ran: `host`, `username`, `program`, `command`, `git`, `exit_code`, `duration`."""
        row = self._row
        return {
            "host": row["host"],
            "username": row["user_name"],
            "program": row["program"],
            "command": row["command"],
            "git": {"commit": row["git_commit"], "remote": row["git_remote"]},
            "exit_code": row["exit_code"],
            "duration": row["duration_s"],
        }

    @property
    def rawconfig(self) -> dict[str, Any]:
        """The configuration; nothing is hidden in it."""
        return self.config

    @property
    def json_config(self) -> str:
        """The configuration as JSON, each value wrapped as in wandb."""
        import json

        return json.dumps({key: {"value": value} for key, value in self.config.items()})

    @property
    def summary(self) -> Summed:
        """The summary: a dict; `run.summary.update({"best": 0.9})` changes it in the lake."""
        if self._summary is None:
            import json

            (text,) = self._ask("summary")
            self._summary = Summed(self, json.loads(text or "{}"))
        return self._summary

    @property
    def summary_metrics(self) -> dict[str, Any]:
        """A copy of the summary."""
        return dict(self.summary)

    @property
    def lastHistoryStep(self) -> int:  # noqa: N802
        """The highest step; -1 where nothing was logged."""
        (step,) = self._ask("last_step")
        return -1 if step is None else step

    def _ask(self, columns: str) -> tuple[Any, ...]:
        row = self._api.lake.sql(
            f"select {columns} from runs where project = {_text(self.project)} and run_id = {_text(self.id)}"
        ).fetchone()
        if row is None:
            raise NotFound(f"run {self.project}/{self.id} is not there any more")
        return row

    def load(self, force: bool = False) -> None:
        """Reads the run again, as the lake knows it now; what was not kept by `update` is forgotten.

        Args:
            force: without meaning; it is always read.
        """
        columns = _COLUMNS.split(", ")
        self._load(dict(zip(columns, self._ask(_COLUMNS), strict=True)))

    def update(self) -> None:
        """Keeps what was changed of name, notes, group, job_type, tags and config."""
        import json

        # What was read is read again: most runs are never changed, and a copy of each would take as long as reading it.
        told, said = StoredRun(self._api, self._row)._said(), self._said()
        for kind, now in said.items():
            before = told[kind]
            new = {key: now[key] for key in now if key not in before or not _filters.same(before[key], now[key])}
            self._edit(kind, new, [key for key in before if key not in now])
        self._row = {**self._row, **dict.fromkeys(_WORDS), **said["run"], "tags": list(said["tag"])}
        self._row["config"] = json.dumps(self.config, default=str)

    def save(self) -> None:
        """Another word for `update`."""
        self.update()

    def _edit(self, kind: str, said: dict[str, Any], off: list[str]) -> None:
        if said or off:
            self._api.lake._edit(f"{self.project}/{self.id}", kind, said, off)

    def delete(self, delete_artifacts: bool = False) -> None:
        """Deletes the run; `Lake.restore_runs` brings it back within a week.

        Args:
            delete_artifacts: without meaning; there are no artifacts yet.
        """
        self._api.lake.delete_runs(f"{self.project}/{self.id}")

    def history(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        pandas: bool = True,
        stream: Literal["default", "system"] = "default",
    ) -> pandas.DataFrame | list[dict[str, Any]]:
        """Rows of the run, at most `samples` of them: one row a step, with `_step`, `_timestamp` and `_runtime`.

        Where there are more rows, every so manyth is taken, always the same ones, the first and the last among them.
        For all rows take `scan_history`, for charts that miss no peak `Lake.chart`.

        Args:
            samples: at most so many rows.
            keys: only these metrics, and only rows that have all of them. All metrics where not given.
            x_axis: another metric that each row must have.
            pandas: a `pandas.DataFrame`, else a list of dicts.
            stream: `system` reads metrics of the machine.
        """
        if samples < 1:
            raise InvalidArgument(f"history: samples: {samples} is less than 1")
        wanted = None if keys is None else [*keys, *([x_axis] if x_axis not in (*_OURS, *keys) else [])]
        rows = list(self._rows(wanted, None, None, stream))
        if x_axis not in _OURS:
            rows = [row for row in rows if x_axis in row]
        if len(rows) > samples:
            last = len(rows) - 1
            rows = [rows[at * last // max(1, samples - 1)] for at in range(samples)]
        if not pandas:
            return rows
        import pandas as frames

        columns = dict.fromkeys([*_OURS, *(key for row in rows for key in row)])
        return frames.DataFrame(rows, columns=list(columns))

    def scan_history(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
        use_cache: bool = True,
    ) -> Iterator[dict[str, Any]]:
        """All rows of the run, one dict a step, with what was logged there and `_step`, `_timestamp`, `_runtime`.

        Args:
            keys: only these metrics, and only rows that have all of them. All metrics where not given.
            page_size: without meaning, as is `use_cache`: rows come one by one.
            min_step: only from this step on.
            max_step: only before this step.
            use_cache: see `page_size`.
        """
        return self._rows(None if keys is None else list(keys), min_step, max_step, "default")

    def _rows(
        self, keys: list[str] | None, min_step: int | None, max_step: int | None, stream: str
    ) -> Iterator[dict[str, Any]]:
        lake = self._api.lake.snapshot()
        ours = f"project = {_text(self.project)} and run_id = {_text(self.id)}"
        metrics = None if keys is None else [key for key in dict.fromkeys(keys) if key not in _OURS]
        # Metrics of the machine are listed where they are named only.
        system = stream == "system" or any(key.startswith("system/") for key in metrics or ())
        query = f"select distinct metric from series where {ours}"
        present = {name for (name,) in lake.sql(f"{query} and metric like 'system/%'")} if system else set()
        present |= {name for (name,) in lake.sql(query)} if stream != "system" else set()
        # `history` raises for a metric that is not there, while here no row holds it. With labels a column is called
        # `loss{rank=0}`.
        named = [key if key in present else key.partition("{")[0] for key in metrics or ()]
        if not present.issuperset(named) or not present:
            return
        patterns = ["system/*"] if stream == "system" and not named else named
        arguments = [_text(f"{self.project}/{self.id}")]
        if patterns:
            arguments.append(f"metrics => [{', '.join(map(_text, patterns))}]")
        bounds = [f"step >= {int(min_step)}"] if min_step is not None else []
        bounds += [f"step < {int(max_step)}"] if max_step is not None else []
        where = f" where {' and '.join(bounds)}" if bounds else ""
        relation = lake.sql(f"select * from history({', '.join(arguments)}){where} order by step")
        started = self._row["created_at"]
        columns = relation.columns[2:]
        for step, time, *values in relation:
            row = {key: value for key, value in zip(columns, values, strict=True) if value is not None}
            if metrics is not None and any(key not in row for key in metrics):
                continue
            row["_step"] = step
            if time is not None:
                row["_timestamp"] = time.timestamp()
                if started is not None:
                    row["_runtime"] = (time - started).total_seconds()
            yield {key: row[key] for key in keys} if keys and all(key in row for key in keys) else row

    def files(self, names: Sequence[str] | None = None, pattern: str | None = None, per_page: int = 50) -> list[Any]:
        """The files that were saved with the run: none, since files are not kept yet, which is said once.

        Args:
            names: only these.
            pattern: only those that match.
            per_page: without meaning.
        """
        not_yet("files()", "files are not kept yet, so there are none")
        return []

    def logged_artifacts(self, per_page: int = 100) -> list[Any]:
        """The artifacts that the run made: none, since artifacts are not kept yet, which is said once.

        Args:
            per_page: without meaning.
        """
        not_yet("logged_artifacts()", "artifacts are not kept yet, so there are none")
        return []

    def used_artifacts(self, per_page: int = 100) -> list[Any]:
        """The artifacts that the run used: none, since artifacts are not kept yet, which is said once.

        Args:
            per_page: without meaning.
        """
        not_yet("used_artifacts()", "artifacts are not kept yet, so there are none")
        return []

    def wait_until_finished(self) -> None:
        """Waits until the run is not running any more."""
        import time

        while self.state == "running":
            time.sleep(0.1)
            (self.state,) = self._ask("state")

    def __repr__(self) -> str:
        return f"<runlake.StoredRun {self.project}/{self.id} ({self.state})>"


_WORDS = ("name", "notes", "group_name", "job_type")
"""What is said of a run in words, by column."""

_OURS = ("_step", "_timestamp", "_runtime")
"""What every row of a history has besides its metrics."""


class Summed(dict[str, "Any"]):
    """The summary of a `StoredRun`: a dict whose `update` keeps what was changed."""

    def __init__(self, run: StoredRun, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self._run = run
        self._told = dict(values)

    def update(self, *values: Mapping[str, Any] | Iterable[tuple[str, Any]], **further: Any) -> None:  # type: ignore[override]
        """Sets keys, and keeps these and all that was changed before. A key that was removed shows what was logged."""
        super().update(*(mapping_of(value) if value is None else value for value in values), **further)
        said = {key: value for key, value in self.items() if key not in self._told or self._told[key] != value}
        self._run._edit("summary", said, [key for key in self._told if key not in self])
        self._told = dict(self)


def _iso(time: Any) -> str | None:
    return None if time is None else time.isoformat().replace("+00:00", "Z")
