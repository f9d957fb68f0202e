"""`wandb.config`: the configuration of a run, with wandb's rules about what may change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping

from runlake.as_wandb.errors import ConfigError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Config:
    """A flat mapping whose keys are attributes too; nested mappings in it are plain dicts.

    A key that is set keeps its value unless the new one is the same or `allow_val_change=True` says that it may change.
    """

    _items: dict[str, Any]
    _kept: MutableMapping[str, Any]

    def __init__(self, kept: MutableMapping[str, Any] | None = None) -> None:
        object.__setattr__(self, "_kept", {} if kept is None else kept)
        object.__setattr__(self, "_items", {key: plain(value) for key, value in (kept or {}).items()})

    def keys(self) -> list[str]:
        """The keys."""
        return list(self._items)

    def values(self) -> list[Any]:
        """The values."""
        return list(self._items.values())

    def items(self) -> list[tuple[str, Any]]:
        """Keys and values."""
        return list(self._items.items())

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or another one where it has none."""
        return self._items.get(key, default)

    def as_dict(self) -> dict[str, Any]:
        """A copy."""
        return dict(self._items)

    def update(self, d: Any, allow_val_change: bool | None = None) -> None:
        """Sets several keys.

        Args:
            d: a mapping, an `argparse.Namespace`, or the name of a YAML file.
            allow_val_change: whether a key that is set may get another value.

        Raises:
            ConfigError: a key has another value already.
        """
        for key, value in parsed(d).items():
            self._set(key, value, allow_val_change)

    def setdefaults(self, d: Any) -> None:
        """Sets the keys that are not set yet."""
        for key, value in parsed(d).items():
            if _key(key) not in self._items:
                self._set(key, value, None)

    def update_locked(self, d: Any, user: str | None = None, _allow_val_change: bool | None = None) -> None:
        """Sets several keys, whether they were set or not."""
        self.update(d, allow_val_change=True)

    def merge_locked(self, d: Any, user: str | None = None, _allow_val_change: bool | None = None) -> None:
        """Sets several keys, whether they were set or not."""
        self.update(d, allow_val_change=True)

    def persist(self) -> None:
        """Nothing is to be done: each change has been kept."""

    def _set(self, key: Any, value: Any, may_change: bool | None) -> None:
        key, value = _key(key), plain(value)
        if not may_change and key in self._items and not _same(self._items[key], value):
            raise ConfigError(
                f'config: "{key}" is {self._items[key]!r} and would become {value!r}; '
                "config.update({...}, allow_val_change=True) lets it"
            )
        self._kept[key] = value
        self._items[key] = value

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._set(key, value, None)

    def __delitem__(self, key: str) -> None:
        del self._items[key]
        del self._kept[key]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._items[name]
        except KeyError:
            known = ", ".join(self._items) or "no keys"
            raise AttributeError(f"config: no {name!r} here; there is {known}") from None

    __setattr__ = __setitem__

    def __delattr__(self, name: str) -> None:
        del self[name]

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._items))

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return repr(self._items)

    def __reduce__(self) -> tuple[Any, ...]:
        return Config, (self.as_dict(),)


def parsed(config: Any, exclude: list[str] | None = None, include: list[str] | None = None) -> dict[str, Any]:
    """A configuration as `wandb.init(config=...)` takes it, as a dict; only some of its keys where that is asked."""
    if exclude and include:
        raise UsageError("config_exclude_keys and config_include_keys: give one of the two")
    if config is None:
        return {}
    if isinstance(config, str):
        values = _file(config)
    elif isinstance(config, (Mapping, Config)):
        values = {str(key): config[key] for key in config}
    elif hasattr(config, "flag_values_dict"):  # absl.flags.FLAGS
        values = config.flag_values_dict()
    elif hasattr(config, "__dict__"):
        values = dict(vars(config))
    else:
        raise UsageError(f"config: a dict, a namespace or a YAML file is needed, not {type(config).__name__}")
    if exclude:
        values = {key: value for key, value in values.items() if key not in exclude}
    if include:
        values = {key: value for key, value in values.items() if key in include}
    return values


def _file(name: str) -> dict[str, Any]:
    """The keys of a YAML file; one that wandb wrote has each value under `value`, with a `desc` beside it."""
    try:
        import yaml  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise UsageError(f"config: {name!r} names a YAML file, and reading one needs `pip install pyyaml`") from None
    try:
        with open(name, encoding="utf-8") as file:
            values = yaml.safe_load(file) or {}
    except OSError as error:
        raise UsageError(f"config: {name!r} names a YAML file that cannot be read: {error.strerror}") from error
    if not isinstance(values, dict):
        raise UsageError(f"config: {name!r} holds no mapping, but {type(values).__name__}")
    values.pop("wandb_version", None)
    return {
        str(key): value["value"] if isinstance(value, dict) and set(value) <= {"desc", "value"} and value else value
        for key, value in values.items()
        if key != "_wandb"
    }


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(key)


def plain(value: Any) -> Any:
    """What stands in the configuration for a value: dicts and lists copied, numbers of NumPy and others as Python's."""
    if isinstance(value, (str, bool, int, float)) or value is None:
        return value
    if isinstance(value, (Mapping, Config)):
        return {_key(key): plain(value[key]) for key in value}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if hasattr(value, "item") and not callable(getattr(type(value), "items", None)):
        try:
            return value.item()
        except (TypeError, ValueError):
            return str(value)
    if isinstance(value, (set, frozenset)):
        return sorted((plain(inner) for inner in value), key=repr)
    if isinstance(value, type) or callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value)}"
    return str(value)


def _same(before: Any, after: Any) -> bool:
    try:
        return bool(before == after)
    except (TypeError, ValueError):
        return False
