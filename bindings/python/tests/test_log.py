"""What `log` keeps, what it says about the rest, and that it never stops a training."""

from __future__ import annotations

import collections
import decimal
import fractions
import math
import struct
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import runlake


def points(store: Path, run: runlake.Run) -> list[tuple[Any, ...]]:
    return (
        runlake.open(store)
        .sql(f"select metric, step, value from points where run_id = '{run.id}' order by step, metric, value")
        .fetchall()
    )


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def test_a_row_is_read_back_as_it_was_logged(store: Path) -> None:
    run = runlake.init("p")
    run.log({"loss": 0.5, "accuracy": 1})
    assert points(store, run) == [("accuracy", 0, 1.0), ("loss", 0, 0.5)]


def test_steps_count_up_from_zero_and_follow_explicit_steps(store: Path) -> None:
    run = runlake.init("p")
    run.log({"x": 0.0})
    run.log({"x": 1.0})
    run.log({"x": 2.0}, step=10)
    run.log({"x": 3.0})
    run.log({"x": 4.0}, step=3)
    run.log({"x": 5.0})
    assert [(step, value) for _, step, value in points(store, run)] == [
        (0, 0.0),
        (1, 1.0),
        (3, 4.0),
        (10, 2.0),
        (11, 3.0),
        (12, 5.0),
    ]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (True, 1.0),
        (False, 0.0),
        (7, 7.0),
        (-(2**53), -float(2**53)),
        (2**53, float(2**53)),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.float64(0.1), 0.1),
        (np.float16(0.5), 0.5),
        (np.int8(-3), -3.0),
        (np.uint64(2**40), float(2**40)),
        (np.bool_(True), 1.0),
        (np.array(2.5), 2.5),
        (np.array([2.5]), 2.5),
        (decimal.Decimal("0.25"), 0.25),
        (fractions.Fraction(1, 4), 0.25),
        (math.inf, math.inf),
        (-math.inf, -math.inf),
        (5e-324, 5e-324),
    ],
)
def test_every_kind_of_number_is_kept(store: Path, value: object, kept: float) -> None:
    run = runlake.init("p")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.log({"x": value})
    assert points(store, run) == [("x", 0, kept)]


def test_nan_and_minus_zero_keep_their_bits(store: Path) -> None:
    run = runlake.init("p")
    odd = struct.unpack("<d", bytes.fromhex("010000000000f87f"))[0]
    run.log({"nan": odd, "zero": -0.0})
    kept = {metric: value for metric, _, value in points(store, run)}
    assert bits(kept["nan"]) == bits(odd)
    assert bits(kept["zero"]) == bits(-0.0)


def test_the_item_of_a_tensor_is_logged(store: Path) -> None:
    class Tensor:
        def item(self) -> float:
            return 0.75

    run = runlake.init("p")
    run.log({"x": Tensor()})
    assert points(store, run) == [("x", 0, 0.75)]


def test_nested_mappings_flatten_with_dots(store: Path) -> None:
    run = runlake.init("p")
    run.log(
        {
            "train": {"loss": 1.0, "by": {0: 2.0, "layer": types.MappingProxyType({"deep": 3.0})}},
            "eval": collections.OrderedDict(loss=4.0),
        }
    )
    assert points(store, run) == [
        ("eval.loss", 0, 4.0),
        ("train.by.0", 0, 2.0),
        ("train.by.layer.deep", 0, 3.0),
        ("train.loss", 0, 1.0),
    ]


def test_none_is_skipped_without_a_word(store: Path) -> None:
    run = runlake.init("p")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.log({"x": None, "y": {"z": None}, "kept": 1.0})
        run.log({"x": None})
    assert points(store, run) == [("kept", 0, 1.0)]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("x", "a text", r"'x': text is not kept yet"),
        ("x", b"bytes", r"'x': text is not kept yet"),
        ("x", [1.0, 2.0], r"'x': a value of type list is left out.*log_many"),
        ("x", object(), r"'x': a value of type object is left out"),
        ("x", np.array([1.0, 2.0]), r"'x': a value of type numpy.ndarray is left out"),
        ("x", 10**400, r"'x': a value of type int is left out: it is larger than any double"),
        ("x", 1j, r"'x': a value of type complex is left out"),
        ((1, 2), 1.0, r"key '\(1, 2\)' of type tuple is left out: a key must be a str"),
        ("\ud800", 1.0, r"is no valid UTF-8"),
        ("", 1.0, r"metric '' is left out"),
        ("n" * 513, 1.0, r"metric 'n+…' is left out"),
    ],
)
def test_a_bad_value_is_said_once_and_the_rest_of_the_row_is_kept(
    store: Path, key: Any, value: object, said: str
) -> None:
    run = runlake.init("p")
    with pytest.warns(runlake.DataWarning, match=said) as caught:
        for _ in range(3):
            run.log({"before": 1.0, key: value, "after": 2.0})
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert points(store, run) == [(name, step, n) for step in range(3) for name, n in (("after", 2.0), ("before", 1.0))]


