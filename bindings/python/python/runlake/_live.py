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
from runlake._errors import NoRun
from runlake._run import Run, outcome, report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, NoReturn

_live: Run | None = None
_error: BaseException | None = None
"""What ends the program, as far as the hooks have seen."""

_outer_launch: str | None = None
"""`$RUNLAKE_LAUNCH` as it was before the live run handed itself down."""


def init(
    project: str | None = None,
    *,
    name: str | None = None,
    id: str | None = None,
    config: Mapping[str, Any] | object | None = None,
    group: str | None = None,
    job_type: str | None = None,
    tags: Iterable[str] | None = None,
    notes: str | None = None,
    store: str | os.PathLike[str] | None = None,
    strict: bool | None = None,
) -> Run:
    """Starts a run, makes it the live one, and prints one line to stderr: which run, in which lake.

    With `$RUNLAKE_LOG_DIR` rows are first kept in that folder, on a disk of this host or in its memory, while the lake
    is elsewhere; other hosts see them once they are flushed.

    A run that is live already is finished first. The run ends with `finish`, with its `with` block, or with the
    program: as finished, as failed (an exception or an exit code), as killed (Ctrl-C). A process that dies without a
    word leaves a crashed run whose rows are all there.

    Host, user, program, command line, and the git commit and remote are kept with the run; a password in the remote is
    not. The command line is kept as given, so do not pass secrets in it.

    Args:
        project: a name that groups runs; `default` where it is not given.
        name: a name for people; made up where it is not given.
        id: unique in the project; made up where it is not given. An id that exists continues that run.
        config: a mapping, an `argparse.Namespace` or a dataclass, nested as you like.
        group: a group that the run belongs to.
        job_type: what sort of job it is, such as `train` or `eval`.
        tags: tags.
        notes: notes in your words.
        store: the lake; see the package for where it is otherwise. It is made where there is none.
        strict: raise exceptions for what cannot be kept, instead of warning and counting; `$RUNLAKE_STRICT=1` where it
            is not given.

    Raises:
        InvalidArgument: an argument cannot be used.
        StorageError: the lake cannot be written.

    >>> import runlake
    >>> run = runlake.init(project="digits", config={"lr": 0.1, "model": {"width": 64}}, tags=["baseline"])
    >>> run.config.model.width
    64
    >>> run.log({"train/loss": 0.5, "train": {"accuracy": 0.8}})
    >>> run.finish()
    """
    global _live, _outer_launch
    if _live is not None:
        if _live._is_mine:
            report(f"a new run starts, so run {_live.name} ({_live.id}) ends here")
            _live.finish()
        else:
            leave(_live)
    project = "default" if project is None else project
    path, _exists, _looked = _native.resolve(store)
    run = Run(
        store=path,
        project=project,
        id=id,
        name=name,
        config=config,
        group=group,
        job_type=job_type,
        tags=tags,
        notes=notes,
        launch=_launch.find(os.environ, id, project, _launch.agent),
        attributes=_origin.attributes(),
        strict=os.environ.get("RUNLAKE_STRICT", "") not in ("", "0") if strict is None else strict,
    )
    _outer_launch = os.environ.get(_launch.VARIABLE)
    os.environ[_launch.VARIABLE] = _launch.encode(run.handed())
    _watch()
    _enter(run)
    report(f"run {run.name} ({run.id}) of project {run.project}, lake {run.store}")
    return run


def finish(exit_code: int = 0) -> None:
    """Ends the live run; see `Run.finish`. Does nothing where no run is live."""
    if _live is not None:
        _live.finish(exit_code)


def attribute(name: str) -> object:
    """`runlake.run`, `runlake.config` and `runlake.summary`."""
    if name == "run":
        return _live
    if _live is None:
        raise NoRun(f"runlake.{name}: no run is live; call runlake.init() first")
    return getattr(_live, name)


def leave(run: Run) -> None:
    """Makes `run` no longer the live one."""
    global _live
    if _live is not run:
        return
    _live = None
    _native.set_live(None)
    if os.environ.get(_launch.VARIABLE) == _launch.encode(run.handed()):
        if _outer_launch is None:
            del os.environ[_launch.VARIABLE]
        else:
            os.environ[_launch.VARIABLE] = _outer_launch


def join() -> Run:
    """The run for `runlake.log` in a process without one: that of the process which started this one."""
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
    _native.set_live(run)


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
    run = _live
    if run is not None and run._is_mine:
        run._end(*outcome(_error))
