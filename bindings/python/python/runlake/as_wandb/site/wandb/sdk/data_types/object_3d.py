"""The class `Object3D`."""

from runlake.as_wandb.media import Object3D

__all__ = ["Object3D"]
