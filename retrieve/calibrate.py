"""Fits a calibration on predictions whose truth is known: a logistic model of two numbers, then isotonic regression."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from rubrika.index.calibration import Calibration
from rubrika.store.store import FloatArray

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


def risk(confidences: FloatArray, right: Mask) -> tuple[tuple[float, float], ...]:
    """For each of LEVELS that can be kept the least confidence that does, and the share of errors from there up."""
    order = np.argsort(-confidences, kind="stable")
    errors = np.cumsum(~right[order]) / np.arange(1, len(order) + 1)
    # Equal confidences stand or fall together.
    ends = np.append(np.diff(confidences[order]) != 0, True)
    kept = [np.flatnonzero(ends & (errors <= level)) for level in LEVELS]
    places = sorted({int(found[-1]) for found in kept if len(found)})
    # Rounded down, so that the prediction itself stays above.
    bounds = np.floor(confidences[order[places]].astype(np.float64) * 1e5) / 1e5
    return tuple(zip(bounds.tolist(), np.round(errors[places], 5).tolist(), strict=True))


def _isotonic(scores: NDArray[np.float64], right: Mask) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The middle and the level of each step that isotonic regression finds (pool adjacent violators)."""
    order = np.argsort(scores, kind="stable")
    fitted = isotonic_regression(right[order].astype(np.float64))
    starts, ends = fitted.blocks[:-1], fitted.blocks[1:]
    middles = np.add.reduceat(scores[order], starts) / (ends - starts)
    return middles, np.clip(fitted.x[starts], MARGIN, 1 - MARGIN)
