"""The live run of this process: how it starts, and how it ends with the program.

No signal handler is installed: launchers own them. The state comes from `sys.excepthook`, `sys.exit`, `atexit`, and,
where the process dies without a word, from its absence.
"""

from __future__ import annotations

import atexit
import builtins
import os
import sys
from collections.abc import Iterable, Mapping

from runlake import _launch, _native, _origin
from runlake._errors import InvalidArgument, NoLake, NoRun, NotFound, not_yet
from runlake._lake import _text
from runlake._metric import Metric
from runlake._run import Run, outcome
from runlake._settings import Settings, resolved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import timedelta
    from types import TracebackType
    from typing import Any, NoReturn, cast

    from runlake._settings import Mode, Reinit, Resume
else:

    def cast(_type: object, value: object) -> object:
        """As `typing.cast`, which takes a module to load."""
        return value


_live: Run | None = None
_open: list[Run] = []
"""The runs that this process started and has not ended."""

_error: BaseException | None = None
"""What ends the program, as far as the hooks have seen."""

_outer_launch: str | None = None
"""`$RUNLAKE_LAUNCH` as it was before the live run handed itself down."""


def init(
    project: str | None = None,
    *,
    entity: str | None = None,
    name: str | None = None,
    id: str | None = None,
    config: Mapping[str, Any] | object | None = None,
    group: str | None = None,
    job_type: str | None = None,
    tags: Iterable[str] | None = None,
    notes: str | None = None,
    store: str | os.PathLike[str] | None = None,
    dir: str | os.PathLike[str] | None = None,
    mode: Mode | None = None,
    resume: Resume | None = None,
    resume_from: int | None = None,
    fork_from: str | None = None,
    reinit: Reinit | None = None,
    settings: Settings | Mapping[str, Any] | None = None,
    strict: bool | None = None,
) -> Run:
    """Starts a run, makes it the live one, and prints one line to stderr: which run, in which lake.

    What is not given comes from `settings`, else from the environment: `$RUNLAKE_PROJECT`, `$RUNLAKE_RUN_ID` and so on;
    see `Settings`. With `$RUNLAKE_LOG_DIR` rows are first kept in that folder, on a disk of this host or in its memory,
    while the lake is elsewhere; other hosts see them once they are flushed.

    The run ends with `finish`, with its `with` block, or with the program: as finished, as failed (an exception or an
    exit code), as killed (Ctrl-C). A process that dies without a word leaves a crashed run whose rows are all there.

    Host, user, program, command line, and the git commit and remote are kept with the run; a password in the remote is
    not. The command line is kept as given, so do not pass secrets in it.

    Args:
        project: a name that groups runs; `default` where it is not given.
        entity: whose project it is. A lake has no entities: the word is taken, so that paths such as `team/digits` go
            on working, and says nothing to readers.
        name: a name for people; made up where it is not given.
        id: unique in the project; made up where it is not given. An id that exists continues that run.
        config: a mapping, an `argparse.Namespace` or a dataclass, nested as you like.
        group: a group that the run belongs to.
        job_type: what sort of job it is, such as `train` or `eval`.
        tags: tags.
        notes: notes in your words.
        store: the lake; see the package for where it is otherwise. It is made where there is none.
        dir: another word for `store`; a folder that is no lake is the one in which `runs.lake` stands.
        mode: `offline`, which all runs are: they are kept in the lake. `shared` is for several processes that log to
            one run at the same time; each is given the same `id`, or started by one with that run. `disabled` keeps and
            prints nothing. `online` is `offline`, said once.
        resume: whether a run with this id may, must or must never exist: `allow`, `must`, `never`. With `auto` the
            newest run of this program on this host goes on, unless it finished or is running.
        resume_from: a step of the run that has this id, to go back to: of what was logged before, only points up to it
            count from here on. Rows without a step go on behind it.
        fork_from: `"RUN?_step=N"`: a new run starts from a step of another one of the project. What that logged up to
            the step is shown as its own, not copied, and its configuration is taken over; what `config` says
            wins. Rows without a step go on behind it.
        reinit: what becomes of a run that is live already: `finish_previous` ends it, `return_previous` returns it and
            starts none, `create_new` starts another beside it, to be logged to by its own name only.
        settings: a `Settings`, or a mapping of what is in one.
        strict: raise exceptions for what cannot be kept, instead of warning and counting.

    Raises:
        InvalidArgument: an argument cannot be used, or `resume="never"` and the run exists.
        NotFound: `resume="must"` or `fork_from`, and there is no such run.
        StorageError: the lake cannot be written.

    >>> import runlake
    >>> run = runlake.init(project="digits", config={"lr": 0.1, "model": {"width": 64}}, tags=["baseline"])
    >>> run.config.model.width
    64
    >>> run.log({"train/loss": 0.5, "train": {"accuracy": 0.8}})
    >>> run.finish()
    """
    found = resolved(
        settings,
        os.environ,
        store=store,
        dir=dir,
        project=project,
        entity=entity,
        run_id=id,
        run_name=name,
        run_group=group,
        run_job_type=job_type,
        run_notes=notes,
        run_tags=tags,
        mode=mode,
        resume=resume,
        reinit=reinit,
        strict=strict,
    )
    if _live is not None:
        if found.reinit == "return_previous" and _live._is_mine:
            return _live
        if found.reinit != "create_new":
            _make_room(_live)
    if found.mode == "disabled":
        from runlake._disabled import DisabledRun

        # It says of itself that it is a `Run`, and has all that one has.
        off = cast("Run", DisabledRun(found, config))
        if _live is None:
            _enter(off)
        return off
    if found.mode == "online":
        not_yet("mode='online'", "there is no server; the run is kept in the lake, as with mode='offline'")
    return _start(found, config, resume_from, None if fork_from is None else _fork(fork_from))


