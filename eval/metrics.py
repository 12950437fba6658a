"""Figures of an evaluation: F1, intervals, risk and coverage, the tree, categories and mistakes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubrika.metrics import RESAMPLES
from rubrika.retrieve.confidence import AUTO, NEW, REVIEW, Decisions
from rubrika.retrieve.tree import NO_NODE, Tree
from rubrika.store.base import FloatArray

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


BINS = 15

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SelectiveRisk:
    """Figures in 0 … 1.

    Args:
        calibration_error: expected calibration error, over 15 bins of equal width (Naeini et al., 2015).
        max_error: the part of automatic answers that may be wrong.
        auto: the part of products decided automatically.
        review: the part sent to a person.
        new: the part that looks like no known category.
        auto_error: the part of automatic answers that is wrong.
        coverage: the largest part whose most confident answers keep to `max_error`, had the threshold been known.
    """

    calibration_error: float
    max_error: float
    auto: float
    review: float
    new: float
    auto_error: float
    coverage: float


def selective_risk_of(decided: Decisions, right: Mask, max_error: float) -> SelectiveRisk:
    """Compare what was decided of n predictions with whether each was right, (n,)."""
    parts = {kind: float((decided.decisions == kind).mean()) for kind in (AUTO, REVIEW, NEW)}
    auto = decided.decisions == AUTO
    return SelectiveRisk(
        calibration_error=calibration_error(decided.confidences, right),
        max_error=max_error,
        **parts,
        auto_error=float((~right[auto]).mean()) if auto.any() else 0.0,
        coverage=coverage(decided.confidences, right, max_error),
    )


def calibration_error(confidences: FloatArray, right: Mask) -> float:
    """The mean difference between confidence and accuracy within a bin, bins weighted by their size."""
    bins = np.minimum((confidences * BINS).astype(np.int64), BINS - 1)
    sure = np.bincount(bins, confidences, minlength=BINS)
    true = np.bincount(bins, right, minlength=BINS)
    return float(np.abs(sure - true).sum() / max(len(right), 1))


def coverage(confidences: FloatArray, right: Mask, max_error: float) -> float:
    """The largest part of the most confident predictions in which at most `max_error` are wrong."""
    order = np.argsort(-confidences, kind="stable")
    errors = np.cumsum(~right[order]) / np.arange(1, len(order) + 1)
    # Equal confidences stand or fall together.
    ends = np.append(np.diff(confidences[order]) != 0, True)
    kept = np.flatnonzero(ends & (errors <= max_error))
    return float(kept[-1] + 1) / len(order) if len(kept) else 0.0


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Figures in 0 … 1 that give a near miss its part.

    A category counts as the set of its levels, itself among them, the root left out; precision and recall are of these
    sets over all rows together (Kiritchenko et al., 2006), F1 is their harmonic mean.

    Args:
        precision: the part of the predicted levels that are true.
        recall: the part of the true levels that are predicted.
        f1: between them.
        levels: accuracy at each level, the top first; a category that ends above a level is there by itself.
    """

    precision: float
    recall: float
    f1: float
    levels: tuple[float, ...]


def hierarchy_of(truth: Labels, predicted: Labels, tree: Tree) -> Hierarchy:
    """Compare predicted with true categories.

    Args:
        truth: category ids, int64 (n,), all known to the tree.
        predicted: category ids, int64 (n,); one that the tree does not know has no level in common with any.
        tree: the paths of the categories.
    """
    if not len(truth):
        return Hierarchy(0.0, 0.0, 0.0, ())
    true, said = int(tree.depths(truth).sum()), int(tree.depths(predicted).sum())
    shared = int(overlap(truth, predicted, tree).sum())
    return Hierarchy(
        precision=shared / max(said, 1),
        recall=shared / max(true, 1),
        f1=2 * shared / max(said + true, 1),
        levels=tuple(float(same.mean()) for same in _same(truth, predicted, tree)),
    )


def overlap(truth: Labels, predicted: Labels, tree: Tree) -> Labels:
    """How many levels each predicted category shares with the true one, int64 (n,); arguments as in `hierarchy_of`."""
    shallower = np.minimum(tree.depths(truth), tree.depths(predicted))
    shared = np.zeros(len(truth), np.int64)
    for level, same in enumerate(_same(truth, predicted, tree), start=1):
        shared += same & (level <= shallower)
    return shared


def _same(truth: Labels, predicted: Labels, tree: Tree) -> Iterator[NDArray[np.bool_]]:
    """At each level from the top, whether both are at the same node, (n,)."""
    deepest = int(max(tree.depths(truth).max(initial=0), tree.depths(predicted).max(initial=0)))
    for level in range(1, deepest + 1):
        nodes = tree.nodes(truth, level)
        yield (nodes == tree.nodes(predicted, level)) & (nodes != NO_NODE)


