"""The class `Artifact`."""

from runlake.as_wandb.artifact import Artifact

__all__ = ["Artifact"]
