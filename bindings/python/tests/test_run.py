"""A run from its start to its end: what it is told, what it tells."""

from __future__ import annotations

import argparse
import dataclasses
import math
import pathlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runlake

Open = Callable[[], runlake.Lake]


def test_init_says_where_it_logs(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = runlake.init("digits", name="first", id="one")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"runlake: run first (one) of project digits, lake {store}\n"
    assert (run.project, run.name, run.id, run.store) == ("digits", "first", "one", str(store))


def test_names_and_ids_are_made_up_where_they_are_not_given(store: Path) -> None:
    first, second = runlake.init("p"), runlake.init("p")
    assert first.id != second.id
    assert first.name
    assert first.name != first.id or second.name != second.id


def test_everything_that_init_takes_is_in_the_lake(store: Path, lake: Open) -> None:
    runlake.init(
        project="p",
        name="n",
        id="i",
        config={"lr": 0.1},
        group="g",
        job_type="train",
        tags=["b", "a"],
        notes="some words",
    ).finish()
    run = lake().run("i")
    assert (run.project, run.name, run.id, run.group, run.job_type) == ("p", "n", "i", "g", "train")
    assert (run.tags, run.notes, run.config) == (["a", "b"], "some words", {"lr": 0.1})
    assert run.host
    assert run.user_name
    assert run.command
    assert run.created_at is not None
    assert run.finished_at is not None
    assert run.finished_at >= run.created_at


def test_a_config_may_be_a_mapping_a_namespace_or_a_dataclass(store: Path, lake: Open) -> None:
    @dataclasses.dataclass
    class Options:
        lr: float = 0.1
        layers: tuple[int, ...] = (1, 2)

    for id, config in (
        ("mapping", {"lr": 0.1, "layers": (1, 2)}),
        ("namespace", argparse.Namespace(lr=0.1, layers=[1, 2])),
        ("dataclass", Options()),
    ):
        run = runlake.init("p", id=id, config=config)
        assert run.config["lr"] == 0.1
        assert lake().run(id).config == {"lr": 0.1, "layers": [1, 2]}


def test_values_of_a_config_become_plain(store: Path, lake: Open) -> None:
    run = runlake.init(
        "p",
        config={
            "array": np.array([1, 2]),
            "scalar": np.float32(0.5),
            "path": pathlib.Path("data/x"),
            "none": None,
            "truth": True,
            "large": 2**60,
            "larger": 2**70,
            "infinity": math.inf,
            "nested": {"a": {"b": [1, {"c": "d"}]}},
            3: "three",
            "type": float,
            "ünï": "kode 🦦",
        },
    )
    assert lake().run(run.id).config == {
        "array": [1, 2],
        "scalar": 0.5,
        "path": "data/x",
        "none": None,
        "truth": True,
        "large": 2**60,
        "larger": str(2**70),
        "infinity": "Infinity",
        "nested": {"a": {"b": [1, {"c": "d"}]}},
        "3": "three",
        "type": "<class 'float'>",
        "ünï": "kode 🦦",
    }


@pytest.mark.parametrize("config", [3, "lr=0.1", [("lr", 0.1)]])
def test_a_config_that_is_no_mapping_is_refused(store: Path, config: object) -> None:
    with pytest.raises((runlake.InvalidArgument, TypeError), match=r"mapping|__dict__"):
        runlake.init("p", config=config)
    assert runlake.run is None


def test_a_config_that_contains_itself_is_refused(store: Path) -> None:
    config: dict[str, Any] = {}
    config["self"] = [config]
    with pytest.raises((runlake.InvalidArgument, RecursionError)):
        runlake.init("p", config=config)


def test_the_config_changes_at_any_depth(store: Path, lake: Open) -> None:
    run = runlake.init("p", config={"model": {"width": 64}, "gone": 1})
    run.config["lr"] = 0.1
    run.config.model.depth = 3
    run.config["model"]["width"] = 128
    run.config.update({"batch": 32}, seed=0)
    del run.config["gone"]
    expected = {"model": {"width": 128, "depth": 3}, "lr": 0.1, "batch": 32, "seed": 0}
    assert dict(run.config) == expected or run.config.as_dict() == expected
    assert lake().run(run.id).config == expected
    assert run.config.get("absent", 7) == 7
    assert "lr" in run.config
    with pytest.raises(KeyError):
        run.config["absent"]
    with pytest.raises(AttributeError, match="no 'absnt' here; there is"):
        _ = run.config.absnt


def test_a_change_of_the_given_dict_is_no_change_of_the_config(store: Path, lake: Open) -> None:
    given = {"model": {"width": 64}}
    run = runlake.init("p", config=given)
    given["model"]["width"] = 1
    assert run.config.model.width == 64


def test_config_keys_are_columns_of_sql(store: Path, lake: Open) -> None:
    run = runlake.init("p", config={"lr": 0.1, "model": {"width": 64, "kind": "mlp"}})
    rows = lake().sql(f"select key, value, number from config where run_id = '{run.id}' order by key").fetchall()
    assert [(key, number) for key, _, number in rows] == [("lr", 0.1), ("model.kind", None), ("model.width", 64.0)]


def test_the_summary_is_what_was_set_and_else_the_last_value(store: Path, lake: Open) -> None:
    run = runlake.init("p")
    run.log({"loss": 0.5, "accuracy": 0.1})
    run.log({"loss": 0.25, "accuracy": 0.9})
    run.summary["best"] = {"accuracy": 0.9}
    run.summary["accuracy"] = 0.95
    assert run.summary["loss"] == 0.25
    assert run.summary["accuracy"] == 0.95
    assert run.summary.best.accuracy == 0.9
    with pytest.raises(KeyError):
        run.summary["absent"]
    run.finish()
    assert lake().run(run.id).summary == {"loss": 0.25, "accuracy": 0.95, "best": {"accuracy": 0.9}}


def test_name_notes_group_and_tags_may_be_set_later(store: Path, lake: Open) -> None:
    run = runlake.init("p", tags="one")
    run.name, run.notes, run.group, run.job_type = "renamed", "words", "g", "eval"
    run.tags += ("two",)
    run.tags = [tag for tag in run.tags if tag != "one"]
    assert (run.name, run.notes, run.group, run.job_type, run.tags) == ("renamed", "words", "g", "eval", ("two",))
    known = lake().run(run.id)
    assert (known.name, known.notes, known.group, known.job_type, known.tags) == (
        "renamed",
        "words",
        "g",
        "eval",
        ["two"],
    )
    run.notes = None
    assert lake().run(run.id).notes is None
    with pytest.raises(TypeError, match="name must be a str"):
        run.name = 3  # type: ignore[assignment]


def test_an_id_that_exists_continues_that_run(store: Path, lake: Open) -> None:
    with runlake.init("p", id="one", name="first", config={"lr": 0.1, "seed": 0}, tags=["a"], notes="n") as run:
        run.log({"x": 0.0})
        run.log({"x": 1.0})
        run.summary["best"] = 1
    with runlake.init("p", id="one", config={"lr": 0.2}) as run:
        assert (run.name, run.notes, run.tags) == ("first", "n", ("a",))
        assert run.config.as_dict() == {"lr": 0.2, "seed": 0}
        assert run.summary["best"] == 1
        run.tags += ("b",)
        run.log({"x": 2.0})
    assert len(lake().runs()) == 1
    assert lake().sql("select step, value from points order by step").fetchall() == [(0, 0.0), (1, 1.0), (2, 2.0)]
    known = lake().run("one")
    assert (known.tags, known.config, known.state) == (["a", "b"], {"lr": 0.2, "seed": 0}, "finished")


def test_a_run_goes_back_to_a_step(store: Path, lake: Open) -> None:
    with runlake.init(project="p", id="r") as run:
        for step in range(10):
            run.log({"loss": 1.0, "accuracy": 0.5}, step=step)
    with runlake.init(project="p", id="r", resume_from=4) as run:
        run.log({"loss": 2.0})
        run.log({"loss": 3.0})
    rows = lake().sql("select metric, count(*), max(step) from points group by 1 order by 1").fetchall()
    assert rows == [("accuracy", 5, 4), ("loss", 7, 6)]
    assert lake().sql("select count(*) from points_all").fetchall() == [(22,)]
    with pytest.raises(runlake.InvalidArgument, match="resume_from"):
        runlake.init(project="p", resume_from=4)


def test_the_end_is_told_once_with_numbers(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = runlake.init("p", name="calm")
    for step in range(1000):
        run.log({"loss": 1 / (step + 1), "flat": 1.0, "bad": math.nan})
    capsys.readouterr()
    run.finish()
    run.finish()
    runlake.finish()
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert all(line.startswith("runlake: ") for line in lines)
    assert f"run calm ({run.id}) finished" in lines[0]
    assert "1,000 rows, 3,000 points kept, 0 rows dropped" in lines[0]
    [loss] = [line for line in lines if "  loss " in line]
    assert "█" in loss
    assert "▁" in loss
    assert "0.001" in loss
    assert sum("logging took" in line and "1,000 calls" in line for line in lines) == 1
    assert sum(str(store) in line for line in lines) == 1
    assert "runlake show" in lines[-1]


def test_many_metrics_are_told_in_a_few_lines(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = runlake.init("p")
    run.log({f"m{n}": float(n) for n in range(500)})
    run.finish()
    err = capsys.readouterr().err
    assert "and 490 more metrics" in err
    assert len(err.splitlines()) < 20


def test_rows_after_the_end_are_still_kept(store: Path, lake: Open) -> None:
    run = runlake.init("p")
    run.finish()
    run.log({"x": 1.0})
    assert lake().sql("select value from points").fetchall() == [(1.0,)]


def test_a_new_run_ends_the_one_before(store: Path, lake: Open, capsys: pytest.CaptureFixture[str]) -> None:
    first = runlake.init("p", id="first")
    second = runlake.init("p", id="second")
    assert runlake.run is second
    assert "a new run starts, so run" in capsys.readouterr().err
    assert lake().run("first").state == "finished"
    assert lake().run("second").state == "running"
    first.log({"x": 1.0})
    assert lake().sql("select run_id from points").fetchall() == [("first",)]


def test_the_module_speaks_for_the_live_run(store: Path, lake: Open) -> None:
    assert runlake.run is None
    with pytest.raises(runlake.NoRun, match=r"call runlake\.init\(\) first"):
        runlake.log({"x": 1.0})
    with pytest.raises(runlake.NoRun, match=r"call runlake\.init\(\) first"):
        _ = runlake.config
    runlake.finish()
    run = runlake.init("p", id="live")
    assert runlake.run is run
    runlake.log({"x": 1.0}, step=3)
    runlake.config["lr"] = 0.1
    runlake.summary["best"] = 2.0
    runlake.finish(exit_code=3)
    assert runlake.run is None
    known = lake().run("live")
    assert (known.config, known.summary, known.state, known.exit_code) == (
        {"lr": 0.1},
        {"best": 2.0, "x": 1.0},
        "failed",
        3,
    )


def test_sync_makes_rows_durable_and_leaves_the_run_alone(store: Path, lake: Open) -> None:
    run = runlake.init("p")
    run.log({"x": 1.0})
    run.sync()
    assert lake().run(run.id).state == "running"


def test_a_relative_store_is_found_from_where_the_process_started(store: Path, tmp_path: Path, program: Any) -> None:
    done = program(
        "import os, sys, runlake\n"
        "home = os.getcwd()\n"
        "os.chdir('/')\n"
        "run = runlake.init('p', store='relative.lake')\n"
        "assert run.store == os.path.join(home, 'relative.lake'), run.store\n"
        "run.finish()\n"
        "import shutil; shutil.rmtree(run.store)\n"
    )
    assert done.returncode == 0, done.stderr


def test_run_has_a_repr(store: Path) -> None:
    run = runlake.init("p", name="n", id="i")
    assert repr(run) == f"<runlake.Run 'n' id='i' project='p' store={str(store)!r}>"


def test_runs_of_one_lake_share_a_writer_and_keep_to_themselves(store: Path, lake: Open) -> None:
    first = runlake.init("p", id="first")
    first.log({"x": 1.0})
    first.finish()
    second = runlake.init("p", id="second")
    second.log({"x": 2.0})
    first.log({"x": 3.0}, step=7)
    second.log({"x": 4.0})
    assert len(list((store / "log").iterdir())) == 1
    assert (lake().run("first").state, lake().run("second").state) == ("finished", "running")
    rows = "select run_id, step, value from points order by run_id, step"
    assert lake().sql(rows).fetchall() == [("first", 0, 1.0), ("first", 7, 3.0), ("second", 0, 2.0), ("second", 1, 4.0)]
    # A strict run hears of what the writer cannot keep, so it has one of its own.
    second.finish()
    strict = runlake.init("p", id="third", strict=True)
    assert len(list((store / "log").iterdir())) == 2
    strict.finish()


def test_a_lake_that_took_the_place_of_another_is_not_taken_for_it(store: Path, lake: Open) -> None:
    first = runlake.init("p", id="first")
    first.finish()
    shutil.rmtree(store)
    second = runlake.init("p", id="second")
    second.log({"x": 1.0})
    assert [row["run_id"] for row in lake().runs().to_dicts()] == ["second"]
    assert lake().sql("select value from points").fetchall() == [(1.0,)]
    del first


def test_rows_that_the_disk_does_not_take_are_said_at_once_and_counted_at_the_end(store: Path, program: Any) -> None:
    done = program(
        "import resource, sys, time, warnings\n"
        "import runlake\n"
        "run = runlake.init('p', id='r')\n"
        "run.log({'x': 0.0})\n"
        # No file may grow, as on a full disk; rows wait in memory until that is full too.
        "no_limit = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, no_limit[1]))\n"
        "many = [1.0] * 1_000_000\n"
        "with warnings.catch_warnings(record=True) as said:\n"
        "    warnings.simplefilter('always')\n"
        "    for turn in range(12): run.log_many('many', many)\n"
        "    assert run.stats()['dropped_rows'] > 0\n"
        "    for step in range(200): run.log({'x': 1.0})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, no_limit)\n"
        "for warning in said: print(warning.category.__name__, warning.message)\n"
        "deadline = time.monotonic() + 60\n"
        "while True:\n"
        "    before = run.stats()['dropped_rows']\n"
        "    run.log({'after': 1.0})\n"
        "    if run.stats()['dropped_rows'] == before: break\n"
        "    assert time.monotonic() < deadline\n"
        "    time.sleep(0.05)\n"
        "print('dropped', run.stats()['dropped_rows'])\n"
    )
    assert done.returncode == 0, done.stderr
    [said, last] = done.stdout.strip().split("\n")
    assert said.startswith("DataWarning rows are dropped, ")
    assert str(store) in said
    dropped = int(last.removeprefix("dropped "))
    assert f"{dropped:,} rows dropped" in done.stderr
    lake = runlake.open(store)
    assert lake.run("r").dropped_rows == dropped
    found = lake.sql("select count(*) from points where metric <> 'after'").fetchall()
    assert 1_000_000 < found[0][0] < 12_000_201
    assert len(lake.sql("select * from points where metric = 'after'")) == 1
