"""The exceptions that programs for wandb catch."""

from __future__ import annotations

__all__ = [
    "AuthenticationError",
    "CommError",
    "Error",
    "UnsupportedError",
    "UsageError",
    "WandbCoreNotAvailableError",
]


class Error(Exception):
    """The base of all of them."""

    def __init__(self, message: str = "", context: object = None) -> None:
        super().__init__(message)
        self.message = message
        self.context = context


class CommError(Error):
    """A server could not be asked. Here: the lake has nothing of that name."""

    def __init__(self, msg: str = "", exc: Exception | None = None) -> None:
        super().__init__(msg)
        self.exc = exc


class AuthenticationError(CommError):
    """A login failed; never raised here."""


class UsageError(Error):
    """A call that cannot be meant so. Change it."""


class UnsupportedError(UsageError):
    """What was called is not in runlake; docs/wandb-differences.md says why."""


class WandbCoreNotAvailableError(Error):
    """A program of wandb's is missing; never raised here."""


class ConfigError(Error):
    """A value of the configuration would change. Say `allow_val_change=True` where that is meant."""
