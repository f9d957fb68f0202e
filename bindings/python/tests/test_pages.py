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
PAGES = [
    "README.md",
    "docs/semantics.md",
    "docs/sql.md",
    "docs/dataframes.md",
    "docs/wandb-differences.md",
    "bindings/python/README.md",
]


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
    """A lake with what the pages speak of, in segments and in the log."""

    def log(id: str, lr: float, steps: range) -> None:
        config = {"lr": lr, "optimizer": "sgd", "model": {"depth": 3}}
        with runlake.init(project="digits", id=id, config=config, tags=["baseline"]) as run:
            run.define_metric("val/accuracy", summary="best", goal="maximize")
            for step in steps:
                row = {"train/loss": 10 * lr / (step + 1), "lr": lr}
                run.log(row | ({"val/loss": 20 * lr / (step + 1)} if step % 10 == 9 else {}), step=step)
            run.log({"gpu/memory": 10 * lr}, labels={"rank": 0}, step=steps[-1])

    log("r0", 0.1, range(200))
    # So many that the end of the run flushes them: the lake has segments too.
    with runlake.init(project="other", id="filler") as run:
        run.log_many("filling", range(70_000))
    log("r1", 0.2, range(120))
    log("r1", 0.2, range(100, 200))
    return runlake.open()


@pytest.mark.parametrize("query", blocks("sql"))
def test_queries_run_and_find_something(digits: runlake.Lake, query: str) -> None:
    assert len(digits.sql(query)) > 0


def answers() -> list[object]:
    """The queries that the pages show with their answers, each with its page and line."""
    pairs: list[object] = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for match in re.finditer(r"^```sql\n(.*?)^```\n\n```text\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, match.start()) + 1
            pairs.append(pytest.param(match[1], match[2], id=f"{page}:{line}"))
    assert len(pairs) > 15
    return pairs


@pytest.mark.parametrize(("query", "answer"), answers())
def test_queries_print_what_the_page_shows(
    digits: runlake.Lake, capfd: pytest.CaptureFixture[str], query: str, answer: str
) -> None:
    capfd.readouterr()
    assert runlake._native.cli_main(["runlake", "sql", query, "--store", digits.path]) == 0
    assert capfd.readouterr().out == answer


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
