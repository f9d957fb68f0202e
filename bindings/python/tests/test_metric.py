"""`define_metric`: what the summary holds, x axes, the table `metrics`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runlake

Open = Callable[[], runlake.Lake]


def summary(lake: runlake.Lake, run: str) -> dict[str, Any]:
    (text,) = lake.sql(f"select summary from runs where run_id = '{run}'").fetchone() or ("{}",)
    return dict(json.loads(text))


@pytest.mark.parametrize(
    ("said", "goal", "expected"),
    [
        (None, None, 2.0),
        ("copy", None, 2.0),
        ("min", None, {"min": 1.0}),
        ("max", None, {"max": 3.0}),
        ("mean", None, {"mean": 2.0}),
        ("first", None, {"first": 1.0}),
        ("last", None, {"last": 2.0}),
        ("best", None, {"best": 1.0}),
        ("best", "minimize", {"best": 1.0}),
        ("best", "maximize", {"best": 3.0}),
        ("min, max", None, {"min": 1.0, "max": 3.0}),
        (["min", "last"], None, {"min": 1.0, "last": 2.0}),
    ],
)
def test_the_summary_holds_what_was_defined(
    store: Path, lake: Open, said: str | None, goal: str | None, expected: Any
) -> None:
    with runlake.init("p", id="i") as run:
        run.define_metric("acc", summary=said, goal=goal)
        for value in (1.0, 3.0, 2.0):
            run.log({"acc": value, "loss": value})
        assert run.summary["acc"] == expected
        assert run.summary["loss"] == 2.0
        assert dict(run.summary) == run.summary.as_dict() == {"acc": expected, "loss": 2.0}
    assert summary(lake(), "i") == {"acc": expected, "loss": 2.0}
    assert lake().run("i").summary == {"acc": expected, "loss": 2.0}


def test_none_leaves_a_metric_out(store: Path, lake: Open) -> None:
    with runlake.init("p", id="i") as run:
        run.define_metric("acc", summary="none")
        run.log({"acc": 1.0, "loss": 2.0})
        assert dict(run.summary) == {"loss": 2.0}
    assert summary(lake(), "i") == {"loss": 2.0}


def test_what_the_user_set_takes_the_place_of_all(store: Path, lake: Open) -> None:
    with runlake.init("p", id="i") as run:
        run.define_metric("acc", summary="max")
        run.log({"acc": 1.0})
        run.summary["acc"] = 7
        assert run.summary["acc"] == 7
    assert summary(lake(), "i") == {"acc": 7}


def test_it_holds_for_what_was_logged_before_and_for_every_launch(store: Path, lake: Open) -> None:
    with runlake.init("p", id="i") as run:
        run.log({"acc": 9.0})
    with runlake.init("p", id="i") as run:
        run.define_metric("acc", summary="max")
        run.log({"acc": 1.0})
        assert run.summary["acc"] == {"max": 9.0}
    with runlake.init("p", id="i") as run:
        run.log({"acc": 2.0})
        assert run.summary["acc"] == {"max": 9.0}, "it was defined by an earlier launch"
    assert summary(lake(), "i") == {"acc": {"max": 9.0}}


def test_only_finite_values_are_summed_up(store: Path, lake: Open) -> None:
    with runlake.init("p", id="i") as run:
        run.define_metric("*", summary="min,max,mean,last")
        for value in (1.0, math.nan, math.inf, 3.0, math.nan):
            run.log({"acc": value})
        run.log({"only": math.nan})
    assert summary(lake(), "i") == {
        "acc": {"min": 1.0, "max": 3.0, "mean": 2.0, "last": "NaN"},
        "only": {"min": None, "max": None, "mean": None, "last": "NaN"},
    }


def test_a_metric_has_its_own_definition_or_that_of_the_longest_pattern(store: Path, lake: Open) -> None:
    with runlake.init("p", id="i") as run:
        run.define_metric("*", summary="last")
        run.define_metric("val/*", summary="max")
        run.define_metric("val/loss", summary="min")
        for value in (1.0, 3.0, 2.0):
            run.log({"val/loss": value, "val/acc": value, "lr": value})
    expected = {"val/loss": {"min": 1.0}, "val/acc": {"max": 3.0}, "lr": {"last": 2.0}}
    assert summary(lake(), "i") == expected


def test_the_table_says_what_was_defined(store: Path, lake: Open) -> None:
    with runlake.init("p", id="i") as run:
        metric = run.define_metric("val/*", step_metric="epoch", summary="max,best", goal="maximize", hidden=True)
        run.define_metric("lr", summary="none")
        run.define_metric(runlake.Metric("loss").name, step_metric=run.define_metric("epoch"))
    assert repr(metric).startswith("Metric('val/*', step_metric='epoch'")
    rows = lake().sql("select * from metrics order by metric").to_dicts()
    assert [tuple(row.values())[2:] for row in rows] == [
        ("epoch", None, None, None, False),
        ("loss", "epoch", None, None, False),
        ("lr", None, [], None, False),
        ("val/*", "epoch", ["max", "best"], "maximize", True),
    ]
    assert {(row["project"], row["run_id"]) for row in rows} == {("p", "i")}


def test_what_is_not_said_again_stays_unless_overwritten(store: Path, lake: Open) -> None:
    def known() -> list[tuple[Any, ...]]:
        return lake().sql("select step_metric, summary, goal from metrics").fetchall()

    with runlake.init("p", id="i") as run:
        run.define_metric("acc", step_metric="epoch", summary="max")
        run.define_metric("acc", goal="maximize")
        assert known() == [("epoch", ["max"], "maximize")]
    with runlake.init("p", id="i") as run:
        run.define_metric("acc", summary="best")
        assert known() == [("epoch", ["best"], "maximize")]
        run.define_metric("acc", summary="min", overwrite=True)
        assert known() == [(None, ["min"], None)]


def test_rows_get_the_last_value_of_their_step_metric(store: Path, lake: Open) -> None:
    with runlake.init("p", id="i") as run:
        run.log({"val/before": 0.0})
        run.define_metric("val/*", step_metric="epoch")
        run.define_metric("test/*", step_metric="epoch", step_sync=False)
        run.log({"val/acc": 0.1})  # there is no epoch yet
        run.log({"epoch": 3})
        run.log({"val/acc": 0.2, "val/loss": 0.3})
        run.log({"val/acc": 0.4, "epoch": 4}, step=10)
        run.log({"val/acc": 0.5}, step=10, labels={"rank": 1})
        run.log({"val/acc": 0.6}, commit=False)
        run.log({"train": 1.0}, step=20)
        run.log({"test/acc": 0.7, "train": 2.0})
        run.log({"train": 3.0})
    epochs = (
        lake().sql("select step, labels, value from points where metric = 'epoch' order by step, labels").fetchall()
    )
    assert sorted(epochs, key=repr) == [
        (10, '{"rank":1}', 4.0),
        (10, None, 4.0),
        (2, None, 3.0),
        (20, None, 4.0),
        (3, None, 3.0),
    ]


def test_a_wrong_word_says_what_there_is(store: Path) -> None:
    run = runlake.init("p")
    with pytest.raises(runlake.InvalidArgument, match=r"summary: 'avg' is none of min, max, mean, first, last, best"):
        run.define_metric("acc", summary="avg")
    with pytest.raises(runlake.InvalidArgument, match=r"goal: 'up' is none of minimize, maximize"):
        run.define_metric("acc", goal="up")
    for name in ("", 3, None):
        with pytest.raises(runlake.InvalidArgument, match="name must be a str that is not empty"):
            run.define_metric(name)  # type: ignore[arg-type]
    with pytest.raises(runlake.InvalidArgument, match="step_metric must be a str"):
        run.define_metric("acc", step_metric=3)  # type: ignore[arg-type]
    run.finish()
    with pytest.raises(runlake.NoRun, match=r"define_metric: no run is live"):
        runlake.define_metric("acc")


def test_definitions_survive_compaction_and_are_in_the_folded_tables(store: Path, lake: Open) -> None:
    import duckdb

    from conftest import compact

    with runlake.init("p", id="i") as run:
        run.define_metric("acc", summary="max", goal="maximize")
        for value in (1.0, 3.0, 2.0):
            run.log({"acc": value})
        # So many that the end of the run flushes them.
        run.log_many("filling", range(70_000))
    compact(store)
    assert lake().sql("select summary, goal from metrics").fetchall() == [(["max"], "maximize")]
    assert summary(lake(), "i")["acc"] == {"max": 3.0}
    files = f"{store}/tables/runs/**/*.parquet"
    ((folded,),) = duckdb.sql(f"select summary from read_parquet('{files}')").fetchall()
    assert json.loads(folded)["acc"] == {"max": 3.0}
