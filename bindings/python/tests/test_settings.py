"""Arguments, settings and environment variables: which counts, and that the page tells the truth about them."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import runlake
from conftest import Program
from runlake._settings import VARIABLES

Open = Callable[[], runlake.Lake]

PAGE = (Path(__file__).parents[3] / "docs/environment.md").read_text(encoding="utf-8")
ROWS = [
    tuple(cell.strip().strip("`") for cell in line.strip("|").split("|"))
    for line in PAGE.splitlines()
    if re.match(r"\| `[a-z_]+` \|", line)
]

VALUES: dict[str, tuple[str, Callable[[runlake.Run, runlake.RunInfo], bool]]] = {
    "project": ("digits", lambda run, _info: run.project == "digits"),
    "entity": ("team", lambda run, _info: run.entity == "team"),
    "run_id": ("i", lambda run, _info: run.id == "i"),
    "run_name": ("n", lambda _run, info: info.name == "n"),
    "run_group": ("g", lambda _run, info: info.group == "g"),
    "run_job_type": ("train", lambda _run, info: info.job_type == "train"),
    "run_notes": ("some words", lambda _run, info: info.notes == "some words"),
    "run_tags": ("b, a", lambda _run, info: info.tags == ["a", "b"]),
    "mode": ("disabled", lambda run, _info: run.disabled),
    "disabled": ("true", lambda run, _info: run.disabled),
    "strict": ("1", lambda run, _info: run.strict),
    "host": ("node7", lambda _run, info: info.host == "node7"),
    "username": ("ada", lambda _run, info: info.user_name == "ada"),
    "program": ("/train.py", lambda _run, info: info.program == "/train.py"),
    "disable_git": ("true", lambda _run, info: info.git_commit is None),
}
"""A value of each variable, and how it shows. Those that are missing have tests of their own."""

ELSEWHERE = {
    "store": "test_a_lake_is_named_by_store_or_dir",
    "dir": "test_a_lake_is_named_by_store_or_dir",
    "resume": "test_must_and_never_hold",
    "reinit": "test_a_second_init_ends_returns_or_stands_beside_the_first",
    "silent": "test_silent_prints_nothing",
}


def test_the_page_lists_every_setting_with_its_variable() -> None:
    assert {row[0]: row[1] for row in ROWS} == dict(VARIABLES)
    assert set(VARIABLES) == set(inspect.signature(runlake.Settings).parameters)
    arguments = inspect.signature(runlake.init).parameters
    for _setting, _variable, _theirs, argument, _meaning in ROWS:
        assert not argument or argument in arguments


def test_every_row_of_the_page_is_tried() -> None:
    assert set(VALUES) | set(ELSEWHERE) == {row[0] for row in ROWS}
    assert set(ELSEWHERE.values()) <= set(globals())


@pytest.mark.parametrize("setting", sorted(VALUES))
def test_a_variable_does_what_the_page_says(
    setting: str, store: Path, lake: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, shows = VALUES[setting]
    runlake.init("before").finish()
    run = runlake.init("p" if setting != "project" else None)
    assert not shows(run, lake().run("@last")) or setting == "disable_git"
    run.finish()
    monkeypatch.setenv(VARIABLES[setting], text)
    run = runlake.init("p" if setting != "project" else None)
    assert shows(run, lake().run("@last"))
    run.finish()


def test_arguments_count_before_settings_and_settings_before_the_environment(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNLAKE_NAME", "environment")
    assert runlake.init("p").name == "environment"
    settings = runlake.Settings(run_name="settings")
    assert runlake.init("p", settings=settings).name == "settings"
    assert runlake.init("p", settings={"run_name": "settings"}).name == "settings"
    assert runlake.init("p", settings=settings, name="argument").name == "argument"
    monkeypatch.setenv("RUNLAKE_MODE", "disabled")
    assert runlake.init("p").disabled
    assert not runlake.init("p", mode="offline").disabled
    monkeypatch.setenv("RUNLAKE_NAME", "")
    assert runlake.init("p", mode="offline").name != ""


def test_a_lake_is_named_by_store_or_dir(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    assert runlake.init("p", dir=here).store == str(here / "runs.lake")
    assert runlake.init("p", dir=here / "runs.lake").store == str(here / "runs.lake")
    assert runlake.init("p", dir=here / "other.lake").store == str(here / "other.lake")
    assert runlake.init("p", store=here / "a", dir=here / "b").store == str(here / "a")
    assert runlake.init("p", dir=here / "a").store == str(here / "a"), "it is a lake, so it is meant itself"
    monkeypatch.setenv("RUNLAKE_DIR", str(here))
    assert runlake.init("p").store == str(store), "of two variables `RUNLAKE_STORE` counts"
    monkeypatch.delenv("RUNLAKE_STORE")
    assert runlake.init("p").store == str(here / "runs.lake")
    assert runlake.init("p", store=store).store == str(store)


def test_a_wrong_setting_says_what_there_is(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(runlake.InvalidArgument, match=r"'run_nane'; did you mean run_name"):
        runlake.init(settings={"run_nane": "n"})
    with pytest.raises(runlake.InvalidArgument, match=r"no setting 'zzz'; there is store, dir"):
        runlake.Settings().zzz = 1  # type: ignore[attr-defined]
    with pytest.raises(runlake.InvalidArgument, match=r"mode: 'ofline' is none of online, offline, shared, disabled"):
        runlake.init(mode="ofline")  # type: ignore[arg-type]
    monkeypatch.setenv("RUNLAKE_RESUME", "maybe")
    with pytest.raises(runlake.InvalidArgument, match=r"\$RUNLAKE_RESUME: 'maybe' is none of allow, must, never, auto"):
        runlake.init("p")


def test_must_and_never_hold(store: Path, lake: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(runlake.NotFound, match=r"'must', but project 'p' has no run 'a'; 'allow' starts one"):
        runlake.init("p", id="a", resume="must")
    with runlake.init("p", id="a", resume="never") as run:
        run.log({"loss": 1.0})
        assert not run.resumed
    with pytest.raises(runlake.InvalidArgument, match=r"'never', but project 'p' has a run 'a'; 'allow' continues it"):
        runlake.init("p", id="a", resume="never")
    runlake.init("q", id="a", resume="never").finish()
    for resume in ("must", "allow", "auto", True):
        with runlake.init("p", id="a", resume=resume) as run:  # type: ignore[arg-type]
            run.log({"loss": 1.0})
            assert run.resumed
    assert lake().sql("select max(step) from points where project = 'p'").fetchall() == [(4,)]
    monkeypatch.setenv("RUNLAKE_RESUME", "must")
    with pytest.raises(runlake.InvalidArgument, match=r"resume: 'must' speaks of a run .* needs its id="):
        runlake.init("p")


AUTO = """
import os, sys, runlake
run = runlake.init("p", resume="auto")
print(run.id)
run.log({"loss": 1.0})
if sys.argv[1] == "dies":
    os._exit(1)
