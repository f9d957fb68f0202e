"""Programs that say `import wandb` find ours, in whatever way they look for it, and log to a lake."""

from __future__ import annotations

import doctest
import importlib
import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import runlake
from conftest import Program
from runlake.as_wandb import SITE, session, with_site
from runlake.as_wandb.settings import VARIABLES

ALIASED = "import runlake; runlake.alias_wandb(); "

Door = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def door(store: Path, tmp_path: Path) -> Door:
    """`python -m runlake.as_wandb`, with the lake of the test."""

    def run(*arguments: str, flags: tuple[str, ...] = (), **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
        return subprocess.run(
            [sys.executable, *flags, "-m", "runlake.as_wandb", *arguments],
            env={**kept, "RUNLAKE_STORE": str(store), **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def points(lake: Callable[[], runlake.Lake]) -> list[tuple[str, int, float]]:
    query = "select metric, step, value from points order by metric, step, value"
    return [tuple(row) for row in lake().sql(query).fetchall()]


def test_a_script_runs_unchanged_with_its_arguments(
    door: Door, lake: Callable[[], runlake.Lake], tmp_path: Path
) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import sys, wandb\n"
        "assert __name__ == '__main__' and sys.path[0] == sys.argv[2], sys.path\n"
        "with wandb.init(project='p', config={'lr': float(sys.argv[1])}) as run:\n"
        "    run.log({'loss': 0.5})\n"
    )
    done = door(str(script), "0.25", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert points(lake) == [("loss", 0, 0.5)]
    assert lake().run().config == {"lr": 0.25}


def test_modules_and_code_run_too(door: Door, lake: Callable[[], runlake.Lake], tmp_path: Path) -> None:
    (tmp_path / "trainer.py").write_text("import wandb\nwandb.init(project='p')\nwandb.log({'a': 1})\n")
    assert door("-m", "trainer").returncode == 0
    assert door("-c", "import wandb; wandb.init(project='p').log({'b': 2})").returncode == 0
    assert points(lake) == [("a", 0, 1.0), ("b", 0, 2.0)]


def test_the_exit_code_is_that_of_the_program(door: Door) -> None:
    assert door("-c", "import sys; sys.exit(7)").returncode == 7
    assert door().returncode == 2
    assert "usage" in door("--help").stdout


def test_without_environment_it_says_what_is_wrong(door: Door) -> None:
    done = door("-c", "pass", flags=("-E",))
    assert done.returncode == 2
    assert "$PYTHONPATH" in done.stderr


def test_flags_of_the_interpreter_stay(door: Door) -> None:
    done = door("-c", "import sys; print(sys.flags.optimize, sys.flags.dev_mode)", flags=("-O", "-X", "dev"))
    assert done.stdout.split() == ["1", "True"], done.stderr


@pytest.mark.parametrize("start", ["fork", "spawn", "forkserver"])
def test_workers_of_multiprocessing_find_it(
    door: Door, lake: Callable[[], runlake.Lake], tmp_path: Path, start: str
) -> None:
    script = tmp_path / "workers.py"
    script.write_text(
        "import multiprocessing, sys\n"
        "def work(number):\n"
        "    import wandb\n"
        "    with wandb.init(project='p', group='workers', name=f'worker {number}') as run:\n"
        "        run.log({'number': number})\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context(sys.argv[1])\n"
        "    workers = [context.Process(target=work, args=(number,)) for number in range(2)]\n"
        "    for worker in workers: worker.start()\n"
        "    for worker in workers: worker.join()\n"
        "    sys.exit(sum(worker.exitcode for worker in workers))\n"
    )
    done = door(str(script), start)
    assert done.returncode == 0, done.stderr
    assert points(lake) == [("number", 0, 0.0), ("number", 0, 1.0)]


def test_a_run_is_handed_to_spawned_workers_as_an_argument(
    door: Door, lake: Callable[[], runlake.Lake], tmp_path: Path
) -> None:
    script = tmp_path / "handed.py"
    script.write_text(
        "import multiprocessing, wandb\n"
        "def work(run): run.log({'there': 1}, step=5)\n"
        "if __name__ == '__main__':\n"
        "    with wandb.init(project='p') as run:\n"
        "        worker = multiprocessing.get_context('spawn').Process(target=work, args=(run,))\n"
        "        worker.start(); worker.join()\n"
        "        assert worker.exitcode == 0\n"
        "        run.log({'here': 2})\n"
    )
    done = door(str(script))
    assert done.returncode == 0, done.stderr
    assert points(lake) == [("here", 0, 2.0), ("there", 5, 1.0)]
    assert len(lake().runs()) == 1


def test_subprocesses_find_it(door: Door, lake: Callable[[], runlake.Lake]) -> None:
    code = (
        "import subprocess, sys\n"
        'program = \'import wandb; wandb.init(project="p").log({"a": 1})\'\n'
        "sys.exit(subprocess.run([sys.executable, '-c', program]).returncode)"
    )
    done = door("-c", code)
    assert done.returncode == 0, done.stderr
    assert points(lake) == [("a", 0, 1.0)]


def test_find_spec_and_metadata_know_it(program: Program) -> None:
    done = program(
        ALIASED + "import importlib.util, importlib.metadata\n"
        "assert importlib.util.find_spec('wandb') is not None\n"
        "assert importlib.util.find_spec('wandb.sdk.wandb_run') is not None\n"
        "print(importlib.metadata.version('wandb'))\n"
        "import wandb\n"
        "assert wandb.__version__ == importlib.metadata.version('wandb') and wandb.__spec__.name == 'wandb'\n"
    )
    assert (done.returncode, done.stdout) == (0, "0.31.0\n"), done.stderr


def test_every_module_of_it_can_be_imported(program: Program) -> None:
    done = program(
        ALIASED + "import importlib, pkgutil, wandb\n"
        "frameworks = ('keras', 'lightgbm', 'xgboost')\n"
        "for module in pkgutil.walk_packages(wandb.__path__, 'wandb.'):\n"
        "    if not module.name.endswith(frameworks):\n"
        "        found = importlib.import_module(module.name)\n"
        "        assert all(hasattr(found, name) for name in getattr(found, '__all__', ())), module.name\n"
        "for name in wandb.__all__: getattr(wandb, name)\n"
    )
    assert done.returncode == 0, done.stderr


def test_another_wandb_that_was_imported_before_is_an_error(program: Program, tmp_path: Path) -> None:
    (tmp_path / "wandb.py").write_text("version = 'another'")
    done = program(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import wandb, runlake\n"
        "try: runlake.alias_wandb()\n"
        "except runlake.InvalidArgument as error: print(error)\n"
    )
    assert "wandb has been imported already" in done.stdout, done.stderr


def test_the_installed_wandb_is_hidden_and_not_touched(program: Program, tmp_path: Path) -> None:
    installed = tmp_path / "wandb" / "__init__.py"
    installed.parent.mkdir()
    installed.write_text("raise ImportError('the installed one')")
    done = program(ALIASED + "import wandb; wandb.init(mode='disabled')", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr


def test_aliasing_twice_is_as_good_as_once(program: Program) -> None:
    done = program(
        ALIASED + "runlake.alias_wandb()\n"
        "import os, sys, wandb\n"
        "runlake.alias_wandb()\n"
        "from runlake.as_wandb import SITE\n"
        "print(sys.path.count(SITE), os.environ['PYTHONPATH'].split(os.pathsep).count(SITE))\n"
    )
    assert done.stdout == "1 1\n", done.stderr


def test_the_path_keeps_what_was_in_it() -> None:
    assert with_site(None) == SITE
    assert with_site("/a:/b") == f"{SITE}:/a:/b"
    assert with_site(f"/a:{SITE}") == f"{SITE}:/a"
    # An empty part means the working directory, and stays.
    assert with_site("/a:") == f"{SITE}:/a:"


def test_importing_it_brings_no_heavy_module(program: Program) -> None:
    done = program(ALIASED + "import sys, wandb; wandb.init(project='p').log({'a': 1}); print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    heavy = {"numpy", "pandas", "yaml", "PIL", "asyncio", "socket", "multiprocessing", "subprocess"}
    assert heavy.isdisjoint(done.stdout.split())


def test_what_is_not_stored_yet_is_said_once(door: Door) -> None:
    done = door(
        "-c",
        "import wandb\n"
        "run = wandb.init(project='p')\n"
        "for step in range(3):\n"
        "    run.log({'loss': 1, 'spread': wandb.Histogram(np_histogram=([1], [0, 1])), 'page': wandb.Html('<p>')})\n"
        "    run.log_artifact(wandb.Artifact('a', 'model'))\n"
        "    run.log({'note': f'text {step}'})\n",
    )
    assert done.returncode == 0, done.stderr
    for what in (
        "wandb: histograms: not stored yet",
        "wandb: artifacts: not stored yet",
        "and other media: not",
    ):
        assert done.stderr.count(what) == 1, done.stderr
    assert done.stderr.count("wandb: text and lists: the summary keeps") == 1


def test_text_is_in_the_summary(door: Door, lake: Callable[[], runlake.Lake]) -> None:
    done = door(
        "-c",
        "import wandb\n"
        "run = wandb.init(project='p')\n"
        "for step in range(3): run.log({'loss': step, 'note': f'text {step}', 'list': [step, 'a']})\n",
    )
    assert done.returncode == 0, done.stderr
    assert lake().run().summary == {"loss": 2, "note": "text 2", "list": [2, "a"]}


def test_a_resumed_run_goes_on_where_it_was(door: Door, lake: Callable[[], runlake.Lake]) -> None:
    code = (
        "import wandb\n"
        "run = wandb.init(project='p', id='again', resume='allow', config={'lr': 0.1})\n"
        "print(run.resumed, run.starting_step, run.step)\n"
        "run.log({'a': 1}); run.log({'a': 2})\n"
    )
    assert door("-c", code).stdout.split() == ["False", "0", "0"]
    assert door("-c", code).stdout.split() == ["True", "2", "2"]
    assert [step for _, step, _ in points(lake)] == [0, 1, 2, 3]


def test_what_resume_forbids_is_a_usage_error(door: Door) -> None:
    done = door(
        "-c",
        "import wandb\n"
        "try: wandb.init(project='p', id='none', resume='must')\n"
        "except wandb.UsageError as error: print(error)\n",
    )
    assert "has no run 'none'" in done.stdout, done.stderr


def test_files_of_a_run_have_a_folder(door: Door, tmp_path: Path) -> None:
    done = door("-c", "import wandb; print(wandb.init(project='p', dir='here').dir)")
    folder = Path(done.stdout.strip())
    assert folder.is_dir(), done.stderr
    assert folder.is_relative_to(tmp_path / "here" / "wandb")


def test_variables_of_wandb_count(door: Door, lake: Callable[[], runlake.Lake]) -> None:
    done = door(
        "-c",
        "import wandb; wandb.init().log({'a': 1})",
        WANDB_PROJECT="from variables",
        WANDB_NAME="a name",
        WANDB_TAGS="x, y",
        WANDB_SILENT="true",
    )
    assert (done.returncode, done.stderr) == (0, "")
    run = lake().run()
    assert (run.project, run.name, run.tags) == ("from variables", "a name", ["x", "y"])


def test_a_run_goes_back_to_a_step_and_goes_on_behind_it(door: Door, store: Path) -> None:
    done = door(
        "-c",
        "import wandb\n"
        "with wandb.init(project='p', id='a') as run:\n"
        "    for step in range(10): run.log({'loss': 1.0})\n"
        "with wandb.init(project='p', resume_from='a?_step=4') as run:\n"
        "    assert run.id == 'a' and run.step == 5, run.step\n"
        "    run.log({'loss': 2.0})\n"
        "for wrong in ('a', 'a?_step=x', '?_step=1', 'nobody?_step=1'):\n"
        "    try: wandb.init(project='p', resume_from=wrong)\n"
        "    except wandb.UsageError: pass\n"
        "    else: raise SystemExit(wrong)\n"
        "try: wandb.init(project='p', id='b', resume_from='a?_step=1')\n"
        "except wandb.UsageError: pass\n"
        "else: raise SystemExit('two ids')\n",
    )
    assert done.returncode == 0, done.stderr
    rows = runlake.open(store).sql("select step, value from points where metric = 'loss' order by step").fetchall()
    assert rows == [(step, 1.0) for step in range(5)] + [(5, 2.0)]


def test_a_run_is_forked_from_a_step_of_another_one(door: Door, store: Path) -> None:
    done = door(
        "-c",
        "import wandb\n"
        "with wandb.init(project='p', id='a', config={'lr': 0.1, 'width': 8}) as run:\n"
        "    for step in range(10): run.log({'loss': 1.0, 'acc': 0.5})\n"
        "with wandb.init(project='p', id='b', fork_from='a?_step=4', config={'lr': 0.2}) as run:\n"
        "    assert run.id == 'b' and run.step == 5, run.step\n"
        "    assert dict(run.config) == {'width': 8, 'lr': 0.2}, run.config\n"
        "    run.log({'loss': 2.0})\n"
        "there = wandb.Api().run('p/b')\n"
        "assert [row['acc'] for row in there.scan_history(keys=['acc'])] == [0.5] * 5\n"
        "assert there.summary['loss'] == 2.0 and there.summary['acc'] == 0.5 and there.lastHistoryStep == 5\n"
        "for wrong in ('a', 'a?_step=x', '?_step=1', 'nobody?_step=1'):\n"
        "    try: wandb.init(project='p', fork_from=wrong)\n"
        "    except wandb.UsageError: pass\n"
        "    else: raise SystemExit(wrong)\n"
        "for more in ({'resume': 'must', 'id': 'b'}, {'resume_from': 'b?_step=1'}):\n"
        "    try: wandb.init(project='p', fork_from='a?_step=1', **more)\n"
        "    except wandb.UsageError: pass\n"
        "    else: raise SystemExit(str(more))\n",
    )
    assert done.returncode == 0, done.stderr
    lake = runlake.open(store)
    rows = lake.sql("select step, value from points where run_id = 'b' and metric = 'loss' order by step").fetchall()
    assert rows == [(step, 1.0) for step in range(5)] + [(5, 2.0)]
    assert lake.sql("select parent_run_id, fork_step from runs where run_id = 'b'").fetchall() == [("a", 4)]


SETTINGS = {
    "entity": ("team", "run.entity == 'team'"),
    "project": ("digits", "run.project == 'digits'"),
    "root_dir": ("there", "os.path.abspath('there') in run.dir"),
    "run_id": ("an-id", "run.id == 'an-id'"),
    "run_name": ("a name", "run.name == 'a name'"),
    "run_group": ("a group", "run.group == 'a group'"),
    "run_job_type": ("eval", "run.job_type == 'eval'"),
    "run_notes": ("notes", "run.notes == 'notes'"),
    "run_tags": ("a,b", "run.tags == ('a', 'b')"),
    "mode": ("disabled", "run.disabled"),
    "resume": ("must", "isinstance(error, wandb.UsageError)"),
    "resume_from": ("a?_step=1", "isinstance(error, wandb.UsageError)"),
    "fork_from": ("a?_step=1", "isinstance(error, wandb.UsageError)"),
    "reinit": ("create_new", "wandb.init(settings=settings) is not run"),
    "silent": ("true", "True"),
    "host": ("a-host", "there.host == 'a-host'"),
    "username": ("somebody", "there.user_name == 'somebody'"),
    "program": ("train.py", "there.program == 'train.py'"),
    "disable_git": ("true", "there.git_commit is None"),
}


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize("by", ["variable", "settings"])
def test_each_setting_that_counts_does(door: Door, name: str, by: str) -> None:
    value, holds = SETTINGS[name]
    given = value.split(",") if name == "run_tags" else True if value == "true" else value
    settings = {name: given} if by == "settings" else {}
    done = door(
        "-c",
        "import os, runlake, wandb\n"
        "run = error = there = None\n"
        f"settings = {settings!r}\n"
        "try: run = wandb.init(settings=settings)\n"
        "except wandb.Error as raised: error = raised\n"
        "if run is not None and not run.disabled: there = runlake.open().run()\n"
        f"assert {holds}\n",
        **({VARIABLES[name]: value} if by == "variable" else {}),
    )
    assert done.returncode == 0, done.stderr
    assert (done.stderr == "") == (name in ("silent", "mode", "resume", "resume_from", "fork_from"))


@pytest.mark.parametrize("variable", ["WANDB_MODE=disabled", "WANDB_DISABLED=true"])
def test_a_disabled_run_keeps_nothing(door: Door, store: Path, variable: str) -> None:
    name, value = variable.split("=")
    done = door("-c", "import wandb; r = wandb.init(); r.log({'a': 1}); r.summary['b'] = 2", **{name: value})
    assert done.returncode == 0, done.stderr
    assert not store.exists()


@pytest.fixture
def unaliased(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undoes `alias_wandb` after a test."""
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for module in [module for module in sys.modules if module.partition(".")[0] == "wandb"]:
        del sys.modules[module]


MODULES = sorted(path.stem for path in Path(SITE).parent.glob("[a-z]*.py") if ">>>" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.usefixtures("store", "unaliased")
def test_examples_run(name: str) -> None:
    module = importlib.import_module(f"runlake.as_wandb.{name}")
    results = doctest.testmod(module)
    session.finish()
    assert results.attempted > 0
    assert results.failed == 0


def test_the_main_entries_have_examples() -> None:
    assert {"run", "session", "settings", "table", "histogram"} <= set(MODULES)


ALONE = {path.stem for path in Path(SITE).parent.glob("[a-z]*.py")} - {"keras", "xgboost"}
"""The modules that need no framework."""


@pytest.mark.parametrize("name", sorted(ALONE))
def test_everything_public_is_documented(name: str) -> None:
    module = importlib.import_module(f"runlake.as_wandb.{name}")
    for word, value in vars(module).items():
        if not word.startswith("_") and getattr(value, "__module__", None) == module.__name__:
            assert value.__doc__, f"{name}.{word}"
            members = vars(value).items() if inspect.isclass(value) else ()
            for one, member in members:
                assert one.startswith("_") or not callable(member) or member.__doc__, f"{name}.{word}.{one}"
