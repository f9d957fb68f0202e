"""Types of the extension module. `runlake` is the public face; only `Relation` and `log` are used as they are here."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, final

from typing_extensions import Self, disjoint_base

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

    from runlake._chart import Chart

__all__ = ["Lake", "Relation", "Run", "Snapshot", "__version__", "cli_main", "git", "log", "resolve", "set_live"]

__version__: str

_Path: TypeAlias = str | os.PathLike[str]

def resolve(store: _Path | None = None) -> tuple[str, bool, list[str]]: ...
def set_live(run: Run | None) -> None: ...
def log(
    data: Mapping[str, Any],
    step: int | None = None,
    commit: bool | None = None,
    labels: Mapping[str, str | float] | None = None,
) -> None:
    """Logs one row to the live run; see `Run.log`."""

def git(directory: _Path) -> tuple[str | None, str | None]: ...
def cli_main(arguments: Sequence[str]) -> int: ...

@disjoint_base
class Run:
    def __new__(
        cls,
        *,
        store: _Path,
        project: str,
        id: str | None = None,
        name: str | None = None,
        config: object | None = None,
        group: str | None = None,
        job_type: str | None = None,
        tags: Sequence[str] | None = None,
        notes: str | None = None,
        launch: str | None = None,
        attributes: dict[str, Any] | None = None,
        strict: bool = False,
        joined: bool = False,
        flush_after_bytes: int | None = None,
        resume_from: int | None = None,
        fork_from: tuple[str, int] | None = None,
    ) -> Self: ...
    def log(
        self,
        data: Mapping[str, Any],
        step: int | None = None,
        commit: bool | None = None,
        labels: Mapping[str, str | float] | None = None,
    ) -> None:
        """Logs one row: any number of metrics at one step."""

    def log_many(
        self,
        metric: str,
        values: Any,
        steps: Any | None = None,
        times: Any | None = None,
        labels: Mapping[str, str | float] | None = None,
    ) -> None:
        """Logs many points of one metric, without a loop in Python."""

    def sync(self) -> None:
        """Waits until everything that this process logged so far would survive a power cut."""

    def end(self, state: str, exit_code: int | None) -> None: ...
    def set_config(self, key: str, value: object) -> None: ...
    def remove_config(self, key: str) -> None: ...
    def set_summary(self, key: str, value: object) -> None: ...
    def remove_summary(self, key: str) -> None: ...
    def define(
        self,
        metric: str,
        step_metric: str | None,
        summary: list[str] | None,
        goal: str | None,
        hidden: bool,
        step_sync: bool,
    ) -> None: ...
    def summed(self, metric: str | None = None) -> dict[str, Any]: ...
    def set_tag(self, tag: str, on: bool) -> None: ...
    def set_attribute(self, key: str, value: object) -> None: ...
    def known(self) -> dict[str, Any]: ...
    def last(self, metric: str) -> float | None: ...
    def metrics(self) -> list[str]: ...
    def trends(self, most: int, width: int) -> list[tuple[str, str, float]]: ...
    def stats(self) -> dict[str, Any]: ...
    @property
    def id(self) -> str:
        """The id, unique in the project."""
    @property
    def first_name(self) -> str: ...
    @property
    def project(self) -> str:
        """The project."""
    @property
    def launch(self) -> str:
        """The launch that this process belongs to."""
    @property
    def store(self) -> str:
        """The absolute path of the lake."""
    @property
    def strict(self) -> bool:
        """Whether what cannot be kept raises an exception."""

@final
class Snapshot:
    """One consistent view of a lake."""

@disjoint_base
class Lake:
    def __new__(cls, store: _Path | None = None, *, pinned: Snapshot | None = None) -> Self: ...
    def sql(self, query: str, params: Sequence[Any] | Mapping[str, Any] | None = None) -> Relation:
        """Runs a query over the lake as it is now and waits for its result; Ctrl-C stops it.

        `params` are values for `$1`, `$2` and so on, or by name for `$name`; a list of them stands in `in ($ids)`.
        """

    def find_run(self, run: str) -> tuple[str, str]: ...
    def _delete(self, runs: list[str], for_good: bool) -> int:
        """Deletes runs, as they are named."""
    def _merge(self, sources: list[_Path], is_last: bool) -> int:
        """Merges lakes into this one. Returns how many points came."""
    def _expire(self, seconds: float, project: str | None, dry_run: bool) -> int:
        """Lets the points of runs go that ended so many seconds ago, or says how many points would go."""
    def _export(self, folder: _Path, runs: list[str], project: str | None, format: str) -> tuple[int, int]:
        """Writes runs and their points to files. Returns how many of each."""
    def _restore(self, runs: list[str]) -> int:
        """Restores deleted runs."""
    def _edit(self, run: str, kind: str, said: dict[str, Any], off: list[str]) -> None:
        """Changes what is said of a run: facts of one kind, by their keys, and keys that are taken off."""
    def _pin(self, version: int | None = None) -> Snapshot:
        """What a query sees that is asked now, or with `version`, the lake as it stood after that commit."""
    @property
    def version(self) -> int | None:
        """The last commit of table `points` that a query sees, if there is one."""

    @property
    def path(self) -> str:
        """The absolute path."""

@disjoint_base
class Relation:
    """The result of a query: rows and named columns, held as Arrow."""

    def __new__(cls, relation: Relation) -> Self: ...
    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
    @property
    def types(self) -> list[str]:
        """The types of the columns, as Arrow names them."""
    def to_arrow(self) -> pyarrow.Table:
        """All rows as a `pyarrow.Table`, without copying."""
    def to_pandas(self) -> pandas.DataFrame:
        """All rows as a `pandas.DataFrame`."""
    def to_numpy(self) -> dict[str, Any]:
        """All columns as numpy arrays, by name."""
    def to_polars(self) -> polars.DataFrame:
        """All rows as a `polars.DataFrame`."""
    def _since(self, earlier: Relation) -> Relation:
        """The rows that `earlier` has not."""
    def plot(
        self, x: str | None = None, y: str | Iterable[str] | None = None, by: str | Iterable[str] | None = None
    ) -> Chart:
        """The rows as a chart: lines of the columns `y` over `x`, one for each value of the columns `by`."""
    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows as a list of tuples."""
    def fetchone(self) -> tuple[Any, ...] | None:
        """The first row as a tuple, or `None` where there is none."""
    def to_dicts(self) -> list[dict[str, Any]]:
        """The rows as dicts, column name to value."""
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def __getitem__(self, index: int, /) -> tuple[Any, ...]: ...
    def __iter__(self) -> Iterator[tuple[Any, ...]]: ...
    def _repr_html_(self) -> str: ...
