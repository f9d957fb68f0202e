"""The filter language: held against a plain evaluation of MongoDB's rules."""

from __future__ import annotations

import datetime
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runlake
from runlake import _filters

RUN: dict[str, Any] = {
    "name": "x1",
    "display_name": "calm-otter-17",
    "state": "finished",
    "tags": ["baseline", "v2"],
    "created_at": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
    "config": {
        "lr": 0.1,
        "amp": True,
        "layers": [1, 2],
        "model": {"depth": 3, "name": "gpt"},
        "dotted.key": 1,
        "none": None,
        "list": [{"a": 1}, {"a": 2}],
    },
    "summary_metrics": {"val.loss": 0.5, "acc": {"max": 0.9}},
}


def wants(filters: dict[str, Any]) -> bool:
    test, _used = _filters.compiled(filters)
    return test(RUN)


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({}, True),
        ({"state": "finished"}, True),
        ({"state": {"$ne": "finished"}}, False),
        ({"state": {"$in": ["running", "finished"]}}, True),
        ({"state": {"$nin": ["running", "finished"]}}, False),
        ({"config.lr": 0.1}, True),
        ({"config.lr.value": 0.1}, True),
        ({"config.lr": {"$gt": 0.05, "$lt": 0.1}}, False),
        ({"config.lr": {"$gte": 0.1, "$lte": 0.1}}, True),
        ({"config.lr": np.float64(0.1)}, True),
        ({"config.lr": {"$gt": "0"}}, False),
        ({"config.amp": True}, True),
        ({"config.amp": 1}, False),
        ({"config.model.depth": 3}, True),
        ({"config.model": {"name": "gpt", "depth": 3}}, True),
        ({"config.model": {"name": "gpt"}}, False),
        ({"config.dotted.key": 1}, True),
        ({"summary_metrics.val.loss": {"$lt": 1}}, True),
        ({"summary.acc.max": {"$gt": 0.8}}, True),
        ({"config.none": None}, True),
        ({"config.missing": None}, True),
        ({"config.none": {"$exists": True}}, True),
        ({"config.missing": {"$exists": False}}, True),
        ({"config.missing": {"$ne": 1}}, True),
        ({"config.missing": {"$lt": 1}}, False),
        ({"config.missing": {"$not": {"$lt": 1}}}, True),
        ({"tags": "baseline"}, True),
        ({"tags": {"$in": ["v1", "v2"]}}, True),
        ({"tags": {"$all": ["v2", "baseline"]}}, True),
        ({"tags": {"$all": ["v2", "v3"]}}, False),
        ({"tags": {"$size": 2}}, True),
        ({"tags": ["baseline", "v2"]}, True),
        ({"tags": {"$elemMatch": {"$regex": "^v"}}}, True),
        ({"config.layers": {"$gt": 1}}, True),
        ({"config.layers.1": 2}, True),
        ({"config.list.a": 2}, True),
        ({"display_name": {"$regex": "^calm"}}, True),
        ({"displayName": {"$regex": "^CALM", "$options": "i"}}, True),
        ({"display_name": re.compile("otter")}, True),
        ({"display_name": {"$in": [re.compile("^x"), re.compile("17$")]}}, True),
        ({"created_at": {"$gt": "2026-01-02"}}, True),
        ({"created_at": {"$gt": "2026-01-02T03:04:05Z"}}, False),
        ({"created_at": {"$lt": datetime.datetime(2026, 1, 2, 3, 4, 6)}}, True),
        ({"createdAt": {"$gte": RUN["created_at"].timestamp()}}, True),
        ({"$or": [{"state": "running"}, {"config.lr": 0.1}]}, True),
        ({"$nor": [{"state": "running"}, {"config.lr": 0.1}]}, False),
        ({"$and": [{"state": "finished"}, {"$or": [{"tags": "v2"}, {"tags": "v3"}]}]}, True),
    ],
)
def test_a_filter_wants_what_mongodb_would(filters: dict[str, Any], wanted: bool) -> None:
    assert wants(filters) is wanted


@pytest.mark.parametrize(
    ("filters", "says"),
    [
        ({"stat": "finished"}, r"runs have no 'stat'; did you mean state"),
        ({"zzzzzz": 1}, r"runs have no 'zzzzzz'; there is display_name"),
        ({"config.lr": {"$near": 1}}, r"\$near is none of \$eq, \$ne"),
        ({"$xor": []}, r"\$xor is none of \$and, \$or, \$nor"),
        ({"$or": []}, r"\$or takes a list of filters that is not empty"),
        ({"$and": ["state"]}, r"a filter is a mapping"),
        ({"config.lr": {"$gt": 1, "x": 2}}, r"has operators beside keys that are none"),
        ({"config.lr": {"$in": 3}}, r"\$in takes a list, not 3"),
        ({"config.lr": {"$gt": [1]}}, r"no order of values such as \[1\]"),
        ({"name": {"$regex": "("}}, r"'\(' is no regular expression"),
        ({"name": {"$regex": "a", "$options": "q"}}, r"\$options: 'q' is none of i, m, s, x"),
        ({"name": {"$options": "i"}}, r"\$options stands beside \$regex only"),
        ({"name": {"$not": 3}}, r"\$not takes operators"),
        ({"created_at": {"$gt": "yesterday"}}, r"'yesterday' is no time such as"),
        ({"created_at": re.compile("2026")}, r"a time is compared with times"),
        ("state", r"a filter is a mapping"),
    ],
)
def test_what_cannot_be_meant_is_an_error_that_says_what_there_is(filters: Any, says: str) -> None:
    with pytest.raises(runlake.InvalidArgument, match=says):
        _filters.compiled(filters)


