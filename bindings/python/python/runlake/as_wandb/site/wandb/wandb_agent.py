"""Agents of sweeps."""

from runlake.as_wandb.sweep import agent

__all__ = ["agent"]
