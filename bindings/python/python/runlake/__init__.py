"""Training metrics in a directory: logged in a microsecond, safe from a kill, read by SQL while they train.

Log from a training loop:

    >>> import runlake
    >>> with runlake.init(project="digits", config={"lr": 0.1}) as run:
    ...     for step in range(3):
    ...         run.log({"train/loss": 1 / (step + 1)})

Read from anywhere, also while it runs:

    >>> lake = runlake.open()
    >>> lake.sql("select step, value from points where metric = 'train/loss' order by step").fetchall()
    [(0, 1.0), (1, 0.5), (2, 0.3333333333333333)]

Where the lake is: `store=`, else `$RUNLAKE_STORE`, else the nearest `runs.lake` upward from the directory in which the
process started, else a new one at the root of the git repository or in that directory.

The package prints only to stderr: one line at `init`, a summary at `finish`, and a `DataWarning` once for each key
whose value could not be kept. `$RUNLAKE_SILENT=1` keeps it from printing at all.
"""

from __future__ import annotations

from runlake._chart import Chart
from runlake._errors import (
    CorruptLake,
    DamageWarning,
    DataWarning,
    Error,
    InvalidArgument,
    InvalidQuery,
    NoLake,
    NoRun,
    NotFound,
    NotYetWarning,
    QueryFailed,
    RowDropped,
    SnapshotExpired,
    StorageError,
    UnsupportedLake,
)
from runlake._lake import Lake, RunInfo, open
from runlake._live import alert, define_metric, finish, init, login, mark_preempting, save, unwatch, watch
from runlake._metric import Metric
from runlake._native import Relation, __version__, log
from runlake._run import Run
from runlake._settings import Settings
from runlake._tree import Config, Summary
from runlake.as_wandb import alias_wandb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runlake._api import Api, Runs, StoredRun

    run: Run | None
    config: Config
    summary: Summary

__all__ = [
    "Api",
    "Chart",
    "Config",
    "CorruptLake",
    "DamageWarning",
    "DataWarning",
    "Error",
    "InvalidArgument",
    "InvalidQuery",
    "Lake",
    "Metric",
    "NoLake",
    "NoRun",
    "NotFound",
    "NotYetWarning",
    "QueryFailed",
    "Relation",
    "RowDropped",
    "Run",
    "RunInfo",
    "Runs",
    "Settings",
    "SnapshotExpired",
    "StorageError",
    "StoredRun",
    "Summary",
    "UnsupportedLake",
    "__version__",
    "alert",
    "alias_wandb",
    "config",
    "define_metric",
    "finish",
    "init",
    "log",
    "login",
    "mark_preempting",
    "open",
    "run",
    "save",
    "summary",
    "unwatch",
    "watch",
]


def __getattr__(name: str) -> object:
    # What only readers need is loaded when somebody asks for it.
    if name in ("Api", "Runs", "StoredRun"):
        from runlake import _api

        return getattr(_api, name)
    # These three follow the live run, so they cannot be plain variables of the module.
    if name in ("run", "config", "summary"):
        from runlake import _live

        return _live.attribute(name)
    raise AttributeError(f"module 'runlake' has no attribute {name!r}")
