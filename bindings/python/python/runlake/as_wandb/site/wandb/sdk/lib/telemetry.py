"""What integrations say of themselves to wandb; nobody is told."""

from runlake.as_wandb.telemetry import context

__all__ = ["context"]
