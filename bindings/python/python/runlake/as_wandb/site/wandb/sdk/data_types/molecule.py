"""The class `Molecule`."""

from runlake.as_wandb.media import Molecule

__all__ = ["Molecule"]
