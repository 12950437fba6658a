"""Neighbours found by comparing with every product, exactly, where no store is at hand."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubrika.baselines.baseline import CHUNK, Part, joined
from rubrika.progress import Progress
from rubrika.retrieve.search import best_hits
from rubrika.store.base import FloatArray
from rubrika.vote import Votes, weighted_vote


@dataclass(frozen=True, slots=True)
class Nearest:
    """The weighted vote of the nearest products by one named vector.

    Args:
        vector: its name.
        top_k: how many products vote.
        temperature: how much more near ones count, as in `retrieve.vote`.
    """

    vector: str
    top_k: int
    temperature: float

    @property
    def name(self) -> str:
        """As in Baseline."""
        return f"kNN by {self.vector}, weighted vote"

    @property
    def vectors(self) -> tuple[str, ...]:
        """As in Baseline."""
        return (self.vector,)

    def fit(self, part: Part, progress: Progress) -> "_Known":
        """As in Baseline; a product without the vector is nobody's neighbour."""
        there = part.vectors[self.vector].any(axis=1)
        return _Known(self, part.vectors[self.vector][there], part.labels[there])


@dataclass(frozen=True, slots=True)
class _Known:
    by: Nearest
    rows: FloatArray
    labels: NDArray[np.int64]

    def predict(self, part: Part) -> Votes:
        """As in Fitted."""
        asked = part.vectors[self.by.vector]
        votes = []
        for start in range(0, len(asked), CHUNK):
            rows = asked[start : start + CHUNK]
            scores = np.where(rows.any(axis=1, keepdims=True), rows @ self.rows.T, np.float32(-np.inf))
            votes.append(weighted_vote(best_hits(scores, self.labels, self.by.top_k), self.by.temperature))
        return joined(votes)
