"""The base of all of them."""

from runlake.as_wandb.media import WBValue

__all__ = ["WBValue"]
