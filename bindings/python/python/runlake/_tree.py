"""The configuration and the summary of a run: nested mappings that say each change to the lake."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def plain(value: Any) -> Any:
    """A copy of nested mappings as dicts, so that a later change of the original changes nothing here."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    return value


def mapping_of(config: Any) -> Mapping[str, Any]:
    """A mapping, namespace or dataclass as a mapping."""
    if config is None:
        return {}
    if isinstance(config, Mapping):
        return config
    fields = getattr(config, "__dataclass_fields__", None)
    if fields is not None:
        return {name: getattr(config, name) for name in fields}
    attributes: Mapping[str, Any] = vars(config)
    return attributes


class Tree(MutableMapping[str, "Any"]):
    """A nested mapping whose keys are attributes too: `config["model"]["width"]` is `config.model.width`."""

    __slots__ = ("_changed", "_values")

    _values: dict[str, Any]
    _changed: Callable[[str], None]

    def __init__(self, values: dict[str, Any], changed: Callable[[str], None]) -> None:
        object.__setattr__(self, "_values", values)
        object.__setattr__(self, "_changed", changed)

    def __getitem__(self, key: str) -> Any:
        value = self._known()[key]
        if isinstance(value, dict):
            return Tree(value, lambda _inner: self._changed(key))
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise TypeError(f"a key must be a str, not {key!r} of type {type(key).__name__}")
        self._values[key] = plain(value)
        self._changed(key)

    def __delitem__(self, key: str) -> None:
        del self._known()[key]
        self._changed(key)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._known()))

    def __len__(self) -> int:
        return len(self._known())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            known = ", ".join(self) or "no keys"
            raise AttributeError(f"no {name!r} here; there is {known}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(name) from None

    def update(
        self, values: Mapping[str, Any] | object | None = None, /, allow_val_change: bool = True, **further: Any
    ) -> None:
        """Sets several keys: those of a mapping, an `argparse.Namespace` or a dataclass, and further ones by name.

        Args:
            values: keys and values.
            allow_val_change: as in wandb. A key may always change its value here, so it is without meaning.
            further: further keys and values.
        """
        for key, value in {**mapping_of(values), **further}.items():
            self[key] = value

    def setdefaults(self, values: Mapping[str, Any] | object) -> None:
        """Sets those keys of a mapping, namespace or dataclass that are not set yet."""
        for key, value in mapping_of(values).items():
            self.setdefault(key, value)

    def __repr__(self) -> str:
        return repr(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """A copy as nested dicts."""
        copy: dict[str, Any] = plain(self._known())
        return copy

    def _known(self) -> dict[str, Any]:
        return self._values


class Config(Tree):
    """The configuration of a run: `run.config["lr"] = 0.1`, `run.config.update(vars(args))`.

    A run that continues an earlier one, or that other processes configure too, reads what is known of it at the first
    look. Numbers, text, lists and mappings stay what they are; arrays become lists and anything else its `str()`.
    """

    __slots__ = ("_earlier",)

    _earlier: Callable[[], Mapping[str, Any]] | None

    def __init__(
        self,
        values: Mapping[str, Any],
        changed: Callable[[str], None],
        earlier: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__(plain(values), changed)
        object.__setattr__(self, "_earlier", earlier)

    def _known(self) -> dict[str, Any]:
        earlier = self._earlier
        if earlier is not None:
            object.__setattr__(self, "_earlier", None)
            object.__setattr__(self, "_values", {**earlier(), **self._values})
        return self._values


class Summary(Config):
    """What a run says of itself at the end: `run.summary["best/accuracy"] = 0.93`.

    Reading a metric that was not set gives the value that this process logged last, or what `Run.define_metric` asked
    for.
    """

    __slots__ = ("_last", "_names")

    _last: Callable[[str], Any]
    _names: Callable[[], Iterable[str]]

    def __init__(
        self,
        changed: Callable[[str], None],
        last: Callable[[str], Any],
        names: Callable[[], Iterable[str]],
        earlier: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__({}, changed, earlier)
        object.__setattr__(self, "_last", last)
        object.__setattr__(self, "_names", names)

    def __iter__(self) -> Iterator[str]:
        said = list(self._known())
        logged = [name for name in self._names() if name not in self._known() and not name.startswith("system/")]
        return iter(said + [name for name in logged if self._last(name) is not None])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def as_dict(self) -> dict[str, Any]:
        """A copy as nested dicts, with what was logged."""
        return {key: plain(self[key]) for key in self}

    def __getitem__(self, key: str) -> Any:
        try:
            return super().__getitem__(key)
        except KeyError:
            last = self._last(key)
            if last is None:
                raise
            return last
