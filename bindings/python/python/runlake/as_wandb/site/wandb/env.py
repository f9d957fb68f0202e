"""Environment variables."""

from runlake.as_wandb.env import *  # noqa: F403
