"""Exceptions."""

from runlake.as_wandb.errors import (
    AuthenticationError,
    CommError,
    Error,
    UnsupportedError,
    UsageError,
    WandbCoreNotAvailableError,
)

__all__ = [
    "AuthenticationError",
    "CommError",
    "Error",
    "UnsupportedError",
    "UsageError",
    "WandbCoreNotAvailableError",
]