"""


def test_auto_goes_on_with_what_did_not_finish(store: Path, program: Program, lake: Open) -> None:
    ids = []
    for end in ("dies", "dies", "finishes", "finishes"):
        done = program(AUTO, end, RUNLAKE_PROGRAM="train.py")
        assert done.returncode == (1 if end == "dies" else 0), done.stderr
        ids.append(done.stdout.strip())
    other = program(AUTO, "dies", RUNLAKE_PROGRAM="eval.py").stdout.strip()
    assert ids[0] == ids[1] == ids[2] != ids[3] != other != ids[0]
    assert lake().sql(f"select count(*) from points where run_id = '{ids[0]}'").fetchall() == [(3,)]


def test_a_second_init_ends_returns_or_stands_beside_the_first(store: Path, lake: Open) -> None:
    first = runlake.init("p", id="first")
    assert runlake.init("p", reinit="return_previous") is first
    assert runlake.init("p", reinit=False) is first
    beside = runlake.init("p", id="beside", reinit="create_new")
    assert runlake.run is first
    runlake.log({"loss": 1.0})
    beside.log({"loss": 2.0})
    third = runlake.init("p", id="third")
    assert runlake.run is third
    rows = lake().sql("select run_id, state from runs order by run_id").fetchall()
    assert rows == [("beside", "running"), ("first", "finished"), ("third", "running")]
    beside.finish()
    assert lake().sql("select run_id, value from points order by run_id").fetchall() == [
        ("beside", 2.0),
        ("first", 1.0),
    ]
    assert lake().run("beside").state == "finished"


def test_runs_beside_the_live_one_end_with_the_program(program: Program, lake: Open) -> None:
    done = program(
        "import runlake\n"
        "runlake.init('p', id='a')\n"
        "runlake.init('p', id='b', reinit='create_new')\n"
        "raise SystemError('no')\n"
    )
    assert done.returncode == 1
    assert lake().sql("select state from runs").fetchall() == [("failed",), ("failed",)]


def test_silent_prints_nothing(program: Program) -> None:
    done = program("import runlake\nrunlake.init('p').log({'a': 1})", RUNLAKE_SILENT="true")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert program("import runlake\nrunlake.init('p').log({'a': 1})", RUNLAKE_SILENT="0").stderr != ""


def test_a_disabled_run_takes_everything_and_keeps_nothing(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = runlake.init("p", mode="disabled", config={"lr": 0.1})
    assert isinstance(run, runlake.Run)
    assert runlake.run is run
    runlake.log({"loss": 1.0}, step=3)
    run.log({"loss": object()})
    run.log_many("loss", [1.0])
    run.config.update({"lr": 0.2})
    run.summary["best"] = 1
    run.sync()
    assert (run.config.lr, run.summary["best"], runlake.config["lr"]) == (0.2, 1, 0.2)
    with run:
        pass
    assert runlake.run is None
    assert not store.exists()
    assert capsys.readouterr() == ("", "")
    assert "RUNLAKE_LAUNCH" not in os.environ


def test_a_disabled_run_has_all_that_a_run_has(store: Path) -> None:
    run = runlake.init("p", mode="disabled")
    native = {"define", "summed", "end", "handed", "known", "last", "metrics", "stats", "trends"}
    words = [name for name in dir(runlake.Run) if not name.startswith(("_", "set_", "remove_")) and name not in native]
    for name in words:
        assert hasattr(run, name), name
        value = getattr(runlake.Run, name)
        if callable(value):
            theirs = list(inspect.signature(value).parameters)[1:]
            assert list(inspect.signature(getattr(run, name)).parameters) == theirs, name


def test_online_goes_on_here_and_says_so_once(program: Program, lake: Open) -> None:
    done = program(
        "import runlake\n"
        "for _ in range(2):\n"
        "    with runlake.init('p', mode='online') as run:\n"
        "        run.log({'loss': 1.0})\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("NotYetWarning: mode='online': there is no server; the run is kept in the lake") == 1
    assert len(lake().runs("p")) == 2


def test_a_config_updates_as_wandb_does(store: Path, lake: Open) -> None:
    import argparse

    run = runlake.init("p", id="i", config={"lr": 0.1})
    run.config.update(argparse.Namespace(lr=0.2, depth=3))
    run.config.update({"lr": 0.3}, allow_val_change=True, width=4)
    run.config.setdefaults({"lr": 1.0, "seed": 7})
    run.config.update(None)
    assert lake().run("i").config == {"lr": 0.3, "depth": 3, "width": 4, "seed": 7}
