"""The class `Metric`."""

from runlake.as_wandb.metric import Metric

__all__ = ["Metric"]
