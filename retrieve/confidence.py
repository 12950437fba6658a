"""How likely a prediction is right, and whether it may stand without a review: evidence, calibration, decision."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rubrika.index.manifest import Calibration, Fit
from rubrika.retrieve.guarantee import Policy, curve_of, lowest_similarity, threshold
from rubrika.store.base import FloatArray, Hits
from rubrika.vote import Votes

AUTO, REVIEW, NEW = "auto", "review", "new"

# A hit counts exp(TEMPERATURE · (similarity - 1)): unlike in the vote, how near the nearest hit is counts too.
TEMPERATURE = 20.0
FLOOR = 1e-3
RIDGE = 1e-2
MARGIN = 1e-3
# Fewer predictions with known truth would say little about errors of a few percent.
MIN_ROWS = 50
# Confidences that are measured come from a model that has not seen the prediction: so many models share the work.
FOLDS = 5
SIMILARITIES = 100

Mask = NDArray[np.bool_]
Groups = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Decisions:
    """How likely each of n predictions is right, float32 (n,), and `auto`, `review` or `new`, (n,)."""

    confidences: FloatArray
    decisions: NDArray[np.str_]


def decide(
    hits: Mapping[str, Hits],
    votes: Votes,
    weights: Mapping[str, float],
    calibration: Calibration,
    policy: Policy,
    level: int | None = None,
) -> Decisions:
    """Decide which predictions may stand without a review; with a `level`, of categories there."""
    fit = calibration.leaf if level is None else calibration.level(level)
    confidences = confidence(evidence(hits, votes, weights), fit)
    confidences = np.where(votes.shares[:, 0] > 0, confidences, np.float32(0))
    # Where nothing was found, the similarity is -inf, below every bound: that product is new, too.
    unlike = nearest(hits) < lowest_similarity(calibration, policy)
    return Decisions(confidences, rethreshold(confidences, unlike, threshold(fit, policy)))


def rethreshold(confidences: FloatArray, unlike: Mask, auto_from: float) -> NDArray[np.str_]:
    """Decisions (n,) for confidences; `unlike` marks the products that resemble no known category."""
    return np.where(unlike, NEW, np.where(confidences >= auto_from, AUTO, REVIEW))


def evidence(hits: Mapping[str, Hits], votes: Votes, weights: Mapping[str, float]) -> FloatArray:
    """The logarithms of the evidence for each winner and of that against it, float32 (n, 2)."""
    agreeing, total = np.zeros(len(votes.winners)), np.zeros(len(votes.winners))
    for name, found in hits.items():
        counts = weights[name] * np.exp(TEMPERATURE * (found.scores.astype(np.float64) - 1))
        total += counts.sum(axis=1)
        agreeing += np.where(found.categories == votes.winners[:, None], counts, 0).sum(axis=1)
    both = np.stack([agreeing, np.maximum(total - agreeing, 0)], axis=1)
    return np.asarray(np.log(both + FLOOR), np.float32)


def confidence(evidence: FloatArray, fit: Fit) -> FloatArray:
    """How likely each prediction is right, float32 (n,) in 0 … 1."""
    constant, *weights = fit.weights
    score = evidence.astype(np.float64) @ np.array(weights) + constant
    return np.asarray(np.interp(score, fit.scores, fit.confidences), np.float32)


def nearest(hits: Mapping[str, Hits]) -> FloatArray:
    """The similarity of the nearest hit of the main named vector, (n,); -inf where nothing was found."""
    return next(iter(hits.values())).scores[:, 0]


def fit(evidence: FloatArray, right: Mask, groups: Groups) -> Fit:
    """Fit to n predictions: their evidence (n, 2), whether each is right, and groups of near duplicates, from 0.

    The curve is of confidences that were cross-fitted: each by a model of other groups.
    """
    if len(right) < MIN_ROWS:
        raise ValueError(f"a calibration needs {MIN_ROWS} predictions with known truth, not {len(right)}")
    fold = np.random.default_rng(0).permutation(groups.max() + 1)[groups] % FOLDS
    confidences = np.zeros(len(right), np.float32)
    for number in np.unique(fold):
        mine = fold == number
        rest = ~mine if not mine.all() else mine
        confidences[mine] = confidence(evidence[mine], _model(evidence[rest], right[rest]))
    model, surprise = _model(evidence, right), confidences - right
    together = np.bincount(groups, surprise)
    # How many times more the number of errors varies than if near duplicates were not wrong together.
    design = float(np.square(together).sum() / max(np.square(surprise).sum(), 1e-9))
    return replace(model, curve=curve_of(confidences, ~right), design=round(max(design, 1.0), 3))


def similarities(nearest: FloatArray) -> tuple[tuple[float, int], ...]:
    """Some of n similarities, ascending, each with how many are less."""
    ranked = np.sort(nearest[np.isfinite(nearest)])
    places = np.unique(np.geomspace(1, max(len(ranked), 1), SIMILARITIES).astype(np.int64) - 1)[: len(ranked)]
    values = np.floor(ranked[places].astype(np.float64) * 1e5) / 1e5
    return tuple(zip(values.tolist(), np.searchsorted(ranked, values).tolist(), strict=True))


def _model(evidence: FloatArray, right: Mask) -> Fit:
    weights = np.round(logistic(evidence, right), 4)
    scores, confidences = isotonic(evidence.astype(np.float64) @ weights[1:] + weights[0], right)
    constant, supporting, opposing = weights.tolist()
    steps = [tuple(np.round(each, 4).tolist()) for each in (scores, confidences)]
    return Fit((constant, supporting, opposing), steps[0], steps[1])


def logistic(features: FloatArray, right: Mask) -> NDArray[np.float64]:
    """The weights of a constant and the features in a logistic model of being right, finite thanks to a ridge."""
    from sklearn.linear_model import LogisticRegression

    rows = np.column_stack([np.ones(len(right)), features]).astype(np.float64)
    # Both outcomes of every row, of which only the true one has a weight: all rows may then be right.
    model = LogisticRegression(C=1 / RIDGE, fit_intercept=False, solver="newton-cholesky", tol=1e-8)
    model.fit(np.concatenate([rows, rows]), np.repeat([1, 0], len(rows)), np.concatenate([right, ~right]))
    return np.asarray(model.coef_[0])


def isotonic(scores: NDArray[np.float64], right: Mask) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The middle and the level of each step of an isotonic regression.

    scikit-learn's gives the ends of the steps; between middles, predictions of one step still differ in confidence.
    """
    from scipy.optimize import isotonic_regression

    order = np.argsort(scores, kind="stable")
    fitted = isotonic_regression(right[order].astype(np.float64))
    starts, ends = fitted.blocks[:-1], fitted.blocks[1:]
    middles = np.add.reduceat(scores[order], starts) / (ends - starts)
    return middles, np.clip(fitted.x[starts], MARGIN, 1 - MARGIN)
