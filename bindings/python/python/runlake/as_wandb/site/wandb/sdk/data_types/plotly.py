"""The class `Plotly`."""

from runlake.as_wandb.media import Plotly

__all__ = ["Plotly"]
