"""The stubs say what the extension module is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent


def test_the_stubs_fit_the_module(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "runlake._native", "--mypy-config-file", PACKAGE / "pyproject.toml"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_and_a_program_that_uses_it_check_strictly(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import runlake\n"
        "run: runlake.Run = runlake.init('p', config={'lr': 0.1})\n"
        "run.log({'loss': 0.5, 'nested': {'x': 1}}, step=3, labels={'rank': 0})\n"
        "run.tags += ('a',)\n"
        "rows: list[tuple[object, ...]] = runlake.open().sql('select 1').fetchall()\n"
        "state: str = runlake.open().run(run.id).state\n"
        "live: runlake.Run | None = runlake.run\n"
        "runlake.config['lr'] = 0.2\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", PACKAGE / "pyproject.toml", "-p", "runlake"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", PACKAGE / "pyproject.toml", str(program)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
