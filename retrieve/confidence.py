"""How sure a prediction is: evidence, calibration, decision."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from rubrika.index.manifest import MAX_ERROR, Calibration
from rubrika.store.base import FloatArray, Hits
from rubrika.vote import Votes

# A hit counts exp(SHARPNESS · (similarity - 1)): unlike in the vote, how near the nearest hit is counts too.
SHARPNESS = 20.0
FLOOR = 1e-3


def evidence(hits: Mapping[str, Hits], votes: Votes, weights: Mapping[str, float]) -> FloatArray:
    """The logarithms of the evidence for and against each winner, float32 (n, 2).

    Args:
        hits: by named vector.
        votes: their outcome.
        weights: of the named vectors.
    """
    agreeing = np.zeros(len(votes.winners))
    total = np.zeros(len(votes.winners))
    for name, found in hits.items():
        counts = weights[name] * np.exp(SHARPNESS * (found.scores.astype(np.float64) - 1))
        total += counts.sum(axis=1)
        agreeing += np.where(found.categories == votes.winners[:, None], counts, 0).sum(axis=1)
    both = np.log(np.stack([agreeing, np.maximum(total - agreeing, 0)], axis=1) + FLOOR)
    return both.astype(np.float32)


def nearest(hits: Mapping[str, Hits]) -> NDArray[np.float32]:
    """How similar the nearest hit of the main named vector is, (n,); -inf where nothing was found."""
    return next(iter(hits.values())).scores[:, 0]


# Of the known products, so many may be called new.
NEW_RATE = 0.02
# Errors among automatic answers that somebody may ask for.
LEVELS = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3)
NEWTON_STEPS = 25
RIDGE = 1e-2
MARGIN = 1e-3
# Fewer held-out products would say little about errors of a few percent.
MIN_ROWS = 50

Mask = NDArray[np.bool_]


def fit(evidence: FloatArray, right: Mask, nearest: NDArray[np.float32]) -> Calibration:
    """Fit.

    Args:
        evidence: of n predictions, (n, 2), as `evidence.evidence` gives it.
        right: whether each was right (n,).
        nearest: how similar the nearest neighbour was (n,).

    Raises:
        ValueError: there are too few predictions to learn from.
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


def confidence(evidence: FloatArray, calibration: Calibration) -> FloatArray:
    """How likely each prediction is right, float32 (n,) in 0 … 1."""
    constant, *weights = calibration.weights
    score = evidence @ np.array(weights) + constant
    confidences: FloatArray = np.interp(score, calibration.scores, calibration.confidences).astype(np.float32)
    return confidences


def logistic(features: FloatArray, right: Mask) -> NDArray[np.float64]:
    """Weights of a constant and the features, by Newton's method with a little ridge, so that they stay finite."""
    rows = np.column_stack([np.ones(len(right)), features]).astype(np.float64)
    weights = np.zeros(rows.shape[1])
    for _ in range(NEWTON_STEPS):
        probability = 1 / (1 + np.exp(-rows @ weights))
        slope = rows.T @ (right - probability) - RIDGE * weights
        curvature = (rows * (probability * (1 - probability))[:, None]).T @ rows + RIDGE * np.eye(len(weights))
        step = np.linalg.solve(curvature, slope)
        weights += step
        if abs(step).max() < 1e-8:
            break
    return weights


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """The risk–coverage curve: the error rate when predictions from some confidence up stand, a part of all; each (m,).

    Coverage ascends and confidence descends; equal confidences stand or fall together.
    """

    coverage: NDArray[np.float64]
    error: NDArray[np.float64]
    confidence: FloatArray


def risk_coverage(confidences: FloatArray, right: Mask) -> RiskCoverage:
    """The curve of n predictions."""
    order = np.argsort(-confidences, kind="stable")
    count, ranked = np.arange(1, len(order) + 1), confidences[order]
    ends = np.flatnonzero(np.diff(ranked, append=-np.inf))
    return RiskCoverage(count[ends] / max(len(order), 1), np.cumsum(~right[order])[ends] / count[ends], ranked[ends])


def risk(confidences: FloatArray, right: Mask) -> tuple[tuple[float, float], ...]:
    """For each of LEVELS that can be kept the least confidence that does, and the share of errors from there up."""
    curve = risk_coverage(confidences, right)
    kept = [np.flatnonzero(curve.error <= level) for level in LEVELS]
    places = sorted({int(found[-1]) for found in kept if len(found)})
    # Rounded down, so that the prediction itself stays above.
    bounds = np.floor(curve.confidence[places].astype(np.float64) * 1e5) / 1e5
    return tuple(zip(bounds.tolist(), np.round(curve.error[places], 5).tolist(), strict=True))


def _isotonic(scores: NDArray[np.float64], right: Mask) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The middle and the level of each step that isotonic regression finds (pool adjacent violators)."""
    order = np.argsort(scores, kind="stable")
    fitted = isotonic_regression(right[order].astype(np.float64))
    starts, ends = fitted.blocks[:-1], fitted.blocks[1:]
    middles = np.add.reduceat(scores[order], starts) / (ends - starts)
    return middles, np.clip(fitted.x[starts], MARGIN, 1 - MARGIN)


AUTO, REVIEW, NEW = "auto", "review", "new"


@dataclass(frozen=True, slots=True)
class Decisions:
    """What n predictions are worth.

    Args:
        confidences: how likely each is right, float32 (n,).
        decisions: `auto`, `review` or `new`, (n,).
    """

    confidences: FloatArray
    decisions: NDArray[np.str_]


def decide(
    hits: Mapping[str, Hits],
    votes: Votes,
    weights: Mapping[str, float],
    calibration: Calibration,
    max_error: float = MAX_ERROR,
) -> Decisions:
    """Decide.

    Args:
        hits: by named vector.
        votes: their outcome.
        weights: of the named vectors.
        calibration: of the index.
        max_error: the part of automatic answers that may be wrong.
    """
    confidences = confidence(evidence(hits, votes, weights), calibration)
    confidences = np.where(votes.shares[:, 0] > 0, confidences, np.float32(0))
    # No similarity is as yet unheard of where nothing was found: -inf is below every bound.
    unlike = nearest(hits) < calibration.new_below
    return Decisions(confidences, rethreshold(confidences, unlike, calibration.auto_from(max_error)))


def rethreshold(confidences: FloatArray, unlike: NDArray[np.bool_], auto_from: float) -> NDArray[np.str_]:
    """Decisions (n,) for confidences, where `unlike` says which products look like no known category."""
    return np.where(unlike, NEW, np.where(confidences >= auto_from, AUTO, REVIEW))
