"""Callbacks for a framework."""

from runlake.as_wandb.lightgbm import log_summary, wandb_callback

__all__ = ["log_summary", "wandb_callback"]
