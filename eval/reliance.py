"""How far confidences can be relied on: are they as often right as they say, and how many answers need no look?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubrika.retrieve.decide import AUTO, NEW, REVIEW, Decisions
from rubrika.store.store import FloatArray

BINS = 15

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Reliance:
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


def reliance_of(decided: Decisions, right: Mask, max_error: float) -> Reliance:
    """Compare what was decided of n predictions with whether each was right, (n,)."""
    parts = {kind: float((decided.decisions == kind).mean()) for kind in (AUTO, REVIEW, NEW)}
    auto = decided.decisions == AUTO
    return Reliance(
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
