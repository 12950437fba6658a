"""Figures of an evaluation: F1, bootstrap intervals, calibration, selective risk, the category tree, mistakes."""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubrika.products.split import IntArray, Mask
from rubrika.retrieve.confidence import AUTO, NEW, REVIEW, Decisions
from rubrika.retrieve.guarantee import curve_of
from rubrika.retrieve.tree import NO_NODE, Tree
from rubrika.store.base import FloatArray
from rubrika.vote import NO_CATEGORY

RESAMPLES = 1_000
BINS = 15
CURVE_POINTS = 200
SIZES = (0, 1, 5, 10, 20, 50, 100, 200, 500)  # the bins of `by_size`, by the smallest number of products in each
SIZE_NAMES = ("0", "1–4", "5–9", "10–19", "20–49", "50–99", "100–199", "200–499", "500+")

Interval = tuple[float, float]
Weights = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Metrics:
    """F1 averaged over categories by their size and evenly, and the part of correct predictions, all in 0 … 1."""

    weighted_f1: float
    macro_f1: float
    accuracy: float


def metrics_of(truth: IntArray, predicted: IntArray) -> Metrics:
    """Compare predicted with true categories, both (n,); macro F1 is over categories true or predicted.

    NO_CATEGORY, where nothing was predicted, is a mistake, and no category.
    """
    from sklearn.metrics import precision_recall_fscore_support

    if not len(truth):
        return Metrics(0.0, 0.0, 0.0)
    categories = np.setdiff1d(np.concatenate([truth, predicted]), NO_CATEGORY)
    *_, f1, support = precision_recall_fscore_support(truth, predicted, labels=categories, zero_division=0)
    return Metrics(float(f1 @ support / support.sum()), float(f1.mean()), float((truth == predicted).mean()))


def bootstrap_interval(statistic: Callable[[Weights], float], groups: IntArray, seed: int) -> Interval:
    """The 95 % bootstrap interval of a figure (percentiles 2.5 and 97.5 of 1,000 resamples).

    The figure is a function of how often each of n rows is drawn, float64 (n,). Rows with the same number in `groups`
    (n,) were held out together, and are drawn together; the same seed draws the same rows whatever the figure.
    """
    if not len(groups):
        return 0.0, 0.0
    group = np.unique(groups, return_inverse=True)[1]
    size, random = int(group.max()) + 1, np.random.default_rng(seed)
    drawn = (np.bincount(random.integers(size, size=size), minlength=size) for _ in range(RESAMPLES))
    low, high = np.percentile([statistic(counts[group].astype(np.float64)) for counts in drawn], [2.5, 97.5])
    return float(low), float(high)


def weighted_f1_interval(truth: IntArray, predicted: IntArray, groups: IntArray, seed: int = 0) -> Interval:
    """The interval of weighted F1; `groups` and `seed` as in `bootstrap_interval`."""
    return bootstrap_interval(_resampled_f1(truth, predicted), groups, seed)


def macro_f1_interval(truth: IntArray, predicted: IntArray, groups: IntArray, seed: int) -> Interval:
    """The interval of macro F1, in each resample over the categories that are true or predicted in it."""
    return bootstrap_interval(_resampled_f1(truth, predicted, macro=True), groups, seed)


def paired_difference(truth: IntArray, one: IntArray, other: IntArray, groups: IntArray, seed: int = 0) -> Interval:
    """The interval of weighted F1 of `one` minus that of `other`, on the same resampled rows."""
    first, second = _resampled_f1(truth, one), _resampled_f1(truth, other)
    return bootstrap_interval(lambda drawn: first(drawn) - second(drawn), groups, seed)


def hierarchical_f1_interval(truth: IntArray, predicted: IntArray, tree: Tree, groups: IntArray, seed: int) -> Interval:
    """The interval of hierarchical F1, as in `hierarchy_of`."""
    shared, total = overlap(truth, predicted, tree), tree.depths(truth) + tree.depths(predicted)
    return bootstrap_interval(lambda drawn: float(2 * (drawn @ shared) / max(float(drawn @ total), 1)), groups, seed)


