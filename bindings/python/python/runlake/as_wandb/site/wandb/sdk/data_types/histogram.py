"""The class `Histogram`."""

from runlake.as_wandb.histogram import Histogram

__all__ = ["Histogram"]
