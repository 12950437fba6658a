"""Curves of confidence: how often predictions are right that say so, and how few errors the surest of them hold."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubrika.eval.reliance import BINS
from rubrika.store.store import FloatArray

POINTS = 200


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions of about the same confidence: its mean, the part that is right, and how many they are."""

    confidence: float
    accuracy: float
    products: int


@dataclass(frozen=True, slots=True)
class Risk:
    """Of the `coverage` surest predictions, the part that is wrong."""

    coverage: float
    error: float


def reliability(confidences: FloatArray, right: NDArray[np.bool_]) -> list[Bin]:
    """The bins of the calibration error that are not empty, from the least confident."""
    bins = np.minimum((confidences * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    sure, true = np.bincount(bins, confidences, minlength=BINS), np.bincount(bins, right, minlength=BINS)
    return [
        Bin(float(sure[i] / count[i]), float(true[i] / count[i]), int(count[i])) for i in np.flatnonzero(count).tolist()
    ]


def risk(confidences: FloatArray, right: NDArray[np.bool_]) -> list[Risk]:
    """The curve at no more than 200 places, evenly spread over those where the confidence changes."""
    order = np.argsort(-confidences, kind="stable")
    errors = np.cumsum(~right[order])
    # Equal confidences stand or fall together.
    ends = np.flatnonzero(np.append(np.diff(confidences[order]) != 0, True)[: len(order)])
    kept = ends[np.unique(np.linspace(0, len(ends) - 1, POINTS).astype(int))] if len(ends) else ends
    return [Risk((place + 1) / len(order), float(errors[place]) / (place + 1)) for place in kept.tolist()]
