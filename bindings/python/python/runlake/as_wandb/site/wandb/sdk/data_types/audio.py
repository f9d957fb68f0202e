"""The class `Audio`."""

from runlake.as_wandb.media import Audio

__all__ = ["Audio"]
