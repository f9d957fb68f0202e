"""What can be wrong with a configuration."""

from runlake.as_wandb.errors import ConfigError

__all__ = ["ConfigError"]
