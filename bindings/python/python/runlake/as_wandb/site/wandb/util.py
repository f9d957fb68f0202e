"""Small helpers."""

from runlake.as_wandb.integration import *  # noqa: F403
