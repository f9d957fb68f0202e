"""The class `Run`, under an old name."""

from runlake.as_wandb.run import Run

__all__ = ["Run"]
