"""The table that a bench prints: what was measured, and the limit that it must keep."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple


class Figure(NamedTuple):
    """One measured number."""

    what: str
    value: float
    unit: str
    limit: float | None = None
    """The most that it may be."""
    note: str = ""
    at_least: bool = False
    """The limit is the least that it may be."""

    @property
    def missed(self) -> bool:
        if self.limit is None:
            return False
        return self.value < self.limit if self.at_least else self.value > self.limit


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def show(title: str, figures: Sequence[Figure]) -> None:
    """Prints the table."""
    width = max(len(figure.what) for figure in figures)
    print(f"\n{title}\n" + "-" * len(title))
    for figure in figures:
        kind = "least" if figure.at_least else "limit"
        limit = "" if figure.limit is None else f"{kind} {figure.limit:.4g} {figure.unit}"
        mark = "" if figure.limit is None else "MISSED" if figure.missed else "kept"
        line = f"{figure.what:<{width}}  {figure.value:>10,.2f} {figure.unit:<8}{limit:<16}{mark:<8}{figure.note}"
        print(line.rstrip())
    sys.stdout.flush()


def verdict(figures: Sequence[Figure], check: bool) -> int:
    """The exit code of a bench: 1 where it is to check and a limit is missed."""
    return int(check and any(figure.missed for figure in figures))
