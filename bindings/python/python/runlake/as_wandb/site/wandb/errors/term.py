"""Lines on stderr."""

from runlake.as_wandb.term import termerror, termlog, termsetup, termwarn

__all__ = ["termerror", "termlog", "termsetup", "termwarn"]
