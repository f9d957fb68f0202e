"""`Api`: a lake in the words of wandb's public API."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import runlake
from runlake import _errors, _filters

Open = Callable[[], runlake.Lake]


@pytest.fixture
def api(store: Path) -> runlake.Api:
    """Six runs of a project, and one of another."""
    for number in range(6):
        with runlake.init(
            "digits",
            id=f"r{number}",
            name=f"run {number}",
            config={"lr": 10.0**-number, "model": {"depth": number}},
            group="even" if number % 2 == 0 else "odd",
            tags=["baseline"] if number < 2 else None,
        ) as run:
            for step in range(10):
                run.log({"loss": number / (step + 1), "acc": step / 10})
            if number == 3:
                run.log({"extra": math.nan}, step=20)
            if number == 5:
                run.finish(exit_code=1)
    runlake.init("other", id="r0", name="elsewhere").finish()
    return runlake.Api()


def ids(runs: runlake.Runs) -> list[str]:
    return [run.id for run in runs]


def test_runs_of_a_project_come_in_order(api: runlake.Api) -> None:
    assert ids(api.runs("digits")) == ["r0", "r1", "r2", "r3", "r4", "r5"]
    assert ids(api.runs("team/digits", order="-created_at")) == ["r5", "r4", "r3", "r2", "r1", "r0"]
    assert ids(api.runs("digits", order="-summary_metrics.loss"))[:2] == ["r5", "r4"]
    assert ids(api.runs("digits", order="config.lr"))[0] == "r5"
    assert ids(api.runs("digits", order="-group,+config.lr")) == ["r5", "r3", "r1", "r4", "r2", "r0"]
    assert ids(api.runs("digits", order="-summary_metrics.extra"))[1:] == ["r0", "r1", "r2", "r4", "r5"]
    assert ids(api.runs("nowhere")) == []
    assert len(api.runs()) == 7
    assert ids(runlake.Api({"project": "other"}).runs()) == ["r0"]
    assert api.projects() == ["digits", "other"]


def test_runs_are_filtered(api: runlake.Api) -> None:
    def found(**filters: object) -> list[str]:
        return ids(api.runs("digits", filters))

    assert found(state="failed") == ["r5"]
    assert ids(api.runs("digits", {"config.lr": {"$gte": 0.01}})) == ["r0", "r1", "r2"]
    assert ids(api.runs("digits", {"$or": [{"tags": "baseline"}, {"config.model.depth": 4}]})) == ["r0", "r1", "r4"]
    assert ids(api.runs("digits", {"summary_metrics.loss": {"$gt": 0.25}, "group": "odd"})) == ["r3", "r5"]
    assert ids(api.runs("digits", {"display_name": {"$regex": "[01]$"}})) == ["r0", "r1"]
    assert ids(api.runs("digits", {"created_at": {"$lt": "2000-01-01"}})) == []
    assert ids(api.runs("digits", {"last_step": {"$gt": 9}})) == ["r3"]
    with pytest.raises(runlake.InvalidArgument, match="did you mean config"):
        api.runs("digits", {"confg.lr": 1})


def test_every_word_of_the_filters_reads_something_of_a_run(api: runlake.Api) -> None:
    with runlake.init("digits", id="full", group="g", job_type="t", notes="n", tags=["x"], config={"a": 1}) as run:
        run.log({"loss": 1.0})
    for word in set(_filters.NAMES.values()) - {"commit", "sweep", "program"}:
        assert "full" in ids(api.runs("digits", {word: {"$exists": True}, "summary_metrics.loss": 1.0})), word


def test_runs_are_a_sequence(api: runlake.Api) -> None:
    runs = api.runs("digits", per_page=2)
    assert len(runs) == 6
    assert (runs[0].id, runs[-1].id) == ("r0", "r5")
    assert [run.id for run in runs[1:3]] == ["r1", "r2"]
    assert "digits" in repr(runs)


def test_a_run_is_found_by_its_path(api: runlake.Api) -> None:
    for path in ("team/digits/r3", "digits/r3", "digits/run 3", "r3", "/team/digits/r3"):
        assert api.run(path).id == "r3"
    assert api.run("digits/r0").project == "digits"
    assert api.run("other/r0").name == "elsewhere"
    assert runlake.Api({"project": "other"}).run("r0").name == "elsewhere"
    assert api.run().name == "elsewhere"
    assert api.run("@last-1").id == "r5"
    with pytest.raises(runlake.NotFound):
        api.run("digits/r99")
    with pytest.raises(runlake.NotFound):
        api.run("team/digits/r99")


def test_a_run_tells_what_is_known_of_it(api: runlake.Api) -> None:
    run = api.run("digits/r1")
    assert (run.name, run.state, run.group, run.tags) == ("run 1", "finished", "odd", ["baseline"])
    assert run.config == {"lr": 0.1, "model": {"depth": 1}}
    assert run.summary["loss"] == 0.1
    assert dict(run.summary) == {"loss": 0.1, "acc": 0.9}
    assert run.lastHistoryStep == 9
    assert run.path == ["", "digits", "r1"]
    assert run.created_at is not None
    assert run.created_at.endswith("Z")
    assert run.metadata["host"]
    run.wait_until_finished()


def test_that_no_files_are_kept_is_said_once(api: runlake.Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_errors, "_said", set())
    run = api.run("digits/r1")
    for name in ("files", "logged_artifacts", "used_artifacts"):
        with pytest.warns(runlake.NotYetWarning, match=rf"{name}\(\): .* are not kept yet"):
            assert list(getattr(run, name)()) == []
        assert list(getattr(run, name)()) == [], "a second warning would be an error"


def test_history_is_a_frame_or_dicts(api: runlake.Api) -> None:
    run = api.run("digits/r3")
    frame = run.history()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns[:3]) == ["_step", "_timestamp", "_runtime"]
    assert set(frame.columns[3:]) == {"loss", "acc", "extra"}
    assert list(frame["_step"]) == [*range(10), 20]
    assert frame["_runtime"].is_monotonic_increasing
    rows = run.history(keys=["loss"], pandas=False)
    assert rows[0] == {"loss": 3.0}
    assert len(rows) == 10
    assert len(run.history(keys=["loss", "extra"])) == 0, "no row has both"
    assert list(run.history(x_axis="extra")["_step"]) == [20]
    sampled = [row["_step"] for row in run.history(samples=3, pandas=False)]
    assert sampled == [0, 5, 20]
    assert [row["_step"] for row in run.history(samples=1, pandas=False)] == [0]
    with pytest.raises(runlake.InvalidArgument, match="samples: 0"):
        run.history(samples=0)
    assert len(run.history(stream="system")) == 0
    assert len(run.history(keys=["nothing"])) == 0


def test_history_knows_labels_and_metrics_of_the_machine(store: Path) -> None:
    with runlake.init("p", id="i") as run:
        run.log({"loss": 1.0}, step=0, labels={"rank": 0})
        run.log({"loss": 2.0, "system/cpu": 50.0}, step=0)
    stored = runlake.Api().run("p/i")
    assert stored.history(pandas=False, keys=["loss{rank=0}", "loss"]) == [{"loss{rank=0}": 1.0, "loss": 2.0}]
    (row,) = stored.history(pandas=False, stream="system")
    assert row["system/cpu"] == 50.0
    assert "loss" not in row
    assert list(runlake.Api().run("p/i").scan_history(keys=["system/cpu"])) == [{"system/cpu": 50.0}]


def test_scan_history_gives_every_row(api: runlake.Api) -> None:
    run = api.run("digits/r3")
    rows = list(run.scan_history())
    assert [row["_step"] for row in rows] == [*range(10), 20]
    assert set(rows[0]) == {"loss", "acc", "_step", "_timestamp", "_runtime"}
    assert math.isnan(rows[-1]["extra"])
    assert list(run.scan_history(keys=["_step", "loss"], min_step=2, max_step=4)) == [
        {"_step": 2, "loss": 1.0},
        {"_step": 3, "loss": 0.75},
    ]


def test_what_is_changed_is_kept_by_update(api: runlake.Api, lake: Open) -> None:
    run = api.run("digits/r1")
    run.config["seed"] = 7
    run.config["model"]["depth"] = 9
    del run.config["lr"]
    run.tags.append("best")
    run.tags.remove("baseline")
    run.notes = "some words"
    run.name = "renamed"
    run.group = None
    assert lake().run("digits/r1").config["lr"] == 0.1, "nothing is kept before"
    run.update()
    known = lake().run("digits/r1")
    assert known.config == {"model": {"depth": 9}, "seed": 7}
    assert (known.tags, known.notes, known.name, known.group) == (["best"], "some words", "renamed", None)
    assert known.state == "finished"
    run.summary["best"] = 1
    run.summary.update({"loss": 0.01})
    assert lake().run("digits/r1").summary == {"acc": 0.9, "best": 1, "loss": 0.01}
    del run.summary["loss"]
    run.summary.update()
    assert lake().run("digits/r1").summary["loss"] == 0.1, "the last value shows again"
    again = api.run("digits/r1")
    again.tags.append("x")
    again.load(force=True)
    assert again.tags == ["best"]


def test_a_deleted_run_is_gone(api: runlake.Api) -> None:
    api.run("digits/r1").delete()
    assert "r1" not in ids(api.runs("digits"))
    with pytest.raises(runlake.NotFound):
        api.run("digits/r1")


def test_reading_needs_a_lake(store: Path) -> None:
    with pytest.raises(runlake.NoLake):
        runlake.Api()
