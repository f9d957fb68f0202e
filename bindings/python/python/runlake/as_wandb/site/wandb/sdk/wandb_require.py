"""The function `require`."""

from runlake.as_wandb.session import require

__all__ = ["require"]
