"""The class `Image`."""

from runlake.as_wandb.media import Image

__all__ = ["Image"]
