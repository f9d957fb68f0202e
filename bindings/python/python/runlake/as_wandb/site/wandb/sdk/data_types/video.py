"""The class `Video`."""

from runlake.as_wandb.media import Video

__all__ = ["Video"]
