"""The function `init`."""

from runlake.as_wandb.session import init

__all__ = ["init"]
