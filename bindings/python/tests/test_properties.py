"""Whatever is logged or configured is stored as docs/semantics.md says, and never an exception, unless strict."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import runlake

FIXTURE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


class Broken:
    """Raises wherever it is asked anything."""

    def __float__(self) -> float:
        raise RuntimeError("no float\nof mine")

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __repr__(self) -> str:
        return "Broken()"


class Wrapped:
    """As a scalar of a library: it has `item`."""

    def __init__(self, value: object) -> None:
        self.value = value

    def item(self) -> object:
        return self.value

    def __repr__(self) -> str:
        return f"Wrapped({self.value!r})"


class Frozen(Mapping[Any, Any]):
    """A mapping that is no dict."""

    def __init__(self, values: dict[Any, Any]) -> None:
        self.values_ = values

    def __getitem__(self, key: Any) -> Any:
        return self.values_[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)

    def __repr__(self) -> str:
        return f"Frozen({self.values_!r})"


class Color(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 3


@dataclasses.dataclass(frozen=True)
class Options:
    lr: Any = 0.1


# Surrogates are halves of characters: texts of Python may hold them, UTF-8 may not.
TEXTS = st.text(max_size=6) | st.text(st.characters(categories=["Cs", "L"]), max_size=3) | st.just("x" * 600)
KEYS = TEXTS | st.integers(-5, 2**70) | st.none() | st.binary(max_size=2) | st.tuples(st.integers(0, 1)) | st.booleans()
INTS = st.integers() | st.integers(2**53 - 2, 2**53 + 2) | st.integers(2**63 - 2, 2**64 + 2) | st.just(10**400)
NUMPY = st.one_of(
    st.builds(np.float32, st.floats(width=32)),
    st.builds(np.float16, st.floats(width=16)),
    st.builds(np.int8, st.integers(-128, 127)),
    st.builds(np.uint64, st.integers(0, 2**64 - 1)),
    st.builds(np.bool_, st.booleans()),
    st.builds(np.longdouble, st.floats(allow_nan=False)),
    st.builds(np.array, st.floats()),
    st.builds(np.array, st.lists(st.integers(0, 9), max_size=3)),
    st.builds(np.complex128, st.floats(0, 9)),
    st.just(np.datetime64("2026-01-02")),
    st.just(np.str_("text")),
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    INTS,
    st.floats(),
    TEXTS,
    st.binary(max_size=3),
    NUMPY,
    st.dates(),
    st.datetimes(),
    st.timedeltas(),
    st.decimals(),
    st.fractions(),
    st.builds(fractions.Fraction, st.just(10**400)),
    st.complex_numbers(),
    st.sampled_from(
        [Broken(), Color.RED, Level.LOW, Wrapped(2), Wrapped("x"), Wrapped(Broken()), Options(), object, ...]
    ),
    st.lists(st.integers(0, 3), max_size=2),
    st.tuples(st.floats(0, 1)),
    st.frozensets(st.integers(0, 3), max_size=1),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.dictionaries(KEYS, inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=2).map(Frozen),
    max_leaves=8,
)
ROWS = st.dictionaries(KEYS, VALUES, max_size=4)


def is_utf8(text: str) -> bool:
    return not any(0xD800 <= ord(letter) < 0xE000 for letter in text)


class Model:
    """What docs/semantics.md says of a row: its points, and whether anything is complained of."""

    def __init__(self, row: Mapping[Any, Any]) -> None:
        self.points: list[tuple[str, float]] = []
        self.complains = False
        self.read_all("", row)

    def read_all(self, prefix: str, row: Mapping[Any, Any]) -> None:
        for key, value in row.items():
            if isinstance(key, str) and is_utf8(key):
                self.read(prefix + key, value, True)
            elif isinstance(key, int):
                self.read(f"{prefix}{key}", value, True)
            elif value is not None or prefix:
                # Beside None a key of the row itself is not looked at: there is nothing to be named.
                self.complains = True

    def read(self, name: str, value: Any, may_unwrap: bool) -> None:
        if value is None:
            return
        if isinstance(value, float):
            self.put(name, float(value))
        elif isinstance(value, int):
            try:
                number = float(value)
            except OverflowError:
                self.complains = True
                return
            self.complains |= abs(value) > 2**53
            self.put(name, number)
        elif isinstance(value, dict):
            self.read_all(f"{name}.", value)
        elif isinstance(value, (str, bytes, bytearray, list)):
            self.complains = True
        elif may_unwrap and hasattr(value, "item"):
            try:
                inner = value.item()
            except Exception:
                self.complains = True
                return
            self.read(name, inner, False)
        elif isinstance(value, Mapping):
            self.read_all(f"{name}.", value)
        elif hasattr(value, "__float__"):
            try:
                self.put(name, value.__float__())
            except Exception:
                self.complains = True
        else:
            self.complains = True

    def put(self, name: str, value: float) -> None:
        if 1 <= len(name.encode()) <= 512:
            self.points.append((name, value))
        else:
            self.complains = True


def bits(points: list[tuple[str, float]]) -> list[tuple[str, str]]:
    """Points in an order of their own, NaN equal to NaN."""
    return sorted((name, "nan" if math.isnan(value) else value.hex()) for name, value in points)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[runlake.Run, runlake.Run, runlake.Lake]]:
    """A run that is lenient and one that is strict."""
    store = tmp_path_factory.mktemp("properties") / "runs.lake"
    settings = {"silent": True}
    lenient = runlake.init("p", id="lenient", store=store, settings=settings)
    strict = runlake.init("p", id="strict", store=store, settings=settings, strict=True, reinit="create_new")
    yield lenient, strict, runlake.open(store)
    strict.finish()
    lenient.finish()


step = iter(range(10**9))


@settings(max_examples=200, deadline=None, suppress_health_check=FIXTURE)
@given(row=ROWS | ROWS.map(Frozen))
@example(row={})
@example(row={"a.b": 1.0, "a": {"b": 2.0}})
@example(row={"x" * 512: 1, "x" * 513: 2})
@example(row={"\ud800": None, "a": 1})
def test_a_row_is_stored_as_documented(
    runs: tuple[runlake.Run, runlake.Run, runlake.Lake], row: Mapping[Any, Any]
) -> None:
    lenient, strict, lake = runs
    model = Model(row)
    at = next(step)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lenient.log(row, step=at)
    refused = False
    try:
        strict.log(row, step=at)
    except runlake.InvalidArgument:
        refused = True
    assert refused is model.complains
    query = f"select run_id, metric, value from points where step = {at} and run_id in ('lenient', 'strict')"
    stored = lake.sql(query).fetchall()
    assert bits([(name, value) for run, name, value in stored if run == "lenient"]) == bits(model.points)
    expected = [] if refused else model.points
    assert bits([(name, value) for run, name, value in stored if run == "strict"]) == bits(expected)


@settings(max_examples=100, deadline=None, suppress_health_check=FIXTURE)
@given(
    step=VALUES,
    labels=st.none() | VALUES | st.dictionaries(KEYS, LEAVES, max_size=3),
    commit=st.none() | st.booleans(),
    data=VALUES,
)
def test_no_step_no_labels_and_no_data_raise(
    store: Path, step: Any, labels: Any, commit: bool | None, data: Any
) -> None:
    run = runlake.init("p", settings={"silent": True})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run.log({"sure": 1.0}, step=step, labels=labels, commit=commit)
        run.log(data, step=step, labels=labels)
        run.log_many("many", data, steps=step, labels=labels)
    run.finish()
    query = f"select count(*) from points where run_id = '{run.id}' and metric = 'sure' and value = 1"
    found = runlake.open().sql(query).fetchone()
    assert found is not None
    # The row is never lost; what `data` brings may be called `sure` by chance, never in its place.
    assert found[0] >= 1


def plain(value: Any) -> Any:
    """What docs/semantics.md says of a value of a configuration, as JSON holds it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value if is_utf8(value) else lossy(value)
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {lossy(text(key)): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        inner = value.tolist()
        # Python has no number such as numpy's longdouble.
        return plain(float(value) if type(inner) is type(value) else inner)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return lossy(text(value))


def text(value: Any) -> str:
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__module__}.{type(value).__qualname__}>"