# The smallest number of products in each bin.
SIZES = (0, 1, 5, 10, 20, 50, 100, 200, 500)


@dataclass(frozen=True, slots=True)
class Score:
    """How well a category is predicted.

    Args:
        category_id: which.
        learned: how many of its products were learned from.
        products: how many were held out.
        predicted: how many held-out products were predicted to be of it.
        right: how many of these are.
        f1: of both.
        taken_for: what its products are taken for, most often first, ties by id, with how many of them; the category
            itself is not among these.
    """

    category_id: int
    learned: int
    products: int
    predicted: int
    right: int
    f1: float
    taken_for: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Size:
    """Categories learned from a like number of products: their mean F1, and how many they are."""

    name: str
    categories: int
    products: int
    f1: float


def scores_of(truth: Labels, predicted: Labels, learned: Labels) -> list[Score]:
    """The score of every category that has a held-out product, by id.

    Args:
        truth: true categories (n,).
        predicted: predicted categories (n,).
        learned: how many products of each true category were learned from (n,).
    """
    known, first, products = np.unique(truth, return_index=True, return_counts=True)
    said = dict(zip(*(array.tolist() for array in np.unique(predicted, return_counts=True)), strict=True))
    pairs, counts = np.unique(np.stack([truth, predicted], axis=1), axis=0, return_counts=True)
    found = []
    # The pairs are in the order of the true category, so each has a run of them.
    bounds = [*np.searchsorted(pairs[:, 0], known, side="left").tolist(), len(pairs)]
    for place, category in enumerate(known.tolist()):
        run = slice(bounds[place], bounds[place + 1])
        taken = dict(zip(pairs[run, 1].tolist(), counts[run].tolist(), strict=True))
        right, true, all_said = taken.pop(category, 0), int(products[place]), said.get(category, 0)
        ordered = tuple(sorted(taken.items(), key=lambda item: (-item[1], item[0])))
        f1 = 2 * right / (true + all_said)
        found.append(Score(category, int(learned[first[place]]), true, all_said, right, f1, ordered))
    return found


def by_size(scores: list[Score]) -> list[Size]:
    """Mean F1 of categories, by how many products they were learned from; bins without any are left out."""
    bins = np.searchsorted(SIZES, [score.learned for score in scores], side="right") - 1
    found = []
    for number, low in enumerate(SIZES):
        inside = [score for score, own in zip(scores, bins, strict=True) if own == number]
        if inside:
            mean = float(np.mean([score.f1 for score in inside]))
            found.append(Size(_name(number, low), len(inside), sum(score.products for score in inside), mean))
    return found


def _name(number: int, low: int) -> str:
    if number + 1 == len(SIZES):
        return f"{low}+"
    high = SIZES[number + 1] - 1
    return str(low) if low == high else f"{low}–{high}"


@dataclass(frozen=True, slots=True)
class Mistake:
    """Products of one category that are taken for another: how many, of how many, and their rows, the surest first."""

    category_id: int
    taken_for: int
    count: int
    products: int
    rows: tuple[int, ...]


def mistakes(truth: Labels, predicted: Labels, confidences: NDArray[np.float32], limit: int) -> list[Mistake]:
    """The `limit` most frequent mistakes, ties by ids.

    Args:
        truth: true categories (n,).
        predicted: predicted categories (n,).
        confidences: of the predictions (n,).
        limit: how many to return.
    """
    wrong = np.flatnonzero(truth != predicted)
    pairs, of, counts = np.unique(
        np.stack([truth[wrong], predicted[wrong]], axis=1), axis=0, return_inverse=True, return_counts=True
    )
    found = []
    for pair in np.lexsort((pairs[:, 1], pairs[:, 0], -counts))[:limit].tolist():
        rows = wrong[of.ravel() == pair]
        surest = rows[np.argsort(-confidences[rows], kind="stable")]
        true, said = pairs[pair].tolist()
        found.append(Mistake(true, said, int(counts[pair]), int((truth == true).sum()), tuple(surest.tolist())))
    return found


def confusion(truth: Labels, predicted: Labels, categories: list[int]) -> list[list[int]]:
    """How many products of each of some categories are taken for each other of them; the right ones are left out."""
    known = np.array(categories, np.int64)
    inside = np.isin(truth, known) & np.isin(predicted, known) & (truth != predicted)
    order = np.argsort(known)
    counts = np.zeros((len(known), len(known)), np.int64)
    rows, columns = (order[np.searchsorted(known[order], labels[inside])] for labels in (truth, predicted))
    np.add.at(counts, (rows, columns), 1)
    table: list[list[int]] = counts.tolist()
    return table
