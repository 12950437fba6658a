"""The weighted vote: what the hits of a product say about its category."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rubrika.index.manifest import VoteSettings
from rubrika.store.base import FloatArray, Hits

NO_CATEGORY = -1


@dataclass(frozen=True, slots=True)
class Votes:
    """The outcome for n products, best category first; unused places hold NO_CATEGORY and a share of 0."""

    categories: NDArray[np.int64]  # ids, (n, k)
    shares: FloatArray  # their part of the vote, (n, k), each row summing to 1 (to 0 where nothing was found)

    @property
    def winners(self) -> NDArray[np.int64]:
        """The first category of each product, int64 (n,)."""
        return self.categories[:, 0]


def weighted_vote(hits: Hits, temperature: float) -> Votes:
    """Every hit votes with exp(temperature · (similarity - the best one)): equal at 0, the nearest alone at last."""
    with np.errstate(invalid="ignore"):
        weights = np.exp(temperature * (hits.scores - hits.scores.max(axis=1, keepdims=True, initial=-np.inf)))
    return _tally(hits.categories, np.where(np.isfinite(hits.scores), weights, 0.0))


def mode_vote(hits: Hits) -> Votes:
    """Every hit has one vote; where counts are equal, the category of the nearer hit wins."""
    return _tally(hits.categories, np.isfinite(hits.scores).astype(np.float64))


def fused_vote(parts: Sequence[tuple[Votes, float]]) -> Votes:
    """Add up the votes of several named vectors by their weights; a vector that found nothing has no say."""
    categories = np.concatenate([votes.categories for votes, _ in parts], axis=1)
    return _tally(categories, np.concatenate([votes.shares * weight for votes, weight in parts], axis=1))


def vote_over(hits: Mapping[str, Hits], settings: VoteSettings) -> Votes:
    """The vote of an index: weighted by similarity within each named vector, and by the vector's weight among them."""
    votes = [(weighted_vote(found, settings.temperature), settings.weights[name]) for name, found in hits.items()]
    return votes[0][0] if len(votes) == 1 else fused_vote(votes)


def with_unseen_reach(
    hits: Mapping[str, Hits], settings: VoteSettings, seen: Mapping[str, NDArray[np.int64]]
) -> dict[str, Hits]:
    """Hits, nearer where the encoder did not learn from the category; `seen` are those that learned encoders know."""
    return {
        name: with_reach(found, ~np.isin(found.categories, seen[name]), settings.unseen_reach)
        if name in seen
        else found
        for name, found in hits.items()
    }


def with_reach(hits: Hits, unseen: NDArray[np.bool_], reach: float) -> Hits:
    """Hits whose distance (1 - cosine) is divided by 1 + `reach` where they are `unseen`, (n, k).

    Learning draws products towards the categories it knows, so the neighbours in an unseen category seem farther than
    they are ("calibrated stacking", Chao et al. 2016, adds a constant instead: see docs/decisions.md).
    """
    return replace(hits, scores=np.where(unseen, 1 - (1 - hits.scores) / np.float32(1 + reach), hits.scores))


def _tally(categories: NDArray[np.int64], weights: NDArray[np.floating]) -> Votes:
    """Sum weights by category, both (n, k); where totals are equal, the category that comes first in its row wins."""
    rows, width = categories.shape
    votes = Votes(np.full((rows, width), NO_CATEGORY, np.int64), np.zeros((rows, width), np.float32))
    row, column = np.nonzero(weights > 0)
    if not len(row):
        return votes
    known, code = np.unique(categories[row, column], return_inverse=True)
    pair, first, of = np.unique(row * len(known) + code, return_index=True, return_inverse=True)
    total, pair_row, category = np.bincount(of, weights[row, column]), pair // len(known), known[pair % len(known)]
    # Hits come best first, so the position of a category's first hit orders equal totals by score.
    order = np.lexsort((category, column[first], -total, pair_row))
    count = np.bincount(pair_row, minlength=rows)
    rank = np.arange(len(pair)) - np.repeat(np.cumsum(count) - count, count)
    votes.categories[pair_row[order], rank] = category[order]
    sums = np.bincount(pair_row, total, minlength=rows)
    votes.shares[pair_row[order], rank] = (total / sums[pair_row])[order]
    return votes
