"""What integrations say of themselves to wandb. Nobody is told."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Telemetry:
    """Takes any attribute of any depth, and keeps none."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Telemetry()

    def __setattr__(self, name: str, value: object) -> None:
        pass


@contextlib.contextmanager
def context(run: object = None, obj: object = None) -> Iterator[Telemetry]:
    """A block in which an integration may say what it is."""
    yield Telemetry()