def test_an_integer_above_2_to_the_53_is_rounded_and_said_once(store: Path) -> None:
    run = runlake.init("p")
    with pytest.warns(runlake.DataWarning, match="nearest double") as caught:
        run.log({"x": 2**53 + 1})
        run.log({"x": 2**70})
        run.log({"x": -(2**63)})
    assert len(caught) == 1
    assert [value for _, _, value in points(store, run)] == [2.0**53, 2.0**70, -(2.0**63)]


def test_code_of_a_value_that_fails_is_said_and_not_raised(store: Path) -> None:
    class Failing:
        def item(self) -> float:
            raise RuntimeError("the device is gone")

    run = runlake.init("p")
    with pytest.warns(runlake.DataWarning, match="RuntimeError: the device is gone"):
        run.log({"x": Failing(), "y": 1.0})
    assert points(store, run) == [("y", 0, 1.0)]


def test_a_value_may_log_while_it_is_read(store: Path) -> None:
    run = runlake.init("p")

    class Logging:
        def item(self) -> float:
            run.log({"inner": 1.0}, step=7)
            return 2.0

    data: dict[str, object] = {"outer": Logging(), "plain": 3.0}
    run.log(data, step=7)
    assert points(store, run) == [("inner", 7, 1.0), ("outer", 7, 2.0), ("plain", 7, 3.0)]


def test_a_value_may_change_the_dict_while_it_is_read(store: Path) -> None:
    run = runlake.init("p")
    data: dict[str, object] = {}

    class Changing:
        def item(self) -> float:
            data.clear()
            data.update({str(n): 0.0 for n in range(100)})
            return 1.0

    data.update(a=Changing(), b=Changing())
    run.log(data)
    assert points(store, run) == [("a", 0, 1.0), ("b", 0, 1.0)]


def test_a_dict_that_contains_itself_is_left_out(store: Path) -> None:
    run = runlake.init("p")
    loop: dict[str, object] = {"x": 1.0}
    loop["loop"] = loop
    with pytest.warns(runlake.DataWarning, match="nest deeper"):
        run.log({"kept": 1.0, "loop": loop})
    assert ("kept", 0, 1.0) in points(store, run)


@pytest.mark.parametrize("data", [None, 3.0, "loss", [("loss", 1.0)], {1, 2}])
def test_a_row_that_is_no_mapping_is_said_and_counted(
    store: Path, capsys: pytest.CaptureFixture[str], data: Any
) -> None:
    run = runlake.init("p")
    with pytest.warns(runlake.DataWarning, match=r"log\(\) takes a mapping"):
        run.log(data)
    run.finish()
    assert "1 rows dropped" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("step", "kept", "said"),
    [
        (np.int32(7), 7, None),
        (7.0, 7, None),
        (np.float64(7.0), 7, None),
        (True, 1, None),
        (-5, -5, None),
        (2**63 - 1, 2**63 - 1, None),
        (7.9, 7, "its fraction is cut off"),
        ("seven", 0, "the step is left out"),
        (2**63, 0, "the step is left out"),
        (math.nan, 0, "the step is left out"),
    ],
)
def test_a_step_is_any_integer(store: Path, step: Any, kept: int, said: str | None) -> None:
    run = runlake.init("p")
    if said is None:
        run.log({"x": 1.0}, step=step)
    else:
        with pytest.warns(runlake.DataWarning, match=said):
            run.log({"x": 1.0}, step=step)
    assert points(store, run) == [("x", kept, 1.0)]


def test_labels_tell_series_of_one_metric_apart(store: Path) -> None:
    run = runlake.init("p")
    for rank in range(3):
        run.log({"loss": float(rank)}, step=0, labels={"rank": rank, "host": "a"})
    run.log({"loss": 9.0}, step=0)
    rows = runlake.open(store).sql("select labels, value from points order by value").fetchall()
    assert rows == [
        ('{"host":"a","rank":0}', 0.0),
        ('{"host":"a","rank":1}', 1.0),
        ('{"host":"a","rank":2}', 2.0),
        (None, 9.0),
    ]


def test_labels_that_are_none_are_said_and_the_row_is_kept(store: Path) -> None:
    run = runlake.init("p")
    with pytest.warns(runlake.DataWarning, match="labels must be a mapping"):
        run.log({"x": 1.0}, labels=3)  # type: ignore[arg-type]
    with pytest.warns(runlake.DataWarning, match="label 'a' is left out"):
        run.log({"x": 2.0}, labels={"a": [1], "b": 2})  # type: ignore[dict-item]
    assert [value for _, _, value in points(store, run)] == [1.0, 2.0]


