"""Exceptions."""

from runlake.as_wandb.errors import *  # noqa: F403
