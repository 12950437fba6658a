"""Decides which predictions may stand alone (`auto`), want a look (`review`), or are like nothing known (`new`)."""

import numpy as np
from numpy.typing import NDArray

from rubrika.retrieve.vote import Votes
from rubrika.store.store import FloatArray, Hits

AUTO_FROM = 0.5
NEW_BELOW = 0.3


def decide(hits: Hits, votes: Votes) -> NDArray[np.str_]:
    """One decision a product: `new` when even the nearest one is unlike it, `auto` when one category has the vote."""
    nearest = hits.scores[:, 0]
    confident = confidence(hits, votes) >= AUTO_FROM
    return np.where(nearest < NEW_BELOW, "new", np.where(confident, "auto", "review"))


def confidence(hits: Hits, votes: Votes) -> FloatArray:
    """The share of the first category, lowered by how far away its nearest product is, float32 (n,) in 0 … 1."""
    return votes.shares[:, 0] * np.clip(hits.scores[:, 0], 0.0, 1.0)
