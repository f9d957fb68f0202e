"""The filter language of MongoDB, as wandb's API takes it: which runs does `{"config.lr": {"$lt": 0.1}}` want?

A filter is evaluated run by run and exactly, with MongoDB's rules: numbers compare with numbers and texts with texts
only, `True` is no 1, a condition on a list holds where it holds for an element, and `None` is what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping

from runlake._errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Test = Callable[[Mapping[str, Any]], bool]
    Check = Callable[[Any], bool]

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING", "__bool__": lambda self: False})()
"""What a path leads to where nothing stands."""

NAMES = {
    "display_name": "display_name",
    "displayName": "display_name",
    "name": "name",
    "project": "project",
    "state": "state",
    "group": "group",
    "group_name": "group",
    "job_type": "job_type",
    "jobType": "job_type",
    "tags": "tags",
    "notes": "notes",
    "description": "notes",
    "created_at": "created_at",
    "createdAt": "created_at",
    "finished_at": "finished_at",
    "heartbeat_at": "heartbeat_at",
    "heartbeatAt": "heartbeat_at",
    "updated_at": "heartbeat_at",
    "updatedAt": "heartbeat_at",
    "duration": "duration",
    "username": "username",
    "user": "username",
    "host": "host",
    "program": "program",
    "command": "command",
    "commit": "commit",
    "exit_code": "exit_code",
    "exitCode": "exit_code",
    "sweep": "sweep",
    "last_step": "last_step",
    "config": "config",
    "summary_metrics": "summary_metrics",
    "summaryMetrics": "summary_metrics",
    "summary": "summary_metrics",
}
"""What may stand at the start of a path, and the one word for it."""

TIMES = frozenset({"created_at", "finished_at", "heartbeat_at"})


def compiled(filters: Mapping[str, Any] | None) -> tuple[Test, frozenset[str]]:
    """A filter as a function of one run, and the words at the start of its paths.

    Raises:
        InvalidArgument: an operator or a path is unknown, or an operand does not fit.
    """
    used: set[str] = set()
    return _all_of(filters or {}, used), frozenset(used)


def _all_of(filters: Any, used: set[str]) -> Test:
    if not isinstance(filters, Mapping):
        raise InvalidArgument(f"filters: a filter is a mapping such as {{'state': 'finished'}}, not {filters!r}")
    tests = [_test(str(key), condition, used) for key, condition in filters.items()]
    return lambda run: all(test(run) for test in tests)


def _test(key: str, condition: Any, used: set[str]) -> Test:
    if not key.startswith("$"):
        path = parsed(key)
        used.add(path[0])
        check = _check(condition, path[0] in TIMES)
        return lambda run: check(found(run, path))
    if key not in ("$and", "$or", "$nor"):
        raise InvalidArgument(f"filters: {key} is none of $and, $or, $nor")
    if not isinstance(condition, (list, tuple)) or not condition:
        raise InvalidArgument(f"filters: {key} takes a list of filters that is not empty, not {condition!r}")
    tests = [_all_of(part, used) for part in condition]
    if key == "$and":
        return lambda run: all(test(run) for test in tests)
    wanted = key == "$or"
    return lambda run: any(test(run) for test in tests) is wanted


def parsed(path: str) -> tuple[str, ...]:
    """The parts of a path, the first in its one spelling."""
    first, *rest = path.split(".")
    if first not in NAMES:
        import difflib

        near = difflib.get_close_matches(first, NAMES, 3, 0.6)
        hint = f"; did you mean {' or '.join(near)}?" if near else f"; there is {', '.join(NAMES)}"
        raise InvalidArgument(f"filters: runs have no {first!r}{hint}")
    return (NAMES[first], *rest)


def found(run: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """What stands at a path of a run. Keys with dots in them are found too."""
    value = _descend(run, path)
    if value is MISSING and path[0] == "config" and path[-1] == "value":
        # wandb wraps each value of a configuration, and old filters name the wrapping.
        return _descend(run, path[:-1])
    return value


def _descend(value: Any, path: tuple[str, ...]) -> Any:
    if not path:
        return value
    if isinstance(value, Mapping):
        for parts in range(len(path), 0, -1):
            key = ".".join(path[:parts])
            if key in value:
                inner = _descend(value[key], path[parts:])
                if inner is not MISSING:
                    return inner
        return MISSING
    if isinstance(value, list):
        if path[0].isdecimal():
            at = int(path[0])
            return _descend(value[at], path[1:]) if at < len(value) else MISSING
        inners = [_descend(item, path) for item in value if isinstance(item, Mapping)]
        inners = [inner for inner in inners if inner is not MISSING]
        return inners or MISSING
    return MISSING


def _check(condition: Any, is_time: bool) -> Check:
    """A condition on one value: a mapping of operators, or what the value equals."""
    operators = [key for key in condition if str(key).startswith("$")] if isinstance(condition, Mapping) else []
    if not operators:
        return _equals(_operand(condition, is_time))
    if len(operators) < len(condition):
        raise InvalidArgument(f"filters: {condition!r} has operators beside keys that are none")
    checks = [_operator(key, condition[key], condition, is_time) for key in operators if key != "$options"]
    if "$options" in condition and "$regex" not in condition:
        raise InvalidArgument("filters: $options stands beside $regex only")
    return lambda value: all(check(value) for check in checks)


def _operator(key: str, operand: Any, condition: Mapping[str, Any], is_time: bool) -> Check:
    if key in ("$eq", "$ne"):
        equals = _equals(_operand(operand, is_time))
        return equals if key == "$eq" else lambda value: not equals(value)
    if key in _ORDERS:
        return _compares(_ORDERS[key], _operand(operand, is_time))
    if key in ("$in", "$nin", "$all"):
        if not isinstance(operand, (list, tuple, set, frozenset)):
            raise InvalidArgument(f"filters: {key} takes a list, not {operand!r}")
        checks = [_equals(_operand(one, is_time)) for one in operand]
        if key == "$all":
            return lambda value: bool(checks) and all(check(value) for check in checks)
        return lambda value: any(check(value) for check in checks) is (key == "$in")
    if key == "$exists":
        return lambda value: (value is not MISSING) is bool(operand)
    if key == "$regex":
        return _matches(operand, condition.get("$options", ""))
    if key == "$not":
        if not isinstance(operand, Mapping) and not hasattr(operand, "search"):
            raise InvalidArgument(f"filters: $not takes operators such as {{'$gt': 1}}, not {operand!r}")
        inner = _check(operand, is_time)
        return lambda value: not inner(value)
    if key == "$size":
        return lambda value: isinstance(value, list) and len(value) == operand
    if key == "$elemMatch":
        inner = _check(operand, is_time)
        return lambda value: isinstance(value, list) and any(inner(item) for item in value)
    known = "$eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $all, $exists, $regex, $options, $not, $size, $elemMatch"
    raise InvalidArgument(f"filters: {key} is none of {known}")


def _equals(operand: Any) -> Check:
    if hasattr(operand, "search") and hasattr(operand, "pattern"):
        return _matches(operand, "")
    if operand is None:
        return lambda value: value is MISSING or value is None or (isinstance(value, list) and None in value)

    def check(value: Any) -> bool:
        return same(value, operand) or (isinstance(value, list) and any(same(item, operand) for item in value))

    return check


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of one kind."""
    if kind(one) != kind(other):
        return False
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def kind(value: Any) -> int:
    """The kind of a value, by which values of different kinds sort. Only those of one kind compare."""
    if value is MISSING:
        return 0
    if value is None:
        return 1
    if isinstance(value, bool):
        return 6
    if isinstance(value, (int, float)):
        return 2
    if isinstance(value, str):
        return 3
    if isinstance(value, Mapping):
        return 4
    return 5 if isinstance(value, list) else 7


