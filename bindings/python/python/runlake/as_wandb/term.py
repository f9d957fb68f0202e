"""Lines on stderr, as integrations print them."""

from __future__ import annotations

import os
import sys

_printed: set[str] = set()


def termlog(string: str = "", newline: bool = True, repeat: bool = True, prefix: bool = True) -> None:
    """Prints a line; with `repeat=False` only the first time in a process."""
    _print(string, newline, repeat, "wandb: " if prefix else "")


def termwarn(string: str, newline: bool = True, repeat: bool = True, prefix: bool = True) -> None:
    """Prints a warning."""
    _print(string, newline, repeat, "wandb: WARNING " if prefix else "")


def termerror(string: str, newline: bool = True, repeat: bool = True, prefix: bool = True) -> None:
    """Prints an error."""
    _print(string, newline, repeat, "wandb: ERROR " if prefix else "")


def termsetup(settings: object = None, logger: object = None) -> None:
    """Nothing is to be set up."""


def _print(string: str, newline: bool, repeat: bool, prefix: str) -> None:
    if not repeat:
        if string in _printed:
            return
        _printed.add(string)
    silent = os.environ.get("WANDB_SILENT", "").lower() in ("1", "true")
    if not silent and sys.stderr is not None:
        text = "\n".join(prefix + line for line in string.split("\n"))
        sys.stderr.write(text + ("\n" if newline else ""))
        sys.stderr.flush()
