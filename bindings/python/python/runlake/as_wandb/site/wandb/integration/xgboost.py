"""Callbacks for a framework."""

from runlake.as_wandb.xgboost import WandbCallback, wandb_callback

__all__ = ["WandbCallback", "wandb_callback"]
