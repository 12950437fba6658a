"""Decides which predictions may stand alone (`auto`), want a look (`review`), or are like nothing known (`new`)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubrika.index.calibration import MAX_ERROR, Calibration
from rubrika.retrieve.calibrate import confidence
from rubrika.retrieve.evidence import evidence, nearest
from rubrika.retrieve.vote import Votes
from rubrika.store.store import FloatArray, Hits

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
