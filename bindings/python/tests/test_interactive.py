"""Prompts, notebooks and coroutines: programs that go on where others end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import runlake

Open = Callable[[], runlake.Lake]


def typed(store: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    """Runs lines as they are typed at the prompt of Python."""
    return subprocess.run(
        [sys.executable, "-q", "-i"],
        input="".join(f"{line}\n" for line in lines),
        env={**os.environ, "RUNLAKE_STORE": str(store), "PYTHONSTARTUP": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_an_error_at_the_prompt_is_not_the_end_of_the_run(store: Path, lake: Open) -> None:
    done = typed(store, "import runlake", "run = runlake.init('p', id='i')", "1 / 0", "run.log({'a': 1})", "run")
    assert "ZeroDivisionError" in done.stderr
    assert "<runlake.Run" in done.stdout
    run = lake().run("i")
    assert (run.state, run.exit_code, run.last_step) == ("finished", 0, 0)


def test_a_cell_that_is_run_again_starts_anew(store: Path, lake: Open) -> None:
    cell = "run = runlake.init('p', config={'lr': 0.1}); run.log({'loss': 1.0}); run.log({'loss': 0.5})"
    done = typed(store, "import runlake", cell, cell, "runlake.log({'loss': 0.1})")
    assert "a new run starts, so run" in done.stderr
    rows = lake().sql("select last_step, state from runs order by created_at").fetchall()
    assert rows == [(1, "finished"), (2, "finished")]


def test_a_result_shows_itself_in_a_notebook(store: Path) -> None:
    with runlake.init("p", id="i") as run:
        run.log({"loss": 0.5})
    html = runlake.open().sql("select metric, value from points")._repr_html_()
    assert html.startswith("<table>")
    assert "loss" in html
    for thing in (runlake.open(), runlake.open().run("i"), run, runlake.Api().run("i"), run.config):
        assert len(repr(thing).splitlines()) == 1


def test_coroutines_log_without_getting_in_each_others_way(store: Path, lake: Open) -> None:
    run = runlake.init("p", id="i")

    async def train(rank: int) -> None:
        for step in range(50):
            run.log({"loss": float(step)}, step=step, labels={"rank": rank})
            await asyncio.sleep(0)

    async def main() -> list[tuple[int]]:
        await asyncio.gather(*(train(rank) for rank in range(4)))
        # A query waits in a thread, so that the loop goes on.
        relation = await asyncio.to_thread(lake().sql, "select count(*) from points")
        return list(relation.fetchall())

    assert asyncio.run(main()) == [(200,)]
    rows = lake().sql("select labels, count(*), min(step), max(step) from points group by labels order by labels")
    assert rows.fetchall() == [(f'{{"rank":{rank}}}', 50, 0, 49) for rank in range(4)]
