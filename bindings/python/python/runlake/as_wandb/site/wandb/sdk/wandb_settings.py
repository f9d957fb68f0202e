"""The class `Settings`."""

from runlake.as_wandb.settings import Settings

__all__ = ["Settings"]
