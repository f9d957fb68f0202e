"""Ids of runs."""

from runlake.as_wandb.util import generate_id

__all__ = ["generate_id"]