_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "$gt": lambda value, operand: value > operand,
    "$gte": lambda value, operand: value >= operand,
    "$lt": lambda value, operand: value < operand,
    "$lte": lambda value, operand: value <= operand,
}


def _compares(order: Callable[[Any, Any], bool], operand: Any) -> Check:
    wanted = kind(operand)
    if wanted not in (2, 3, 6, 7):
        raise InvalidArgument(f"filters: there is no order of values such as {operand!r}")

    def check(value: Any) -> bool:
        items = value if isinstance(value, list) else [value]
        return any(kind(item) == wanted and order(item, operand) for item in items)

    return check


def _matches(operand: Any, options: str) -> Check:
    import re

    flags = re.NOFLAG if hasattr(re, "NOFLAG") else re.RegexFlag(0)
    for option in options:
        if option not in "imsx":
            raise InvalidArgument(f"filters: $options: {option!r} is none of i, m, s, x")
        flags |= getattr(re, option.upper())
    try:
        pattern = operand if hasattr(operand, "search") else re.compile(operand, flags)
    except (re.error, TypeError) as error:
        raise InvalidArgument(f"filters: $regex: {operand!r} is no regular expression: {error}") from None

    def check(value: Any) -> bool:
        items = value if isinstance(value, list) else [value]
        return any(isinstance(item, str) and pattern.search(item) is not None for item in items)

    return check


def _operand(operand: Any, is_time: bool) -> Any:
    """An operand as runs hold values: numpy's numbers as Python's, tuples as lists, times as moments."""
    if is_time and operand is not None:
        return moment(operand)
    if isinstance(operand, (str, bool, int, float)) or operand is None:
        return operand
    if isinstance(operand, Mapping):
        return {str(key): _operand(value, False) for key, value in operand.items()}
    if isinstance(operand, (list, tuple, set, frozenset)):
        return [_operand(value, False) for value in operand]
    item = getattr(operand, "item", None)
    return item() if callable(item) else operand


def moment(value: Any) -> Any:
    """A moment with its zone, of a `datetime`, a text as in ISO 8601, or seconds since 1970; without one, in UTC."""
    import datetime

    if hasattr(value, "search"):
        raise InvalidArgument("filters: a time is compared with times, not with a regular expression")
    try:
        if isinstance(value, (int, float)):
            return datetime.datetime.fromtimestamp(value, datetime.timezone.utc)
        if isinstance(value, str):
            # Before 3.11 there was no Z.
            value = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
        elif not isinstance(value, datetime.datetime):
            raise ValueError(type(value).__name__)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument(f"filters: {value!r} is no time such as '2026-01-31T12:00:00Z': {error}") from None
    return value if value.tzinfo is not None else value.replace(tzinfo=datetime.timezone.utc)


def ordered(order: str) -> list[tuple[tuple[str, ...], bool]]:
    """The paths of an order such as `-summary_metrics.loss,+created_at`, and whether each descends."""
    parts = [part.strip() for part in order.split(",") if part.strip()]
    return [(parsed(part.lstrip("+-")), part.startswith("-")) for part in parts]
