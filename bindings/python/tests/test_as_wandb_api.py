"""Programs that read runs with `wandb.Api` read the lake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runlake.as_wandb import session
from runlake.as_wandb.api import Api
from runlake.as_wandb.errors import CommError


@pytest.fixture
def runs(store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Three runs with a metric each, and their ids."""
    for variable in ("WANDB_ENTITY", "WANDB_PROJECT"):
        monkeypatch.delenv(variable, raising=False)
    ids = []
    for number, lr in enumerate((0.1, 0.01, 0.001)):
        run = session.init(project="digits", id=f"run{number}", config={"lr": lr}, tags=[f"tag{number}"])
        for step in range(4):
            run.log({"loss": lr * (step + 1), "nested": {"a": step}})
        run.finish(exit_code=1 if number == 2 else 0)
        ids.append(run.id)
    yield ids
    session.finish()


def test_runs_are_found_by_filters_and_sorted(runs: list[str]) -> None:
    api = Api()
    found = api.runs("team/digits", filters={"config.lr": {"$lt": 0.05}}, order="-summary_metrics.loss")
    assert [run.id for run in found] == ["run1", "run2"]
    assert [run.id for run in api.runs("digits", {"state": "failed"})] == ["run2"]
    assert [run.id for run in api.runs("digits", {"$or": [{"tags": "tag0"}, {"display_name": "none"}]})] == ["run0"]
    assert len(api.runs("digits")) == 3


@pytest.mark.parametrize("path", ["team/digits/run1", "digits/run1", "run1"])
def test_a_run_is_found_by_its_path(runs: list[str], path: str) -> None:
    run = Api().run(path)
    assert (run.id, run.config["lr"], run.summary["loss"], run.state) == ("run1", 0.01, 0.04, "finished")
    assert run.lastHistoryStep == 3


def test_history_has_the_columns_of_wandb(runs: list[str]) -> None:
    run = Api().run("digits/run0")
    rows = list(run.scan_history())
    assert [(row["_step"], row["nested.a"]) for row in rows] == [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert {"_timestamp", "_runtime"} <= rows[0].keys()
    assert [row["loss"] for row in run.scan_history(keys=["loss"], min_step=1, max_step=3)] == [0.2, 0.1 * 3]
    assert list(run.history(samples=2)["_step"]) == [0, 3]
    assert len(run.history(pandas=False)) == 4


def test_what_is_not_there_raises_what_wandb_raises(runs: list[str]) -> None:
    with pytest.raises(CommError, match="none"):
        Api().run("digits/none")
    with pytest.raises(ValueError, match="none"):
        Api().run("digits/none")
    with pytest.raises(CommError, match="artifacts are not stored yet"):
        Api().artifact("team/digits/model:latest")
    with pytest.raises(AttributeError, match="wandb-differences"):
        Api().create_team  # noqa: B018


def test_without_a_lake_there_is_a_communication_error(store: Path) -> None:
    with pytest.raises(CommError, match="lake"):
        Api()


def test_projects_have_names(runs: list[str]) -> None:
    api = Api()
    assert [project.name for project in api.projects("team")] == ["digits"]
    assert api.project("digits", entity="team").path == ["team", "digits"]
    assert api.from_path("team/digits").name == "digits"
    assert api.from_path("team/digits/run0").id == "run0"


def test_variables_of_wandb_name_the_project(runs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "digits")
    monkeypatch.setenv("WANDB_ENTITY", "team")
    assert Api().run("run0").entity == "team"
    assert len(Api().runs()) == 3
    assert Api({"project": "other"}).settings["project"] == "other"


def test_a_run_is_changed_after_its_end(runs: list[str]) -> None:
    run = Api().run("digits/run0")
    run.config["lr"] = 1.0
    run.tags.append("good")
    run.update()
    run.summary.update({"best": 7})
    again = Api().run("digits/run0")
    assert (again.config["lr"], again.tags, again.summary["best"]) == (1.0, ["good", "tag0"], 7)


def test_the_live_run_can_be_read(store: Path) -> None:
    with session.init(project="digits", id="live") as run:
        run.log({"loss": 0.5})
        assert Api().run(run.path).state == "running"
        assert Api().run(run.path).summary["loss"] == 0.5
