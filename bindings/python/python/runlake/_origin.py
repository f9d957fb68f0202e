"""Where a run comes from: host, user, program, command line, commit.

The command line is kept as it was given. Nothing else of the environment is: no variables, no files, no packages.
"""

from __future__ import annotations

import os
import sys

from runlake import _native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runlake._settings import Settings


def place(settings: Settings) -> dict[str, str]:
    """Where a run is at home: the host and the program."""
    known = {"host": settings.host or os.uname().nodename, "program": settings.program or _program()}
    return {key: value for key, value in known.items() if value}


def attributes(settings: Settings) -> dict[str, object]:
    """What is known at once, without running a program or waiting for one."""
    program = _program()
    directory = os.path.dirname(program) if program else _directory()
    commit, remote = _native.git(directory) if directory and not settings.disable_git else (None, None)
    known = {
        **place(settings),
        "user_name": settings.username or _user(),
        "command": _command(),
        "git_commit": commit,
        "git_remote": remote,
    }
    return {key: value for key, value in known.items() if value}


def _program() -> str | None:
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    return os.path.abspath(path) if isinstance(path, str) else None


def _directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./-_")
"""What needs no quotes in a shell."""


def _command() -> str:
    # A child of `multiprocessing` was started with words of its own; it knows those of its program.
    ours = sys.orig_argv
    words = [sys.executable, *sys.argv] if "--multiprocessing-fork" in ours else ours
    # As `shlex.join`, which loads regular expressions first: more than all else that `init` does.
    return " ".join(
        part if part and _PLAIN.issuperset(part) else "'" + part.replace("'", "'\"'\"'") + "'" for part in words
    )


def _user() -> str | None:
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        # In containers the user often has no entry.
        return os.environ.get("USER")
