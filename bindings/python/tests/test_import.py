"""What `import runlake` costs and brings along."""

from __future__ import annotations

from conftest import Program

HEAVY = {
    "asyncio",
    "dataclasses",
    "datetime",
    "inspect",
    "json",
    "logging",
    "multiprocessing",
    "numpy",
    "pandas",
    "pathlib",
    "polars",
    "pyarrow",
    "socket",
    "subprocess",
    "typing",
}


def test_import_brings_no_heavy_module(program: Program) -> None:
    done = program("import sys\nbefore = set(sys.modules)\nimport runlake\nprint(*set(sys.modules) - before)")
    assert done.returncode == 0, done.stderr
    assert HEAVY.isdisjoint(done.stdout.split())


def test_import_starts_nothing_and_says_nothing(program: Program) -> None:
    done = program("import os, runlake\nassert len(os.listdir('/proc/self/task')) == 1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_init_brings_no_heavy_module(program: Program) -> None:
    done = program("import sys, runlake\nrunlake.init('p').finish()\nprint(*sys.modules)")
    assert done.returncode == 0, done.stderr
    assert {"numpy", "pandas", "polars", "pyarrow", "subprocess", "socket", "asyncio"}.isdisjoint(done.stdout.split())


def test_logging_lists_needs_no_numpy(program: Program) -> None:
    done = program(
        "import sys\n"
        "sys.modules['numpy'] = None\n"
        "import runlake\n"
        "run = runlake.init('p', strict=True)\n"
        "run.log_many('x', [1.0, 2], steps=[0, 1], times=[0.5, 1.5])\n"
        "assert runlake.open().sql('select value from points order by step').fetchall() == [(1.0,), (2.0,)]\n"
    )
    assert done.returncode == 0, done.stderr
