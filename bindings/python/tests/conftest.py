from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import runlake


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An own lake for each test, and no live run before or after it."""
    path = tmp_path / "runs.lake"
    for name in list(os.environ):
        if name.startswith("RUNLAKE_") or name in ("TORCHELASTIC_RUN_ID", "SLURM_JOB_ID"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("RUNLAKE_STORE", str(path))
    yield path
    runlake.finish()


@pytest.fixture
def lake(store: Path) -> Callable[[], runlake.Lake]:
    """Opens the lake of the test, for it does not exist before its first run."""
    return lambda: runlake.open(store)


Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def program(store: Path) -> Program:
    """Runs a Python program in a process of its own, with the lake of the test."""

    def run(source: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", source, *arguments],
            env={**os.environ, "RUNLAKE_STORE": str(store), **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Waits until a condition holds; fails where it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.005)


def compact(store: Path) -> None:
    """Takes in the logs of writers that ended."""
    done = subprocess.run(
        [sys.executable, "-m", "runlake", "compact", "--store", str(store)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
