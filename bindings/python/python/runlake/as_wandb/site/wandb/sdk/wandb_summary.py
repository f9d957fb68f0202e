"""The class `Summary`."""

from runlake.as_wandb.summary import Summary

__all__ = ["Summary"]
