"""The run of this process: `wandb.init`, `wandb.finish`, and what `wandb.run` and `wandb.config` are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import runlake
from runlake.as_wandb import later
from runlake.as_wandb.config import parsed, plain
from runlake.as_wandb.errors import Error, UsageError
from runlake.as_wandb.run import Run
from runlake.as_wandb.settings import Settings, resolved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_live: Run | None = None
_open: list[Run] = []


class Before:
    """`wandb.config` and `wandb.summary` before a run is there."""

    def __init__(self, name: str) -> None:
        vars(self)["_name"] = name

    def _refuse(self) -> Error:
        return Error(f"{self._name}: no run is live; call wandb.init() first")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise self._refuse()

    def __setattr__(self, name: str, value: object) -> None:
        raise self._refuse()

    def __getitem__(self, name: str) -> Any:
        raise self._refuse()

    def __setitem__(self, name: str, value: object) -> None:
        raise self._refuse()

    def __repr__(self) -> str:
        return f"<{self._name}, before wandb.init()>"


def init(
    entity: str | None = None,
    project: str | None = None,
    dir: Any = None,
    id: str | None = None,
    name: str | None = None,
    notes: str | None = None,
    tags: Sequence[str] | None = None,
    config: Any = None,
    config_exclude_keys: list[str] | None = None,
    config_include_keys: list[str] | None = None,
    allow_val_change: bool | None = None,
    group: str | None = None,
    job_type: str | None = None,
    mode: str | None = None,
    force: bool | None = None,
    reinit: bool | str | None = None,
    resume: bool | str | None = None,
    resume_from: str | None = None,
    fork_from: str | None = None,
    save_code: bool | None = None,
    tensorboard: bool | None = None,
    sync_tensorboard: bool | None = None,
    monitor_gym: bool | None = None,
    settings: Settings | Mapping[str, Any] | None = None,
    anonymous: object = None,
) -> Run:
    """Starts a run in the lake and makes it `wandb.run`.

    The lake is `$RUNLAKE_STORE`, else the nearest `runs.lake` upward, else a new one, as for `runlake.init`; `dir` is
    where `run.dir` stands. What is not given comes from `settings`, else from the variables `WANDB_...`.

    Args:
        entity: part of `run.path`; a lake has no entities.
        project: a name that groups runs; `uncategorized` where it is not given.
        dir: the folder in which `wandb/` stands for files of the run.
        id: unique in the project.
        name: a name for people.
        notes: notes.
        tags: tags.
        config: a mapping, a namespace, or the name of a YAML file.
        config_exclude_keys: the keys of `config` that are left out.
        config_include_keys: the only keys of `config` that are taken.
        allow_val_change: taken, and not used: `config` may always change what a continued run was configured with.
        group: a group.
        job_type: the type of job.
        mode: `online` and `offline` both keep the run in the lake; `shared` is for several processes that log to one
            run; `disabled` keeps nothing.
        force: taken, and not used: nobody logs in.
        reinit: what becomes of a run that is live already: `return_previous`, which is so where it is not given,
            `finish_previous`, or `create_new`.
        resume: `allow`, `must`, `never` or `auto`.
        resume_from: `"RUN_ID?_step=N"`: the run goes back to step N, and what it logged behind it no longer counts.
        fork_from: `"RUN_ID?_step=N"`: a new run that shows what that run logged up to step N as its own, and goes on.
        save_code: taken, and not used.
        tensorboard: another word for `sync_tensorboard`.
        sync_tensorboard: says that nothing of TensorBoard is read yet.
        monitor_gym: taken, and not used.
        settings: a `wandb.Settings` or a mapping.
        anonymous: taken, and not used.

    Raises:
        UsageError: an argument cannot be meant so, or `resume` forbids it.

    >>> import runlake
    >>> runlake.alias_wandb()
    >>> import wandb
    >>> run = wandb.init(project="digits", config={"lr": 0.1}, tags=["baseline"])
    >>> wandb.log({"loss": 0.5})
    >>> wandb.config.lr
    0.1
    >>> wandb.finish()
    """
    global _live
    found = resolved(
        settings,
        entity=entity,
        project=project,
        root_dir=None if dir is None else os.fspath(dir),
        run_id=id,
        run_name=name,
        run_group=group,
        run_job_type=job_type,
        run_notes=notes,
        run_tags=tags,
        mode=mode,
        reinit=reinit,
        resume=resume,
        resume_from=resume_from,
        fork_from=fork_from,
    )
    if found.fork_from and (found.resume_from or found.resume):
        raise UsageError("a run is forked, or goes on: fork_from does not go with resume and resume_from")
    run_id, resumes, back = found.run_id, found.resume or None, None
    if found.resume_from:
        run_id, back = _rewound(found.resume_from, run_id)
        resumes = "must"
    if tensorboard or sync_tensorboard or found.sync_tensorboard:
        later.say("sync_tensorboard")
    values = plain(parsed(config, config_exclude_keys, config_include_keys))
    if _live is not None and not _live._finished:
        if found.reinit in (None, False, "default", "return_previous"):
            return _live
        if found.reinit != "create_new":
            _live.finish()
    try:
        kept = runlake.init(
            found.project or "uncategorized",
            entity=found.entity,
            id=run_id,
            name=found.run_name,
            config=values,
            group=found.run_group,
            job_type=found.run_job_type,
            tags=found.run_tags,
            notes=found.run_notes,
            mode=found.mode or "offline",
            resume=resumes,
            resume_from=back,
            fork_from=found.fork_from or None,
            reinit="create_new" if found.reinit == "create_new" else "finish_previous",
            settings={key: found.get(key) for key in ("silent", "host", "username", "program", "disable_git")},
        )
    except (runlake.InvalidArgument, runlake.NotFound) as error:
        raise UsageError(str(error)) from error
    run = Run(kept, found, _next_step(kept, found.fork_from))
    _open.append(run)
    if _live is None:
        _live = run
    return run


def _rewound(resume_from: str, run_id: str | None) -> tuple[str, int]:
    """The run that goes back, and the step to which it does."""
    named, mark, step = resume_from.partition("?_step=")
    if not (named and mark and step.isdecimal()):
        raise UsageError(f"resume_from is 'RUN_ID?_step=N', not {resume_from!r}")
    if run_id not in (None, named):
        raise UsageError(f"resume_from names run {named!r}, and id {run_id!r}: leave one of them out")
    return named, int(step)


def _next_step(kept: runlake.Run, fork_from: str | None) -> int:
    """The step at which a run goes on that was started before, or forked from another one."""
    if kept.disabled:
        return 0
    if not kept.resumed:
        return int(fork_from.rpartition("=")[2]) + 1 if fork_from else 0
    last: int | None = runlake.open(kept.store).run(f"{kept.project}/{kept.id}").last_step
    return 0 if last is None else last + 1


def finish(exit_code: int | None = None, quiet: bool | None = None) -> None:
    """Ends all runs that this process has open."""
    for run in list(_open):
        run.finish(exit_code)


def leave(run: Run) -> None:
    """Makes a run no longer the live one."""
    global _live
    if run in _open:
        _open.remove(run)
    if _live is run:
        _live = None


def live() -> Run | None:
    """`wandb.run`."""
    return _live


def current(call: str) -> Run:
    """The live run, for `wandb.log` and the like."""
    if _live is None:
        raise Error(f"wandb.{call}: no run is live; call wandb.init() first")
    return _live


def attribute(name: str) -> Any:
    """`wandb.run`, `wandb.config` and `wandb.summary`."""
    if name == "run":
        return _live
    return Before(f"wandb.{name}") if _live is None else getattr(_live, name)


def attach(attach_id: str | None = None, run_id: str | None = None, *, run: Run | None = None) -> Run | None:
    """The run of the process that started this one, which goes on when this one ends.

    Raises:
        UsageError: no run of that id was handed down.
    """
    global _live
    wanted = attach_id or run_id or (run.id if run is not None else None)
    if _live is not None and wanted in (None, _live.id):
        return _live
    from runlake import _launch
    from runlake import _live as its

    handed = _launch.handed(os.environ)
    if handed is None or wanted not in (None, handed.id):
        raise UsageError(f"attach: no run {wanted!r} was handed down to this process")
    joined = Run(its.attach(*handed), Settings(project=handed.project))
    if _live is None:
        _live = joined
    return joined


def attached(kept: runlake.Run, settings: dict[str, Any], step: int) -> Run:
    """A run that came to this process as an argument."""
    global _live
    if _live is not None and _live._kept is kept:
        return _live
    run = Run(kept, Settings(**settings), step)
    if _live is None:
        _live = run
    return run


class Setup:
    """What `wandb.setup` returns: the settings of the process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings


def setup(settings: Settings | None = None) -> Setup:
    """Prepares nothing, for nothing has to be prepared; returns the settings that the environment gives."""
    return Setup(resolved(settings))


def teardown(exit_code: int | None = None) -> None:
    """Ends all runs of this process."""
    finish(exit_code)


def login(
    key: str | None = None,
    relogin: bool | None = None,
    host: str | None = None,
    force: bool | None = None,
    timeout: int | None = None,
    verify: bool = True,
    referrer: str | None = None,
    prompt: bool = True,
    anonymous: object = None,
) -> bool:
    """Is always true: a lake is a folder, and whoever may write in it may log."""
    return True


def require(requirement: Any = None, experiment: Any = None) -> None:
    """Takes any requirement, and changes nothing."""


def ensure_configured() -> None:
    """Does nothing; old programs call it."""


def restore(name: str, run_path: str | None = None, replace: bool = False, root: str | None = None) -> Any:
    """See `Run.restore`."""
    return current("restore").restore(name, run_path, replace, root)
