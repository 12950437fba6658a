"""How numbers such as lengths are spread: a few quantiles, and a histogram."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 30
# What is longer than all but one in a hundred would squeeze the rest of a histogram into its first bars.
DRAWN = 0.99

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many lie from each edge (n + 1,) up to the next; `beyond` are above the last."""

    edges: list[int]
    counts: list[int]
    beyond: int


@dataclass(frozen=True, slots=True)
class Spread:
    """How whole numbers from 0 up are spread; every quantile is one of them."""

    min: int
    median: int
    p90: int
    p95: int
    max: int
    mean: float
    histogram: Histogram

    @classmethod
    def of(cls, numbers: Numbers) -> "Spread":
        """Of numbers (n,), with bins of equal width, at least one number."""
        drawn = int(np.quantile(numbers, DRAWN, method="inverted_cdf"))
        width = drawn // BINS + 1
        return cls._with(numbers, np.arange(0, drawn + width + 1, width))

    @classmethod
    def doubling(cls, numbers: Numbers) -> "Spread":
        """Of numbers (n,) from 1 up, with bins 1, 2–3, 4–7 …: for a long tail; at least one number."""
        return cls._with(numbers, 2 ** np.arange(int(numbers.max()).bit_length() + 1))

    @classmethod
    def _with(cls, numbers: Numbers, edges: Numbers) -> "Spread":
        least, median, p90, p95, most = np.quantile(numbers, (0, 0.5, 0.9, 0.95, 1), method="inverted_cdf").tolist()
        # Not np.histogram, whose last bin holds its upper edge too.
        counts = np.bincount(np.searchsorted(edges, numbers, side="right"), minlength=len(edges) + 1)[1:].tolist()
        drawn = Histogram(edges.tolist(), counts[:-1], counts[-1])
        return cls(least, median, p90, p95, most, round(float(numbers.mean()), 2), drawn)
