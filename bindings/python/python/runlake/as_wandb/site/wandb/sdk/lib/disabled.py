"""Runs that keep nothing."""

from runlake.as_wandb.run import Run as RunDisabled
from runlake.as_wandb.summary import Summary as SummaryDisabled

__all__ = ["RunDisabled", "SummaryDisabled"]
