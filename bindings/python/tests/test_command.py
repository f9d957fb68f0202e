"""The wheel brings the command `runlake`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import runlake


def test_the_module_is_the_command(store: Path) -> None:
    runlake.init("p", name="calm").finish()
    for command in ([sys.executable, "-m", "runlake"], [_script()]):
        done = subprocess.run(
            [*command, "sql", "select name from runs", "--format", "csv", "--store", str(store)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout.split()) == (0, ["name", "calm"]), done.stderr
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
        assert done.stdout.split() == ["runlake", runlake.__version__]
        done = subprocess.run([*command, "no-such-command"], capture_output=True, text=True, check=False)
        assert done.returncode == 2


def _script() -> str:
    path = shutil.which("runlake", path=os.path.dirname(sys.executable))
    assert path is not None, "the package is installed without its command"
    return path
