"""Sweeps."""

from runlake.as_wandb.sweep import controller, sweep

__all__ = ["controller", "sweep"]
