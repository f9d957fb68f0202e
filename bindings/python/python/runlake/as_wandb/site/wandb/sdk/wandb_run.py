"""The class `Run`."""

from runlake.as_wandb.run import Run

__all__ = ["Run"]
