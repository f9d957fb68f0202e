"""The class `Config`."""

from runlake.as_wandb.config import Config

__all__ = ["Config"]
