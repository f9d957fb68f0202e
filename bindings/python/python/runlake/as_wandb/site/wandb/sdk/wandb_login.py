"""The function `login`."""

from runlake.as_wandb.session import login

__all__ = ["login"]
