"""Neighbours found by comparing with every product, exactly, where no store is at hand."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubrika.baselines.baseline import CHUNK, Part, best_places, joined
from rubrika.progress import Progress
from rubrika.retrieve.vote import Votes, weighted_vote
from rubrika.store.store import FloatArray, Hits


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


def best_hits(scores: FloatArray, labels: NDArray[np.int64], top_k: int) -> Hits:
    """The products with the best scores, ties by their place, which is their id here.

    Args:
        scores: of m known products for each of n asked ones, (n, m); -inf is no hit.
        labels: of the known ones (m,).
        top_k: how many to find.
    """
    width = min(top_k, scores.shape[1])
    place, none = best_places(scores, width), top_k - width
    hits = Hits(place.astype(np.uint64), np.take_along_axis(scores, place, axis=1), labels[place])
    if not none:
        return hits
    empty = Hits.none(len(scores), none)
    both: Mapping[str, NDArray[np.generic]] = {
        name: np.concatenate([getattr(hits, name), getattr(empty, name)], axis=1)
        for name in ("ids", "scores", "categories")
    }
    return Hits(**both)  # type: ignore[arg-type]