def _make_room(run: Run) -> None:
    """Ends the live run, or leaves that of another process."""
    if not run._is_mine:
        leave(run)
        return
    if not run.disabled:
        run._print(f"a new run starts, so run {run.name} ({run.id}) ends here")
    run.finish()


def _fork(fork_from: str) -> tuple[str, int]:
    """The run and its step from which a fork starts."""
    parent, mark, step = fork_from.rpartition("?_step=")
    if not (parent and mark and step.isdecimal()):
        raise InvalidArgument(f"fork_from: is 'RUN?_step=N', not {fork_from!r}")
    return parent, int(step)


def _start(
    settings: Settings,
    config: Mapping[str, Any] | object | None,
    resume_from: int | None,
    fork_from: tuple[str, int] | None,
) -> Run:
    global _outer_launch
    project = settings.project or "default"
    path = _native.resolve(settings.store)[0] if settings.dir is None else _lake_in(settings.dir)
    id = _continued(path, project, settings)
    run = Run(
        store=path,
        project=project,
        id=id,
        name=settings.run_name,
        config=config,
        group=settings.run_group,
        job_type=settings.run_job_type,
        tags=settings.run_tags,
        notes=settings.run_notes,
        launch=_launch.find(os.environ, id, project, _launch.agent),
        attributes=_origin.attributes(settings),
        strict=bool(settings.strict),
        settings=settings,
        resume_from=resume_from,
        fork_from=fork_from,
    )
    _watch()
    _open.append(run)
    if _live is None:
        _outer_launch = os.environ.get(_launch.VARIABLE)
        os.environ[_launch.VARIABLE] = _launch.encode(run.handed())
        _enter(run)
    run._print(f"run {run.name} ({run.id}) of project {run.project}, lake {run.store}")
    return run


def _lake_in(folder: str | os.PathLike[str]) -> str:
    """The lake that a folder is, or the one that stands in it."""
    path, exists, _looked = _native.resolve(folder)
    return path if exists or path.endswith(".lake") else os.path.join(path, "runs.lake")


def _continued(store: str, project: str, settings: Settings) -> str | None:
    """The id of the run that `resume` lets go on, or of the new one; `None` where one is made up."""
    resume, id = settings.resume, settings.run_id
    if settings.mode == "shared" and id is None:
        handed = _launch.handed(os.environ)
        if handed is None or handed.project != project:
            raise InvalidArgument(
                "mode: 'shared' processes meet in one run by its id: give all of them the same id= or $RUNLAKE_RUN_ID"
            )
        id = handed.id
    if resume is None or resume == "allow":
        return id
    if resume == "auto":
        return id or _unfinished(store, project, settings)
    if id is None:
        raise InvalidArgument(f"resume: {resume!r} speaks of a run that exists or not, so init() needs its id=")
    exists = bool(_runs(store, f"project = {_text(project)} and run_id = {_text(id)}"))
    if resume == "must" and not exists:
        raise NotFound(f"resume: 'must', but project {project!r} has no run {id!r}; 'allow' starts one")
    if resume == "never" and exists:
        raise InvalidArgument(f"resume: 'never', but project {project!r} has a run {id!r}; 'allow' continues it")
    return id


def _unfinished(store: str, project: str, settings: Settings) -> str | None:
    """The newest run of this program on this host, unless it finished or is running."""
    ours = {"project": project, **_origin.place(settings)}
    newest = _runs(store, " and ".join(f"{key} = {_text(value)}" for key, value in ours.items()))
    if newest and newest[0][1] not in ("finished", "running"):
        return newest[0][0]
    return None


def _runs(store: str, condition: str) -> list[tuple[str, str]]:
    """Ids and states of the runs that a condition finds, newest first."""
    try:
        lake = _native.Lake(store)
    except NoLake:
        return []
    query = f"select run_id, state from runs where {condition} order by created_at desc, run_id"
    return [(id, state) for id, state in lake.sql(query).fetchall()]


def finish(exit_code: int | None = None) -> None:
    """Ends the live run; see `Run.finish`. Does nothing where no run is live."""
    if _live is not None:
        _live.finish(exit_code)


