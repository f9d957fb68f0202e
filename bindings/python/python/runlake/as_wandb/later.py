"""What comes in a later version: its names are there, and what becomes of it is said, once in a process."""

from __future__ import annotations

from runlake._errors import not_yet
from runlake.as_wandb.errors import UnsupportedError

WHAT = {
    "artifacts": "not stored yet; their files stay where they are",
    "images, audio, video, tables, plots and other media": "not stored yet; the numbers logged beside them are",
    "histograms": "not stored yet; the numbers logged beside them are",
    "text and lists": "the summary keeps the last one of each key; those before are not stored yet",
    "console output": "not stored yet",
    "log_code()": "stores no code yet; the git commit is kept with the run",
    "sync_tensorboard": "reads nothing of TensorBoard yet; log the numbers themselves",
}
"""What it is, and what becomes of it instead."""


def say(what: str) -> None:
    """Says once in a process what becomes of something."""
    not_yet(f"wandb: {what}", WHAT[what])


def refused(what: str, instead: str) -> UnsupportedError:
    """An exception for what cannot go on without its result."""
    return UnsupportedError(f"{what} is not in runlake yet; {instead}")
