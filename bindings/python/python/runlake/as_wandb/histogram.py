"""`wandb.Histogram`: how values are spread."""

from __future__ import annotations

from collections.abc import Sequence

from runlake.as_wandb.media import WBValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Histogram(WBValue):
    """Counts of values in bins of one width.

    Args:
        sequence: the values.
        np_histogram: counts and edges in their stead, as `numpy.histogram` returns them.
        num_bins: how many bins the values are counted in.

    Raises:
        ValueError: neither values nor counts, more than 512 bins, or not one edge more than counts.

    >>> from runlake.as_wandb.histogram import Histogram
    >>> Histogram(np_histogram=([1, 2], [0.0, 0.5, 1.0])).histogram
    [1, 2]
    """

    MAX_LENGTH = 512

    histogram: list[Any]
    bins: list[float]

    def __init__(
        self, sequence: Sequence[Any] | None = None, np_histogram: tuple[Any, Any] | None = None, num_bins: int = 64
    ) -> None:
        if np_histogram is None:
            if sequence is None:
                raise ValueError("Histogram: give values in sequence=, or counts and edges in np_histogram=")
            import numpy

            np_histogram = numpy.histogram(numpy.asarray(sequence).ravel(), bins=num_bins)
        if len(np_histogram) != 2:
            raise ValueError(f"Histogram: np_histogram is counts and edges, not {len(np_histogram)} things")
        counts, edges = np_histogram
        self.histogram = counts.tolist() if hasattr(counts, "tolist") else list(counts)
        self.bins = edges.tolist() if hasattr(edges, "tolist") else list(edges)
        if len(self.histogram) > self.MAX_LENGTH:
            raise ValueError(f"Histogram: at most {self.MAX_LENGTH} bins, not {len(self.histogram)}")
        if len(self.bins) != len(self.histogram) + 1:
            raise ValueError(f"Histogram: {len(self.histogram)} counts need {len(self.histogram) + 1} edges")

    def to_json(self, run: object = None) -> dict[str, Any]:
        """Counts and edges as a dict."""
        return {"_type": "histogram", "values": self.histogram, "bins": self.bins}