def lossy(value: str) -> str:
    return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


@settings(max_examples=200, deadline=None, suppress_health_check=FIXTURE)
@given(
    config=st.dictionaries(KEYS.filter(lambda key: key != ""), VALUES, max_size=4),
    late=st.dictionaries(TEXTS.filter(bool), VALUES, max_size=2),
)
def test_a_configuration_is_stored_as_documented(store: Path, config: dict[Any, Any], late: dict[str, Any]) -> None:
    run = runlake.init("p", config=config, settings={"silent": True})
    stored = runlake.open()
    assert same(stored.run(run.id).config.as_dict(), plain(config))
    run.config.update(late)
    run.summary.update(late)
    expected = {**plain(config), **plain(late)}
    assert same(stored.run(run.id).config.as_dict(), expected)
    assert same(stored.run(run.id).summary.as_dict(), plain(late))
    run.finish()


def same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def test_what_contains_itself_is_an_error_or_left_out(store: Path) -> None:
    loop: dict[str, Any] = {"a": 1.0}
    loop["loop"] = loop
    with pytest.raises(runlake.InvalidArgument, match="nests deeper than 64 levels; does it contain itself"):
        runlake.init("p", config=loop)
    run = runlake.init("p")
    with pytest.warns(runlake.DataWarning, match="does one contain itself"):
        run.log(loop)
    assert runlake.open().sql("select count(*) from points where value = 1").fetchall() == [(65,)]


def test_namespaces_and_ordered_mappings_are_configurations(store: Path) -> None:
    config = argparse.Namespace(
        inner=argparse.Namespace(a=1), ordered=collections.OrderedDict(b=decimal.Decimal("1.5"))
    )
    run = runlake.init("p", config=config)
    assert runlake.open().run(run.id).config == {"inner": {"a": 1}, "ordered": {"b": "1.5"}}
    run.config["day"] = datetime.date(2026, 1, 2)
    assert runlake.open().run(run.id).config["day"] == "2026-01-02"