# A plain evaluation, written from MongoDB's manual: no compiling, no sharing.

ABSENT = object()


def reach(value: Any, path: list[str]) -> list[Any]:
    """All that a path leads to; what stands in a list is reached too."""
    if not path:
        return [value]
    if isinstance(value, dict):
        return reach(value[path[0]], path[1:]) if path[0] in value else []
    return []


def order_of(value: Any) -> str:
    return {bool: "bool", int: "number", float: "number", str: "text", list: "list", dict: "map", type(None): "null"}[
        type(value)
    ]


def equal(value: Any, operand: Any) -> bool:
    return order_of(value) == order_of(operand) and value == operand


def one(value: Any, operator: str, operand: Any) -> bool:
    """Whether a single value, no element of a list, does."""
    if operator == "$eq":
        return equal(value, operand)
    if order_of(value) != order_of(operand):
        return False
    return {
        "$gt": lambda: value > operand,
        "$gte": lambda: value >= operand,
        "$lt": lambda: value < operand,
        "$lte": lambda: value <= operand,
    }[operator]()


def plainly(run: dict[str, Any], filters: dict[str, Any]) -> bool:
    for key, condition in filters.items():
        if key == "$and" and not all(plainly(run, part) for part in condition):
            return False
        if key == "$or" and not any(plainly(run, part) for part in condition):
            return False
        if key == "$nor" and any(plainly(run, part) for part in condition):
            return False
        if key.startswith("$"):
            continue
        reached = reach(run, key.split("."))
        value = reached[0] if reached else ABSENT
        operators = condition if isinstance(condition, dict) else {"$eq": condition}
        if not all(holds(value, operator, operand) for operator, operand in operators.items()):
            return False
    return True


def holds(value: Any, operator: str, operand: Any) -> bool:
    if operator == "$exists":
        return (value is not ABSENT) == operand
    if operator == "$ne":
        return not holds(value, "$eq", operand)
    if operator == "$not":
        return not all(holds(value, inner, further) for inner, further in operand.items())
    if operator == "$in":
        return any(holds(value, "$eq", each) for each in operand)
    if operator == "$nin":
        return not any(holds(value, "$eq", each) for each in operand)
    if operator == "$eq" and operand is None:
        return value is ABSENT or value is None or (isinstance(value, list) and None in value)
    if value is ABSENT:
        return False
    candidates = [value, *value] if isinstance(value, list) else [value]
    return any(one(candidate, operator, operand) for candidate in candidates)


SCALARS = (
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.5, 1.0, -1.5]) | st.sampled_from(["", "a", "b"])
)
ORDERED = st.integers(-2, 2) | st.sampled_from([0.5, 1.0]) | st.sampled_from(["", "a"]) | st.booleans()
VALUES = SCALARS | st.lists(SCALARS, max_size=3)
CONFIGS = st.dictionaries(
    st.sampled_from("xyz"), VALUES | st.dictionaries(st.sampled_from("xy"), VALUES, max_size=2), max_size=3
)
PATHS = st.sampled_from(["config.x", "config.y", "config.z", "config.x.x", "config.x.y", "config.y.x", "state", "tags"])
PLAIN_OPERATORS = st.one_of(
    st.fixed_dictionaries({}, optional={"$eq": SCALARS, "$ne": SCALARS, "$gt": ORDERED, "$lte": ORDERED}),
    st.fixed_dictionaries({"$in": st.lists(SCALARS, max_size=3)}, optional={"$lt": ORDERED, "$gte": ORDERED}),
    st.fixed_dictionaries({"$nin": st.lists(SCALARS, max_size=3)}, optional={"$exists": st.booleans()}),
).filter(bool)
CONDITIONS = SCALARS | PLAIN_OPERATORS | PLAIN_OPERATORS.map(lambda inner: {"$not": inner})
LEAVES = st.dictionaries(PATHS, CONDITIONS, max_size=2)
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        lambda word, parts, more: {word: parts, **more},
        st.sampled_from(["$and", "$or", "$nor"]),
        st.lists(inner, min_size=1, max_size=3),
        LEAVES,
    ),
    max_leaves=6,
)


@settings(max_examples=1000, deadline=None)
@given(
    config=CONFIGS, state=st.sampled_from(["a", "b"]), tags=st.lists(st.sampled_from("ab"), max_size=2), filters=FILTERS
)
def test_filters_agree_with_a_plain_evaluation(
    config: dict[str, Any], state: str, tags: list[str], filters: dict[str, Any]
) -> None:
    run = {"config": config, "state": state, "tags": tags}
    test, _used = _filters.compiled(filters)
    assert test(run) is plainly(run, filters)
