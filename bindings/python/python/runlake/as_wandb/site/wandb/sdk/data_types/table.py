"""The class `Table`."""

from runlake.as_wandb.table import Table

__all__ = ["Table"]