@pytest.mark.parametrize(
    "call",
    [
        lambda run: run.log({"x": "text", "y": 1.0}),
        lambda run: run.log({"x": 2**60}),
        lambda run: run.log({"x": 1.0}, step="seven"),
        lambda run: run.log({"": 1.0}),
        lambda run: run.log({"x": 1.0}, labels={"a": [1]}),
        lambda run: run.log_many("x", ["a"]),
    ],
)
def test_a_strict_run_raises_and_keeps_nothing_of_the_row(store: Path, call: Any) -> None:
    run = runlake.init("p", strict=True)
    with pytest.raises(runlake.InvalidArgument):
        call(run)
    assert points(store, run) == []


def test_strictness_comes_from_the_environment(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNLAKE_STRICT", "1")
    run = runlake.init("p")
    with pytest.raises(TypeError, match=r"log\(\) takes a mapping"):
        run.log(3)  # type: ignore[arg-type]


def test_logs_can_be_kept_on_a_disk_of_the_host(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNLAKE_LOG_DIR", str(tmp_path / "disk"))
    run = runlake.init("p")
    run.log({"x": 1.0})
    assert len(list((tmp_path / "disk").glob("*/*.log"))) == 1
    assert list(store.glob("log/*/*.log")) == []
    assert len(points(store, run)) == 1


def test_keys_that_are_made_for_each_call_keep_their_names(store: Path) -> None:
    run = runlake.init("p")
    for step in range(200):
        run.log({f"layer{step % 50}/norm": float(step), "fixed": 1.0, "".join(["a", str(step % 3)]): 2.0})
    rows = runlake.open(store).sql("select metric, count(*) from points group by metric").fetchall()
    expected = {f"layer{n}/norm": 4 for n in range(50)} | {"fixed": 200, "a0": 67, "a1": 67, "a2": 66}
    assert dict(rows) == expected
    rows = runlake.open(store).sql("select step, value from points where metric = 'layer7/norm' order by 1").fetchall()
    assert rows == [(7, 7.0), (57, 57.0), (107, 107.0), (157, 157.0)]


def test_rows_of_changing_shapes_keep_their_names(store: Path) -> None:
    run = runlake.init("p")
    names = ["a", "b", "c", "d", "e"]
    for step in range(100):
        order = names[step % 5 :] + names[: step % 4]
        run.log({name: float(ord(name)) for name in order}, step=step)
    for metric, _, value in points(store, run):
        assert value == float(ord(metric))


def test_more_names_than_are_remembered_by_address_keep_their_values(store: Path) -> None:
    run = runlake.init("p")
    many = 70_000
    names = [f"metric/{n}" for n in range(many)]
    for step in range(2):
        run.log({name: float(n) for n, name in enumerate(names)}, step=step)
    rows = runlake.open(store).sql("select count(*), count(distinct metric), sum(value) from points").fetchall()
    assert rows == [(2 * many, many, 2 * many * (many - 1) / 2)]


numbers = st.one_of(
    st.floats(width=64),
    st.integers(min_value=-(2**53), max_value=2**53),
    st.integers(),
    st.booleans(),
    st.none(),
    st.floats(width=32).map(np.float32),
    st.integers(min_value=-(2**31), max_value=2**31 - 1).map(np.int32),
    st.floats().map(np.float64),
    st.text(max_size=3),
)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
rows = st.recursive(
    st.dictionaries(names, numbers, max_size=6),
    lambda inner: st.dictionaries(names, st.one_of(numbers, inner), max_size=4),
    max_leaves=20,
)


def flatten(data: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """The plain model of what `log` keeps."""
    found: list[tuple[str, float]] = []
    for key, value in data.items():
        if isinstance(value, dict):
            found += flatten(value, f"{prefix}{key}.")
        elif value is not None and not isinstance(value, str):
            try:
                found.append((f"{prefix}{key}", float(value)))
            except OverflowError:
                continue
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.lists(rows, min_size=1, max_size=4))
def test_any_nesting_of_any_numbers_reads_back_bit_for_bit(store: Path, data: list[dict[str, Any]]) -> None:
    run = runlake.init("p")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", runlake.DataWarning)
        for step, row in enumerate(data):
            run.log(row, step=step)
    expected = sorted((name, step, bits(value)) for step, row in enumerate(data) for name, value in flatten(row))
    kept = sorted((name, step, bits(value)) for name, step, value in points(store, run))
    assert kept == expected
