"""What the pages tell users to type works as it stands there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import runlake
from conftest import Program

ROOT = Path(__file__).parents[3]
PAGES = ["README.md", "docs/semantics.md", "docs/sql.md", "docs/wandb-differences.md", "bindings/python/README.md"]


def blocks(language: str) -> list[object]:
    """The blocks of a language in all pages, each with its page and line."""
    found: list[object] = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, match.start()) + 1
            found.append(pytest.param(match[1], id=f"{page}:{line}"))
    assert found, language
    return found


@pytest.fixture
def digits(store: Path) -> runlake.Lake:
    """A lake with what the pages speak of."""
    config = {"lr": 0.1, "optimizer": "sgd", "model": {"depth": 3}}
    for id in ("r0", "r1"):
        with runlake.init(project="digits", id=id, config=config, tags=["baseline"]) as run:
            for step in range(200):
                run.log({"train/loss": 1 / (step + 1), "val/loss": 2 / (step + 1), "lr": 0.1, "loss": 1.0}, step=step)
            run.log({"gpu/memory": 0.5}, labels={"rank": 0})
            # So many that the end of the run flushes them: the lake has segments too.
            run.log_many("filling", range(70_000))
    return runlake.open()


@pytest.mark.parametrize("query", blocks("sql"))
def test_queries_run_and_find_something(digits: runlake.Lake, query: str) -> None:
    # How many choices there were is asked where runs differ; here they do not.
    assert len(digits.sql(query)) > 0 or "choices > 1" in query


@pytest.mark.parametrize("source", blocks("python"))
def test_programs_run(store: Path, program: Program, source: str) -> None:
    start = "import os\nimport runlake\nrun = runlake.init(project='before')\n"
    done = program(start + source)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "Warning" not in done.stderr
    # Where the page says which step a row gets, it gets that.
    steps = [int(step) for step in re.findall(r"# step (-?\d+)", source)]
    if steps:
        rows = runlake.open().sql("select step from points where project = 'p' order by value").fetchall()
        assert [step for (step,) in rows] == steps


def commands() -> list[str]:
    """The lines of shell in the pages that call the command, and end by themselves."""
    lines: list[str] = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for block in re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            lines += re.sub(r"\\\n\s*", " ", block).splitlines()
    named = [line for line in lines if line.startswith("runlake")]
    return [line for line in dict.fromkeys(named) if not line.startswith("runlake demo")]


@pytest.mark.parametrize("line", commands())
def test_commands_run(digits: runlake.Lake, store: Path, tmp_path: Path, line: str) -> None:
    (tmp_path / "runs.csv.gz").write_bytes(b"run,metric,step,value\na,loss,0,0.5\n")
    words = shlex.split(line, comments=True)
    assert words[0] == "runlake"
    done = subprocess.run(
        [sys.executable, "-m", "runlake", *words[1:]], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
