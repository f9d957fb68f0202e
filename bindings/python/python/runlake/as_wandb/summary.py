"""`wandb.summary`: what a run says of itself at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import runlake


class Summary(MutableMapping[str, "Any"]):
    """What was set, and beside that the value of each metric: the last one, or what `define_metric` asks for.

    Nested mappings are read and set through: `run.summary["best"]["loss"] = 0.1`. Keys are attributes too.
    """

    _kept: runlake.Run
    _set: set[str]

    def __init__(self, kept: runlake.Run) -> None:
        object.__setattr__(self, "_kept", kept)
        object.__setattr__(self, "_set", set())

    def __getitem__(self, key: str) -> Any:
        try:
            return self._kept.summary[key]
        except KeyError:
            inner = {name[len(key) + 1 :]: self._kept.summary[name] for name in self if name.startswith(f"{key}.")}
            if not inner:
                raise
            return _nested(inner)

    def __setitem__(self, key: str, value: Any) -> None:
        self._kept.summary[key] = value
        self._set.add(key)

    def __delitem__(self, key: str) -> None:
        del self._kept.summary[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept.summary)

    def __len__(self) -> int:
        return len(self._kept.summary)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"summary: no {name!r} here; there is {', '.join(self) or 'no key'}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        del self[name]

    def update(self, d: Mapping[str, Any] | None = None, **more: Any) -> None:  # type: ignore[override]
        """Sets several keys; a nested mapping replaces the one that was there."""
        for key, value in {**(d or {}), **more}.items():
            self[key] = value

    def __repr__(self) -> str:
        return repr(dict(self))

    def logged(self, row: Mapping[str, Any]) -> None:
        """A metric that is logged takes the place of what was set under its name before."""
        if self._set and not self._set.isdisjoint(row):
            for key in self._set.intersection(row):
                self._set.remove(key)
                del self._kept.summary[key]

    def _as_dict(self) -> dict[str, Any]:
        return dict(self)


def _nested(dotted: dict[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`."""
    nested: dict[str, Any] = {}
    for name, value in dotted.items():
        *parents, last = name.split(".")
        inner = nested
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = value
    return nested
