"""The function `setup`."""

from runlake.as_wandb.session import Setup, setup

__all__ = ["Setup", "setup"]
