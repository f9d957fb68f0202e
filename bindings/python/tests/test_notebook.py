"""Notebooks: cells that IPython runs in a kernel, as Jupyter starts and stops one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

import runlake
from conftest import wait_for

Open = Callable[[], runlake.Lake]


class Notebook:
    """A kernel, and what its cells show."""

    def __init__(self, folder: Path, store: Path) -> None:
        self.manager = KernelManager(connection_file=str(folder / "kernel.json"))
        # The kernel of this Python, whatever kernels are installed.
        self.manager.kernel_spec.argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        environment = {**os.environ, "RUNLAKE_STORE": str(store), "IPYTHONDIR": str(folder / "ipython")}
        self.manager.start_kernel(env=environment, cwd=str(folder))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def cell(self, source: str, hook: Callable[[str], object] = lambda text: None) -> dict[str, Any]:
        """Runs a cell: its texts, its result by mime type, the name of its error. `hook` sees what it printed."""
        shown: dict[str, Any] = {"stdout": "", "stderr": "", "result": {}, "error": None}

        def output(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                shown[content["name"]] += content["text"]
                hook(shown[content["name"]])
            elif message["msg_type"] == "execute_result":
                shown["result"] = content["data"]
            elif message["msg_type"] == "error":
                shown["error"] = content["ename"]

        self.client.execute_interactive(source, output_hook=output, timeout=120)
        return shown

    def close(self, now: bool = False) -> None:
        """Ends the kernel as Jupyter does, or at once, as where its machine is taken away."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=now)


@pytest.fixture
def notebook(tmp_path: Path, store: Path) -> Iterator[Notebook]:
    notebook = Notebook(tmp_path, store)
    yield notebook
    if notebook.manager.is_alive():
        notebook.close(now=True)


def test_results_show_themselves_and_a_run_goes_on_from_cell_to_cell(notebook: Notebook, lake: Open) -> None:
    started = notebook.cell("import runlake\nrun = runlake.init('p', id='i', config={'lr': 0.1})\nrun")
    assert started["error"] is None, started
    assert started["result"]["text/plain"].startswith("<runlake.Run")
    assert "run " in started["stderr"], "init says which run it is"
    assert started["stdout"] == ""
    assert notebook.cell("for step in range(5): run.log({'loss': 1.0 / (step + 1)})")["error"] is None
    table = notebook.cell("runlake.open().sql('select step, value from points order by step')")["result"]
    assert "<table>" in table["text/html"]
    assert "0.2" in table["text/plain"]
    # The lake is read from another process while the kernel idles.
    assert lake().run("i").state == "running"
    assert notebook.cell("1 / 0")["error"] == "ZeroDivisionError"
    assert notebook.cell("run.log({'loss': 0.0})")["error"] is None
    notebook.close()
    run = lake().run("i")
    assert (run.state, run.exit_code, run.last_step) == ("finished", 0, 5), "an error in a cell is not the end of it"


def test_a_cell_with_init_that_is_run_again_ends_the_run_before(notebook: Notebook, lake: Open) -> None:
    cell = "import runlake\nrun = runlake.init('p')\nrun.log({'loss': 1.0})\nrun.log({'loss': 0.5})"
    assert notebook.cell(cell)["error"] is None
    again = notebook.cell(cell)
    assert "a new run starts, so run" in again["stderr"]
    assert lake().sql("select state, last_step from runs order by created_at").fetchall() == [
        ("finished", 1),
        ("running", 1),
    ]


def test_a_cell_that_is_interrupted_leaves_a_run_that_goes_on(notebook: Notebook, lake: Open) -> None:
    assert notebook.cell("import runlake\nrun = runlake.init('p', id='i')")["error"] is None
    endless = "print('going', flush=True)\nwhile True:\n    run.log({'loss': 1.0})\n    run.sync()"
    interrupted = []

    def points() -> int:
        return int(lake().sql("select count(*) from points").fetchall()[0][0])

    def interrupt(text: str) -> None:
        if "going" in text and not interrupted:
            interrupted.append(text)
            wait_for(lambda: points() > 0)
            notebook.manager.interrupt_kernel()

    assert notebook.cell(endless, interrupt)["error"] == "KeyboardInterrupt"
    logged = points()
    assert notebook.cell("run.log({'loss': 0.0})")["error"] is None
    assert lake().run("i").state == "running"
    assert points() == logged + 1


def test_a_kernel_that_is_killed_leaves_a_crashed_run_with_all_rows(notebook: Notebook, lake: Open) -> None:
    cell = "import runlake\nrun = runlake.init('p', id='i')\nfor step in range(100): run.log({'loss': 1.0})"
    assert notebook.cell(cell)["error"] is None
    notebook.close(now=True)
    run = lake().run("i")
    assert (run.state, run.last_step) == ("crashed", 99)
