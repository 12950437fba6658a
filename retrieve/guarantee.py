"""The guarantee: how sure a prediction must be, so that at most a chosen part of those that stand are wrong.

Thresholds are tested from sure ones downwards, each by an exact binomial test, until one fails: fixed-sequence testing
from several starts, as in "Learn then Test" (Angelopoulos et al., 2021). A sequence that comes to the start of another
goes on with the part of both (Bretz et al., 2009). All that passed hold together, with the probability `certainty`.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rubrika.index.manifest import Calibration, Fit
from rubrika.store.base import FloatArray

NEVER = 2.0  # no confidence is as high
RATES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3)  # error rates that are tried for advice
# The parts of the predictions at which a sequence of tests starts, each with its part of what may go wrong: among the
# very surest, a few wrong labels would end a single sequence before it began.
STARTS = (0.25, 0.5, 0.75)
POINTS = 100
MAX_GROWTH = 1e4


@dataclass(frozen=True)
class Policy:
    """What decisions promise: rates are kept with the probability `certainty`."""

    max_error: float = 0.02  # the maximum error rate among automatic decisions
    certainty: float = 0.9
    new_rate: float = 0.02  # the maximum part of products of known categories that is flagged as new


DEFAULT = Policy()


def curve_of(scores: FloatArray, wrong: NDArray[np.bool_], points: int = POINTS) -> tuple[tuple[float, int, int], ...]:
    """The curve of n predictions: at most so many thresholds, evenly over the ranks; equal scores stand together."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.flatnonzero(np.diff(ranked, append=-np.inf))
    steps = np.linspace(0, len(ranked) - 1, min(points, len(ranked))).astype(np.int64)
    ends = np.unique(ends[np.searchsorted(ends, steps)])
    wrongs = np.cumsum(wrong[order])[ends]
    return tuple(zip(ranked[ends].astype(float).tolist(), (ends + 1).tolist(), wrongs.tolist(), strict=True))


@lru_cache(maxsize=256)
def threshold(fit: Fit, policy: Policy) -> float:
    """The lowest confidence from which on at most `max_error` are wrong, with the policy's certainty; NEVER: none.

    >>> curve = (0.9, 100, 0), (0.8, 400, 2), (0.7, 500, 40)
    >>> threshold(Fit((0, 1, -1), (0, 1), (0, 1), curve), Policy(max_error=0.02))
    0.8
    """
    lowest, total = NEVER, fit.curve[-1][1] if fit.curve else 0
    reached, running = 0, 0
    for score, count, wrong in fit.curve:
        started = sum(count >= start * total for start in STARTS)
        reached, running = started, running + started - reached
        allowed = (1 - policy.certainty) * running / len(STARTS)
        if running and _p_value(count / fit.design, wrong / fit.design, policy.max_error) <= allowed:
            lowest = score
        else:
            running = 0
    return lowest


def coverage(fit: Fit, policy: Policy) -> float:
    """The part of the predictions that stand."""
    lowest = threshold(fit, policy)
    return (
        max((count for score, count, _ in fit.curve if score >= lowest), default=0)
        / max(fit.curve[-1:], default=(0, 1))[1]
    )


def growth_needed(fit: Fit, policy: Policy) -> float | None:
    """How many times more predictions would support a threshold, the same part of them wrong; None: not any number.

    >>> round(growth_needed(Fit((0, 1, -1), (0, 1), (0, 1), curve=((0.9, 50, 0),)), Policy(max_error=0.02)), 1)
    2.3
    """
    low, high = 1.0, MAX_GROWTH
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        supported = threshold(replace(fit, design=fit.design / middle), policy) < NEVER
        low, high = (low, middle) if supported else (middle, high)
    return high if high < MAX_GROWTH else None


def advice(calibration: Calibration, policy: Policy) -> str | None:
    """Why no decision can be automatic, and what would change that; None: some can."""
    fit = calibration.leaf
    if threshold(fit, policy) < NEVER:
        return None
    rate, certainty = f"{100 * policy.max_error:.4g} %", f"{100 * policy.certainty:.4g} %"
    why = f"nothing is automatic: that at most {rate} are wrong cannot be promised with {certainty} confidence"
    if not fit.curve:
        return f"{why} of an index that is not calibrated; run `rubrika learn`, or ingest into a new folder"
    growth = growth_needed(fit, policy)
    more = math.ceil(((growth or 1) - 1) * calibration.products)
    reached = next((rate for rate in RATES if coverage(fit, replace(policy, max_error=rate))), None)
    instead = f"; `max_error` {reached:g} can be promised" if reached else ""
    missing = f"about {more:,} more labelled products are needed" if growth else "even the surest are wrong more often"
    return f"{why}; {missing}{instead}"


@lru_cache(maxsize=64)
def lowest_similarity(calibration: Calibration, policy: Policy) -> float:
    """A product whose nearest neighbour is less similar than this looks like no known category.

    Of products of known categories at most `new_rate` are, by the same binomial test; without a calibration none.
    """
    design = calibration.leaf.design
    allowed = (
        similarity
        for similarity, less in calibration.similarities
        if less == 0 or _p_value(calibration.rows / design, less / design, policy.new_rate) <= 1 - policy.certainty
    )
    return max(allowed, default=-math.inf)


def _p_value(count: float, wrong: float, max_error: float) -> float:
    """How likely at most so many of `count` predictions are wrong, if `max_error` of all are."""
    from scipy.special import betainc

    if wrong >= count or max_error <= 0:
        return 1.0
    return float(betainc(count - wrong, wrong + 1, 1 - min(max_error, 1.0)))