def _resampled_f1(truth: IntArray, predicted: IntArray, macro: bool = False) -> Callable[[Weights], float]:
    known, codes = np.unique(np.concatenate([truth, predicted]), return_inverse=True)
    true, guess, right, size = codes[: len(truth)], codes[len(truth) :], truth == predicted, len(known)
    is_category = known != NO_CATEGORY

    def f1(drawn: Weights) -> float:
        support = np.bincount(true, drawn, size)
        total = support + np.bincount(guess, drawn, size)
        each = 2 * np.bincount(true[right], drawn[right], size) / np.maximum(total, 1e-12)
        return float(each[(total > 0) & is_category].mean()) if macro else float(each @ support / support.sum())

    return f1


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions of about the same confidence: its mean, the part that is correct, and how many they are."""

    confidence: float
    accuracy: float
    products: int


@dataclass(frozen=True, slots=True)
class Risk:
    """Of the `coverage` most confident predictions, the part that is wrong."""

    coverage: float
    error: float


def reliability(confidences: FloatArray, right: Mask) -> list[Bin]:
    """Predictions in 15 bins of equal width, the least confident first; empty bins are left out."""
    bins = np.minimum((confidences * BINS).astype(np.int64), BINS - 1)
    count, total, correct = (np.bincount(bins, weights, BINS) for weights in (None, confidences, right))
    used = np.flatnonzero(count)
    columns = total[used] / count[used], correct[used] / count[used], count[used]
    return [Bin(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def calibration_error(confidences: FloatArray, right: Mask) -> float:
    """Expected calibration error: the mean of |confidence - accuracy| over the bins, weighted by their size."""
    bins = reliability(confidences, right)
    return sum(each.products * abs(each.confidence - each.accuracy) for each in bins) / max(len(right), 1)


def risk(confidences: FloatArray, right: Mask) -> list[Risk]:
    """The risk–coverage curve at no more than 200 places, spread evenly over the ranks."""
    curve = curve_of(confidences, ~right, CURVE_POINTS)
    return [Risk(count / len(right), wrong / count) for _, count, wrong in curve]


def coverage(confidences: FloatArray, right: Mask, max_error: float) -> float:
    """The largest part of the most confident predictions in which at most `max_error` are wrong."""
    curve = curve_of(confidences, ~right, len(right))
    return max((count for _, count, wrong in curve if wrong <= max_error * count), default=0) / max(len(right), 1)


@dataclass(frozen=True, slots=True)
class SelectiveRisk:
    """How far confidences and decisions can be relied on; all in 0 … 1."""

    calibration_error: float  # expected calibration error, over 15 bins of equal width (Naeini et al., 2015)
    max_error: float  # the maximum error rate among automatic decisions
    auto: float  # the part of products decided automatically
    review: float  # the part sent to a person
    new: float  # the part flagged as a possible new category
    auto_error: float  # the part of automatic decisions that is wrong
    coverage: float  # the most confident part with at most `max_error` wrong, had the threshold been known


def selective_risk_of(decided: Decisions, right: Mask, max_error: float) -> SelectiveRisk:
    """Compare what was decided for n predictions with whether each was correct, (n,)."""
    parts = {kind: float((decided.decisions == kind).mean()) for kind in (AUTO, REVIEW, NEW)}
    auto = decided.decisions == AUTO
    return SelectiveRisk(
        calibration_error=calibration_error(decided.confidences, right),
        max_error=max_error,
        **parts,
        auto_error=float((~right[auto]).mean()) if auto.any() else 0.0,
        coverage=coverage(decided.confidences, right, max_error),
    )


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Figures in 0 … 1 that give a near miss its part.

    A category counts as the set of its levels, itself among them, the root left out; F1 is of these sets over all rows
    together (Kiritchenko et al., 2006).
    """

    f1: float
    levels: tuple[float, ...]  # accuracy at each, the top first; a category that ends above one stands for itself


def hierarchy_of(truth: IntArray, predicted: IntArray, tree: Tree) -> Hierarchy:
    """Compare predicted with true categories, both (n,); only the true ones need to be in the tree."""
    shared = int(overlap(truth, predicted, tree).sum())
    total = int(tree.depths(truth).sum() + tree.depths(predicted).sum())
    levels = tuple(float(same.mean()) for same in _same_nodes(truth, predicted, tree))
    return Hierarchy(2 * shared / max(total, 1), levels)


