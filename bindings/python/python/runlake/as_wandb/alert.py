"""Levels of alerts."""

from __future__ import annotations

from enum import Enum


class AlertLevel(Enum):
    """How much an alert matters."""

    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"
