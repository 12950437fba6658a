"""Metrics of predicted categories, on arrays; the names and definitions are scikit-learn's."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1_000

Labels = NDArray[np.int64]
Weights = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Metrics:
    """F1 averaged over categories by their size and evenly, and the share of right answers, all in 0 … 1."""

    weighted_f1: float
    macro_f1: float
    accuracy: float


def metrics_of(truth: Labels, predicted: Labels) -> Metrics:
    """Compare predicted with true categories, both int64 (n,); macro F1 is over categories true or predicted."""
    if not len(truth):
        return Metrics(0.0, 0.0, 0.0)
    counted = _Counter(truth, predicted)
    f1, support = counted.f1(np.ones(len(truth)))
    return Metrics(float(f1 @ support / support.sum()), float(f1.mean()), float((truth == predicted).mean()))


def weighted_f1_interval(
    truth: Labels, predicted: Labels, groups: NDArray[np.int64] | None = None, seed: int = 0
) -> tuple[float, float]:
    """The 95 % bootstrap interval of weighted F1 (percentiles 2.5 and 97.5 of 1,000 resamples).

    Args:
        truth: true categories (n,).
        predicted: predicted categories (n,).
        groups: rows of one group are drawn together, as they were held out together; None: every row by itself.
        seed: of the resampling.
    """
    if not len(truth):
        return 0.0, 0.0
    low, high = np.percentile(_resampled(truth, predicted, groups, seed), [2.5, 97.5])
    return float(low), float(high)


def paired_difference(
    truth: Labels, one: Labels, other: Labels, groups: NDArray[np.int64] | None = None, seed: int = 0
) -> tuple[float, float]:
    """The 95 % paired bootstrap interval of weighted F1 of `one` minus that of `other`, on the same resampled rows."""
    first, second = (_resampled(truth, predicted, groups, seed) for predicted in (one, other))
    low, high = np.percentile(first - second, [2.5, 97.5])
    return float(low), float(high)


def _resampled(truth: Labels, predicted: Labels, groups: NDArray[np.int64] | None, seed: int) -> Weights:
    """Weighted F1 of each resample; the same seed draws the same rows whatever was predicted."""
    counted = _Counter(truth, predicted)
    group = np.arange(len(truth)) if groups is None else np.unique(groups, return_inverse=True)[1]
    size = int(group.max()) + 1
    random = np.random.default_rng(seed)
    scores = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        drawn = np.bincount(random.integers(size, size=size), minlength=size)
        f1, support = counted.f1(drawn[group].astype(np.float64))
        scores[i] = f1 @ support / support.sum()
    return scores


class _Counter:
    """Counts by category, the categories coded once for many weightings of the rows."""

    def __init__(self, truth: Labels, predicted: Labels) -> None:
        known, codes = np.unique(np.concatenate([truth, predicted]), return_inverse=True)
        self._size = len(known)
        self._truth, self._predicted = codes[: len(truth)], codes[len(truth) :]
        self._right = truth == predicted

    def f1(self, weights: Weights) -> tuple[Weights, Weights]:
        """F1 = 2·right / (true + predicted) and the true weight of each category."""
        right = np.bincount(self._truth[self._right], weights[self._right], minlength=self._size)
        true = np.bincount(self._truth, weights, minlength=self._size).astype(np.float64)
        predicted = np.bincount(self._predicted, weights, minlength=self._size)
        return 2 * right / np.maximum(true + predicted, 1e-12), true
