"""What becomes of a run when its program ends, in whatever way."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import runlake
from conftest import Program

Open = Callable[[], runlake.Lake]
START = "import sys, runlake; run = runlake.init('p', id='r'); run.log({'x': 1.0})\n"


@pytest.mark.parametrize(
    ("ending", "state", "code"),
    [
        ("", "finished", 0),
        ("run.finish()", "finished", 0),
        ("run.finish(exit_code=2)", "failed", 2),
        ("raise ValueError('oh')", "failed", 1),
        ("raise KeyboardInterrupt", "killed", 130),
        ("sys.exit()", "finished", 0),
        ("sys.exit(0)", "finished", 0),
        ("sys.exit(3)", "failed", 3),
        ("sys.exit('a message')", "failed", 1),
        ("exit(5)", "failed", 5),
        ("quit()", "finished", 0),
        ("import threading; t = threading.Thread(target=lambda: sys.exit(3)); t.start(); t.join()", "finished", 0),
        ("import argparse; argparse.ArgumentParser().parse_args(['--absent'])", "failed", 2),
        ("with run: pass", "finished", 0),
        ("with run: raise ValueError", "failed", 1),
        ("with run: raise KeyboardInterrupt", "killed", 130),
        ("with run: raise SystemExit(4)", "failed", 4),
        ("with run: raise SystemExit", "finished", 0),
    ],
)
def test_the_state_says_how_the_program_ended(
    store: Path, lake: Open, program: Program, ending: str, state: str, code: int
) -> None:
    done = program(START + ending)
    known = lake().run("r")
    assert (known.state, known.exit_code) == (state, code), done.stderr
    assert done.stderr.count("logging took") == 1
    assert done.stdout == ""
    assert known.summary == {"x": 1.0}


def test_exceptions_and_exits_still_reach_those_who_listened_before(store: Path, program: Program) -> None:
    done = program(
        "import sys\n"
        "def hook(kind, error, traceback): print('the old hook saw', error)\n"
        "sys.excepthook = hook\n" + START + "raise ValueError('oh')"
    )
    assert "the old hook saw oh" in done.stdout
    assert done.returncode == 1
    assert program(START + "sys.exit(3)").returncode == 3


def test_no_signal_handler_is_installed(store: Path, program: Program) -> None:
    done = program(
        "import signal\n"
        "before = [signal.getsignal(n) for n in range(1, 32)]\n"
        + START
        + "assert before == [signal.getsignal(n) for n in range(1, 32)]"
    )
    assert done.returncode == 0, done.stderr


def test_ctrl_c_reads_as_killed(store: Path, lake: Open) -> None:
    # A shell has the programs ignore it that it starts in the background, and their children with them.
    listen = "import signal, time; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    with _start(store, listen + START + "print('ready', flush=True)\ntime.sleep(60)") as child:
        child.send_signal(signal.SIGINT)
        child.wait(30)
    assert lake().run("r").state == "killed"


def test_a_process_that_dies_without_a_word_leaves_a_crashed_run_with_all_rows(store: Path, lake: Open) -> None:
    source = (
        "import itertools, runlake\n"
        "run = runlake.init('p', id='r')\n"
        "for step in itertools.count():\n"
        "    run.log({'x': float(step), 'y': -float(step)}, step=step)\n"
        "    if step % 100 == 0: print(step, flush=True)\n"
    )
    with _start(store, source) as child:
        assert child.stdout is not None
        for _ in range(50):
            logged = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        child.wait(30)
        rest = [int(line) for line in child.stdout.read().split()]
    logged = max([logged, *rest])
    assert lake().run("r").state == "crashed"
    rows = lake().sql("select metric, step, value from points order by metric, step").fetchall()
    steps = len(rows) // 2
    assert steps > logged
    assert rows == [("x", step, float(step)) for step in range(steps)] + [
        ("y", step, -float(step)) for step in range(steps)
    ]


def test_a_run_is_running_while_its_process_lives(store: Path, lake: Open) -> None:
    with _start(store, START + "print('ready', flush=True)\nsys.stdin.read()", stdin=subprocess.PIPE) as child:
        assert lake().run("r").state == "running"
        child.communicate()
    assert lake().run("r").state == "finished"


@contextlib.contextmanager
def _start(store: Path, source: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Starts a program and waits for its first line. It is gone afterwards, with its pipes."""
    with subprocess.Popen(
        [sys.executable, "-c", source],
        env={**os.environ, "RUNLAKE_STORE": str(store)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        **options,
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline()
            yield child
        finally:
            child.kill()
