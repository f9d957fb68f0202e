"""Small helpers."""

from runlake.as_wandb.util import *  # noqa: F403
