"""`python -m runlake.as_wandb train.py ARGUMENTS`: runs a program whose `import wandb` logs to a lake."""

from __future__ import annotations

import os
import subprocess
import sys

from runlake.as_wandb import alias_wandb

USAGE = """\
usage: python -m runlake.as_wandb (SCRIPT | -m MODULE | -c CODE) [ARGUMENTS]

Runs a Python program as `python` does, and what it logs to wandb goes into a lake:
$RUNLAKE_STORE, else the nearest runs.lake upward, else a new one.
"""


def main() -> int:
    """Becomes the program; returns only where there is none."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        (sys.stdout if arguments else sys.stderr).write(USAGE)
        return 0 if arguments else 2
    if sys.flags.ignore_environment:
        sys.stderr.write("runlake.as_wandb hands itself down in $PYTHONPATH, which python -I and -E do not read\n")
        return 2
    alias_wandb()
    # The program takes the place of this process, so that it is started, signalled and traced as if it stood alone.
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return os.execv(sys.executable, [sys.executable, *flags, *arguments])


if __name__ == "__main__":
    sys.exit(main())