def define_metric(
    name: str,
    step_metric: str | Metric | None = None,
    step_sync: bool | None = None,
    hidden: bool | None = None,
    summary: str | Iterable[str] | None = None,
    goal: str | None = None,
    overwrite: bool | None = None,
) -> Metric:
    """Says what a metric of the live run is; see `Run.define_metric`."""
    return live("define_metric").define_metric(name, step_metric, step_sync, hidden, summary, goal, overwrite)


def alert(title: str, text: str = "", level: str | None = None, wait_duration: float | timedelta | None = None) -> None:
    """Prints an alert of the live run to stderr; see `Run.alert`."""
    live("alert").alert(title, text, level, wait_duration)


def save(
    glob_str: str | os.PathLike[str], base_path: str | os.PathLike[str] | None = None, policy: str = "live"
) -> list[str]:
    """Saves files with the live run: none yet; see `Run.save`."""
    return live("save").save(glob_str, base_path, policy)


def watch(
    models: object,
    criterion: object = None,
    log: str | None = "gradients",
    log_freq: int = 1000,
    idx: int | None = None,
    log_graph: bool = False,
) -> None:
    """Logs gradients and parameters of models: not yet; see `Run.watch`."""
    live("watch").watch(models, criterion, log, log_freq, idx, log_graph)


def unwatch(models: object = None) -> None:
    """Ends what `watch` began; see `Run.unwatch`."""
    live("unwatch").unwatch(models)


def mark_preempting() -> None:
    """Makes durable what the live run logged so far; see `Run.mark_preempting`."""
    live("mark_preempting").mark_preempting()


def login(key: str | None = None, relogin: bool | None = None, host: str | None = None, **_further: object) -> bool:
    """Does nothing and returns `True`: a lake is a directory, and there is no account. It is said once.

    Args:
        key: not looked at, as all others.
        relogin: not looked at.
        host: not looked at.
    """
    not_yet("login()", "a lake is a directory and needs no account; nothing is sent")
    return True


def live(what: str) -> Run:
    """The live run, which `what` needs."""
    if _live is None:
        raise NoRun(f"runlake.{what}: no run is live; call runlake.init() first")
    return _live


def attribute(name: str) -> object:
    """`runlake.run`, `runlake.config` and `runlake.summary`."""
    if name == "run":
        return _live
    return getattr(live(name), name)


def leave(run: Run) -> None:
    """Makes `run` no longer the live one."""
    global _live
    if run in _open:
        _open.remove(run)
    if _live is not run:
        return
    _live = None
    _native.set_live(None)
    if run.disabled:
        return
    if os.environ.get(_launch.VARIABLE) == _launch.encode(run.handed()):
        if _outer_launch is None:
            del os.environ[_launch.VARIABLE]
        else:
            os.environ[_launch.VARIABLE] = _outer_launch


def join() -> Run | None:
    """The run for `runlake.log` where the extension has none: that of the process which started this one.

    `None` where the live run is disabled.
    """
    if _live is not None and _live.disabled:
        return None
    handed = _launch.handed(os.environ)
    if handed is None:
        raise NoRun("no run is live; call runlake.init() first")
    return attach(*handed)


def attach(launch: str, id: str, project: str, store: str) -> Run:
    """A run of another process, which goes on when this one ends. It becomes the live one where none is."""
    if _live is not None and (_live.id, _live.project, _live.store) == (id, project, store):
        return _live
    run = Run(store=store, project=project, id=id, launch=launch, joined=True)
    if _live is None:
        _enter(run)
    return run


def _enter(run: Run) -> None:
    global _live
    _live = run
    # The extension knows nothing of disabled runs; it asks `join`.
    _native.set_live(None if run.disabled else run)


_watching = False


def _watch() -> None:
    """Learns how the program ends. The hooks call those that were there before."""
    global _watching, _error
    _error = None
    if _watching:
        return
    _watching = True
    atexit.register(_at_exit)
    outer_hook, outer_exit = sys.excepthook, sys.exit

    def excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        global _error
        # At a prompt an error ends a line, and the program goes on.
        if not hasattr(sys, "ps1"):
            _error = error
        outer_hook(kind, error, traceback)

    def exit(status: Any = None, /) -> NoReturn:
        _note_exit(status)
        outer_exit(status)

    exit.__doc__ = outer_exit.__doc__
    sys.excepthook, sys.exit = excepthook, exit

    # `exit()` and `quit()` do not call `sys.exit`; without the module `site` there are none.
    quitter = type(getattr(builtins, "exit", None))
    if quitter.__name__ == "Quitter":
        outer_call = quitter.__call__

        def call(self: object, code: Any = None) -> None:
            _note_exit(code)
            outer_call(self, code)

        quitter.__call__ = call  # type: ignore[method-assign]


def _note_exit(status: object) -> None:
    """The program is asked to end; in another thread than the main one, only that thread is."""
    global _error
    import threading

    if threading.current_thread() is threading.main_thread():
        _error = SystemExit(status)


def _at_exit() -> None:
    for run in list(_open):
        if run._is_mine:
            run._end(*outcome(_error))
