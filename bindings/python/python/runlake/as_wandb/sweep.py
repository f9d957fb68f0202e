"""Sweeps, which come in a later version: their names, which say so."""

from __future__ import annotations

from runlake.as_wandb.later import refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_INSTEAD = "call your function with each configuration, with wandb.init(group=..., config=...) in it"


def sweep(
    sweep: Any, entity: str | None = None, project: str | None = None, prior_runs: list[str] | None = None
) -> NoReturn:
    """Cannot be done yet."""
    raise refused("wandb.sweep()", _INSTEAD)


def agent(
    sweep_id: str,
    function: Any = None,
    entity: str | None = None,
    project: str | None = None,
    count: int | None = None,
    forward_signals: bool = False,
    term_timeout: int | None = None,
    max_consecutive_failed_runs: int | None = None,
) -> NoReturn:
    """Cannot be done yet."""
    raise refused("wandb.agent()", _INSTEAD)


def controller(sweep_id_or_config: Any = None, entity: str | None = None, project: str | None = None) -> NoReturn:
    """Cannot be done yet."""
    raise refused("wandb.controller()", _INSTEAD)
