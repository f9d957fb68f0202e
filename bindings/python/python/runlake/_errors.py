"""What can go wrong: one exception for each thing that a caller can do about it."""

from __future__ import annotations

import sys


class Error(Exception):
    """The base of every exception that runlake raises on its own."""


class NoLake(Error):
    """No lake stands there. Name another with `store=` or `$RUNLAKE_STORE`, or log a first run.

    Attributes:
        path: where a lake was expected.
    """

    path: str = ""


class NoRun(Error, AttributeError):
    """Nothing is being logged to. Call `runlake.init()` first."""


class NotFound(Error, LookupError):
    """A name matches nothing, or more than one thing. Use one of the candidates.

    Attributes:
        candidates: what the name could have meant, best first.
    """

    candidates: tuple[str, ...] = ()


class InvalidArgument(Error, ValueError):
    """An argument cannot be used. Change the call."""


class InvalidQuery(Error, ValueError):
    """The SQL cannot be run: it is malformed, names something unknown, or would write. Change the query."""


class QueryFailed(Error):
    """The query is fine, but the data or the memory limit does not allow it."""


class CorruptLake(Error):
    """A file holds bytes that runlake never writes. Restore it, or run `runlake verify`.

    Attributes:
        path: the file.
        offset: the byte at which it stops making sense.
    """

    path: str = ""
    offset: int = 0


class UnsupportedLake(Error):
    """The lake was written by a newer version. Upgrade runlake."""


class StorageError(Error, OSError):
    """The operating system refused an operation. Fix the cause and try again; nothing was lost."""


class SnapshotExpired(Error):
    """The query took longer than superseded files are kept. Run it again."""


class RowDropped(Error):
    """A row could not be kept and the run is strict about it. Free space, or log without `strict`."""


class DamageWarning(UserWarning):
    """Bytes of a lake are not as runlake wrote them, and what was returned is the rest. Run `runlake verify`."""


class DataWarning(UserWarning):
    """Something that was logged could not be kept as it was. Said once for each key; the rest of the row is kept."""


class NotYetWarning(UserWarning):
    """Something was asked for that this version does not do yet; what it does instead is said, once in a process."""


_said: set[str] = set()


def not_yet(what: str, instead: str) -> None:
    """Says once in a process that `what` does nothing yet, and what becomes of it."""
    if what not in _said:
        _said.add(what)
        import warnings

        # Attributed to the program, however deep in the package it is said.
        depth, frame = 2, sys._getframe(1)
        while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("runlake."):
            depth, frame = depth + 1, frame.f_back
        warnings.warn(f"{what}: {instead}", NotYetWarning, stacklevel=depth)
