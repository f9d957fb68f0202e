"""The bases of media."""

from runlake.as_wandb.media import BatchableMedia, Media

__all__ = ["BatchableMedia", "Media"]
