"""Names of wandb that a later version will do something for: they stand, and say once what they do not."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runlake
from conftest import Program
from runlake import _errors

Open = Callable[[], runlake.Lake]


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_errors, "_said", set())


@pytest.mark.parametrize(
    ("name", "arguments", "returns", "says"),
    [
        ("save", ("*.py",), [], r"save\(\): files are not kept yet"),
        ("watch", (object(),), None, r"watch\(\): gradients and parameters are not logged by themselves yet"),
        ("alert", ("title", "text"), None, r"alert\(\): alerts are printed only"),
        ("login", ("key",), True, r"login\(\): a lake is a directory and needs no account"),
    ],
)
def test_what_is_not_done_yet_is_said_once(
    store: Path, name: str, arguments: tuple[Any, ...], returns: object, says: str
) -> None:
    runlake.init("p")
    with pytest.warns(runlake.NotYetWarning, match=says) as caught:
        assert getattr(runlake, name)(*arguments) == returns
    assert caught[0].filename == __file__, "it is said of the line that asked"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert getattr(runlake, name)(*arguments) == returns


def test_an_alert_is_printed_and_waits(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = runlake.init("p")
    capsys.readouterr()
    with pytest.warns(runlake.NotYetWarning):
        run.alert("loss is high", "it is 3.0", level="WARN", wait_duration=datetime.timedelta(minutes=1))
    run.alert("loss is high", "it is 4.0")
    run.alert("another")
    assert capsys.readouterr().err == "runlake: alert WARN: loss is high: it is 3.0\nrunlake: alert INFO: another\n"


def test_the_rest_does_what_it_can(store: Path, lake: Open) -> None:
    run = runlake.init("p")
    run.log({"a": 1.0}, commit=False)
    runlake.mark_preempting()
    runlake.unwatch()
    assert lake().sql("select value from points").fetchall() == [(1.0,)]


def test_without_a_live_run_they_say_so() -> None:
    for name, arguments in (
        ("save", ("x",)),
        ("watch", (1,)),
        ("unwatch", ()),
        ("alert", ("x",)),
        ("mark_preempting", ()),
    ):
        with pytest.raises(runlake.NoRun, match=rf"runlake\.{name}: no run is live"):
            getattr(runlake, name)(*arguments)


def test_finish_takes_an_exit_code(program: Program, lake: Open) -> None:
    program("import runlake\nrunlake.init('p', id='a')\nrunlake.finish(3)")
    program("import runlake\nrunlake.init('p', id='b')\nrunlake.finish(exit_code=None)")
    assert lake().sql("select state, exit_code from runs order by run_id").fetchall() == [
        ("failed", 3),
        ("finished", 0),
    ]
