"""Levels of alerts."""

from runlake.as_wandb.alert import AlertLevel

__all__ = ["AlertLevel"]
