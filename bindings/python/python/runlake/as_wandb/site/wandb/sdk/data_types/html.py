"""The class `Html`."""

from runlake.as_wandb.media import Html

__all__ = ["Html"]