def overlap(truth: IntArray, predicted: IntArray, tree: Tree) -> IntArray:
    """How many levels each predicted category shares with the true one, int64 (n,)."""
    shallower = np.minimum(tree.depths(truth), tree.depths(predicted))
    return np.minimum(np.sum(_same_nodes(truth, predicted, tree), axis=0, dtype=np.int64), shallower)


def _same_nodes(truth: IntArray, predicted: IntArray, tree: Tree) -> list[Mask]:
    """At each level from the top, whether both are at the same node, (n,)."""
    deepest = int(np.concatenate([tree.depths(truth), tree.depths(predicted)]).max(initial=0))
    nodes = [(tree.nodes(truth, level), tree.nodes(predicted, level)) for level in range(1, deepest + 1)]
    return [(true == guess) & (true != NO_NODE) for true, guess in nodes]


@dataclass(frozen=True, slots=True)
class Score:
    """How well a category is predicted."""

    category_id: int
    learned: int  # how many of its products were learned from
    products: int  # how many were held out
    predicted: int  # how many held-out products were predicted to be of it
    right: int  # how many of these are
    f1: float
    taken_for: tuple[tuple[int, int], ...]  # other categories predicted for its products, with counts, most often first


@dataclass(frozen=True, slots=True)
class Size:
    """Categories learned from a similar number of products: their mean F1, and how many they are."""

    name: str
    categories: int
    products: int
    f1: float


def scores_of(truth: IntArray, predicted: IntArray, learned: IntArray) -> list[Score]:
    """The scores of all true categories, by id; `learned` has how many products of each row's are known."""
    all_predicted, learned_from = Counter(predicted.tolist()), dict(zip(truth.tolist(), learned.tolist(), strict=True))
    by_category = defaultdict[int, Counter[int]](Counter)
    for true, guess in zip(truth.tolist(), predicted.tolist(), strict=True):
        by_category[true][guess] += 1
    found = []
    for category, counts in sorted(by_category.items()):
        products, right, guesses = counts.total(), counts.pop(category, 0), all_predicted[category]
        taken_for = tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
        f1 = 2 * right / (products + guesses)
        found.append(Score(category, learned_from[category], products, guesses, right, f1, taken_for))
    return found


def by_size(scores: list[Score]) -> list[Size]:
    """Mean F1 of categories, by how many products they were learned from; bins without any are left out."""
    bins = defaultdict[int, list[Score]](list)
    for score, place in zip(scores, np.searchsorted(SIZES, [each.learned for each in scores], "right"), strict=True):
        bins[int(place) - 1].append(score)
    return [
        Size(SIZE_NAMES[place], len(inside), sum(s.products for s in inside), float(np.mean([s.f1 for s in inside])))
        for place, inside in sorted(bins.items())
    ]


@dataclass(frozen=True, slots=True)
class Mistake:
    """Products of one category taken for another: how many, of how many, and their rows, the most confident first."""

    category_id: int
    taken_for: int
    count: int
    products: int
    rows: tuple[int, ...]


def mistakes(truth: IntArray, predicted: IntArray, confidences: FloatArray, limit: int) -> list[Mistake]:
    """The `limit` most frequent mistakes among n predictions, ties by ids."""
    wrong, pairs = np.flatnonzero(truth != predicted), defaultdict[tuple[int, int], list[int]](list)
    for row in wrong[np.argsort(-confidences[wrong], kind="stable")].tolist():
        pairs[int(truth[row]), int(predicted[row])].append(row)
    most = sorted(pairs.items(), key=lambda item: (-len(item[1]), item[0]))[:limit]
    return [Mistake(*pair, len(rows), int((truth == pair[0]).sum()), tuple(rows)) for pair, rows in most]


def confusion(truth: IntArray, predicted: IntArray, categories: list[int]) -> list[list[int]]:
    """How many products of each of some categories are taken for each other of them; correct ones are left out."""
    from sklearn.metrics import confusion_matrix

    if not categories:
        return []
    table = confusion_matrix(truth, predicted, labels=categories)
    np.fill_diagonal(table, 0)
    counts: list[list[int]] = table.tolist()
    return counts
