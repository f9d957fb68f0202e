"""Ids of runs."""

from runlake.as_wandb.integration import generate_id

__all__ = ["generate_id"]
