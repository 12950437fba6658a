"""What speaks for a prediction and what against it: the hits of its category and the hits of all others."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rubrika.retrieve.vote import Votes
from rubrika.store.store import FloatArray, Hits

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
