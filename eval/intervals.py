"""95 % bootstrap intervals of macro and hierarchical F1, drawn as those of weighted F1 are: group by group."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rubrika.eval.hierarchy import overlap
from rubrika.metrics import RESAMPLES
from rubrika.retrieve.tree import Tree

Labels = NDArray[np.int64]
Interval = tuple[float, float]


def macro_f1_interval(truth: Labels, predicted: Labels, groups: Labels, seed: int) -> Interval:
    """The interval of macro F1, in each resample over the categories that are true or predicted in it.

    Args:
        truth: true categories (n,).
        predicted: predicted categories (n,).
        groups: rows of one group are drawn together (n,).
        seed: of the resampling.
    """
    known, codes = np.unique(np.concatenate([truth, predicted]), return_inverse=True)
    true, said, right = codes[: len(truth)], codes[len(truth) :], truth == predicted
    scores = []
    for drawn in _drawn(groups, seed):
        hits = np.bincount(true[right], drawn[right], minlength=len(known))
        total = np.bincount(true, drawn, minlength=len(known)) + np.bincount(said, drawn, minlength=len(known))
        there = total > 0
        scores.append(float((2 * hits[there] / total[there]).mean()))
    return _interval(scores)


def hierarchical_f1_interval(truth: Labels, predicted: Labels, tree: Tree, groups: Labels, seed: int) -> Interval:
    """The interval of hierarchical F1; arguments as in `macro_f1_interval`, and the tree of the categories."""
    shared, total = overlap(truth, predicted, tree), tree.depths(truth) + tree.depths(predicted)
    return _interval([float(2 * (drawn @ shared) / max(float(drawn @ total), 1.0)) for drawn in _drawn(groups, seed)])


def _drawn(groups: Labels, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each row is drawn, (n,), in each resample; the same seed draws the same rows."""
    group = np.unique(groups, return_inverse=True)[1]
    size = int(group.max()) + 1 if len(group) else 0
    random = np.random.default_rng(seed)
    for _ in range(RESAMPLES if size else 0):
        yield np.bincount(random.integers(size, size=size), minlength=size)[group].astype(np.float64)


def _interval(scores: list[float]) -> Interval:
    if not scores:
        return 0.0, 0.0
    low, high = np.percentile(scores, [2.5, 97.5])
    return float(low), float(high)
