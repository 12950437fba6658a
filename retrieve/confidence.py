"""How likely a prediction is right, and whether it may stand without a review: evidence, calibration, decision."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rubrika.index.manifest import MAX_ERROR, Calibration
from rubrika.store.base import FloatArray, Hits
from rubrika.vote import Votes

AUTO, REVIEW, NEW = "auto", "review", "new"

# A hit counts exp(TEMPERATURE · (similarity - 1)): unlike in the vote, how near the nearest hit is counts too.
TEMPERATURE = 20.0
FLOOR = 1e-3
# The part of known products that may be flagged as a possible new category.
NEW_RATE = 0.02
# Error rates among automatic decisions that can be asked for.
ERROR_RATES = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3)
RIDGE = 1e-2
MARGIN = 1e-3
# Fewer held-out products would say little about errors of a few percent.
MIN_ROWS = 50

Mask = NDArray[np.bool_]


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
    max_error: float = MAX_ERROR,
) -> Decisions:
    """Decide which predictions may stand without a review, `max_error` being the maximum error rate among them."""
    confidences = confidence(evidence(hits, votes, weights), calibration)
    confidences = np.where(votes.shares[:, 0] > 0, confidences, np.float32(0))
    # Where nothing was found, the similarity is -inf, below every bound: that product is new, too.
    unlike = nearest(hits) < calibration.new_below
    return Decisions(confidences, rethreshold(confidences, unlike, calibration.auto_from(max_error)))


def rethreshold(confidences: FloatArray, unlike: Mask, auto_from: float) -> NDArray[np.str_]:
    """Decisions (n,) for confidences; `unlike` marks the products that resemble no known category."""
    return np.where(unlike, NEW, np.where(confidences >= auto_from, AUTO, REVIEW))


def evidence(hits: Mapping[str, Hits], votes: Votes, weights: Mapping[str, float]) -> FloatArray:
    """The logarithms of the evidence for and against each winner, float32 (n, 2); arguments as of `decide`."""
    agreeing, total = np.zeros(len(votes.winners)), np.zeros(len(votes.winners))
    for name, found in hits.items():
        counts = weights[name] * np.exp(TEMPERATURE * (found.scores.astype(np.float64) - 1))
        total += counts.sum(axis=1)
        agreeing += np.where(found.categories == votes.winners[:, None], counts, 0).sum(axis=1)
    both = np.log(np.stack([agreeing, np.maximum(total - agreeing, 0)], axis=1) + FLOOR)
    return both.astype(np.float32)


def confidence(evidence: FloatArray, calibration: Calibration) -> FloatArray:
    """How likely each prediction is right, float32 (n,) in 0 … 1."""
    constant, *weights = calibration.weights
    score = evidence @ np.array(weights) + constant
    confidences: FloatArray = np.interp(score, calibration.scores, calibration.confidences).astype(np.float32)
    return confidences


def nearest(hits: Mapping[str, Hits]) -> FloatArray:
    """The similarity of the nearest hit of the main named vector, (n,); -inf where nothing was found."""
    return next(iter(hits.values())).scores[:, 0]


def fit(evidence: FloatArray, right: Mask, nearest: FloatArray) -> Calibration:
    """Fit a calibration to n predictions: their evidence (n, 2), whether each is right, and the nearest similarity.

    A ValueError says that there are too few.
    """
    if len(right) < MIN_ROWS:
        raise ValueError(f"a calibration needs {MIN_ROWS} predictions with known truth, not {len(right)}")
    constant, agreeing, other = np.round(logistic(evidence, right), 4).tolist()
    scores, confidences = _isotonic(evidence @ np.array([agreeing, other]) + constant, right)
    calibration = Calibration(
        weights=(constant, agreeing, other),
        scores=tuple(np.round(scores, 4).tolist()),
        confidences=tuple(np.round(confidences, 4).tolist()),
        risk=(),
        new_below=round(float(np.quantile(nearest, NEW_RATE)), 4),
        rows=len(right),
    )
    return replace(calibration, risk=risk(confidence(evidence, calibration), right))


def logistic(features: FloatArray, right: Mask) -> NDArray[np.float64]:
    """The weights of a constant and the features in a logistic model of being right, finite thanks to a ridge."""
    from sklearn.linear_model import LogisticRegression

    rows = np.column_stack([np.ones(len(right)), features]).astype(np.float64)
    # Both outcomes of every row, of which only the true one has a weight: all rows may then be right.
    model = LogisticRegression(C=1 / RIDGE, fit_intercept=False, solver="newton-cholesky", tol=1e-8)
    model.fit(np.concatenate([rows, rows]), np.repeat([1, 0], len(rows)), np.concatenate([right, ~right]))
    weights: NDArray[np.float64] = model.coef_[0]
    return weights


def _isotonic(scores: NDArray[np.float64], right: Mask) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The middle and the level of each step of an isotonic regression.

    scikit-learn's gives the ends of the steps; between middles, predictions of one step still differ in confidence.
    """
    from scipy.optimize import isotonic_regression

    order = np.argsort(scores, kind="stable")
    fitted = isotonic_regression(right[order].astype(np.float64))
    starts, ends = fitted.blocks[:-1], fitted.blocks[1:]
    middles = np.add.reduceat(scores[order], starts) / (ends - starts)
    return middles, np.clip(fitted.x[starts], MARGIN, 1 - MARGIN)


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """The risk–coverage curve, each (m,): equal confidences stand or fall together."""

    coverage: NDArray[np.float64]  # the part of the predictions that stand, ascending
    error: NDArray[np.float64]  # the part of these that is wrong
    confidence: FloatArray  # the lowest of these


def risk_coverage(confidences: FloatArray, right: Mask) -> RiskCoverage:
    """The curve of n predictions."""
    order = np.argsort(-confidences, kind="stable")
    count, ranked = np.arange(1, len(order) + 1), confidences[order]
    ends = np.flatnonzero(np.diff(ranked, append=-np.inf))
    return RiskCoverage(count[ends] / max(len(order), 1), np.cumsum(~right[order])[ends] / count[ends], ranked[ends])


def risk(confidences: FloatArray, right: Mask) -> tuple[tuple[float, float], ...]:
    """The lowest confidence that keeps each of ERROR_RATES that can be kept, and the error rate from there up."""
    curve = risk_coverage(confidences, right)
    kept = [np.flatnonzero(curve.error <= rate) for rate in ERROR_RATES]
    places = sorted({int(found[-1]) for found in kept if len(found)})
    # Rounded down, so that the prediction itself stays above.
    bounds = np.floor(curve.confidence[places].astype(np.float64) * 1e5) / 1e5
    return tuple(zip(bounds.tolist(), np.round(curve.error[places], 5).tolist(), strict=True))
