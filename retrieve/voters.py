"""The neighbours behind one vote: what found each of them, and its part of the vote."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from rubrika.index.manifest import VoteSettings
from rubrika.retrieve.vote import vote_over
from rubrika.store.store import FloatArray, Hits, Point


@dataclass(frozen=True, slots=True)
class Voter:
    """A neighbour that voted: what found it, how like it is, and its part of the vote."""

    vector: str
    similarity: float
    weight: float
    product_id: int
    title: str
    category_id: int
    category_path: str


def voters_of(
    hits: Mapping[str, Hits], voting: Mapping[str, Hits], vote: VoteSettings, points: Mapping[int, Point]
) -> list[Voter]:
    """The neighbours of one product, the heaviest first, among equals the nearest, then by id.

    Args:
        hits: of one query, by named vector.
        voting: the same, as they vote.
        vote: how they do that.
        points: the hits with their payloads, by id; one that is gone by now is left out.
    """
    found = [
        (name, id, similarity)
        for name, each in hits.items()
        for id, similarity in zip(each.ids[0].tolist(), each.scores[0].tolist(), strict=True)
    ]
    voters = [
        Voter(
            vector=name,
            similarity=similarity,
            weight=weight,
            product_id=id,
            title=points[id].shown("title"),
            category_id=points[id].category_id,
            category_path=points[id].shown("category_path"),
        )
        for (name, id, similarity), weight in zip(found, _weights(voting, vote).tolist(), strict=True)
        if np.isfinite(similarity) and id in points
    ]
    return sorted(voters, key=lambda voter: (-voter.weight, -voter.similarity, voter.product_id))


def _weights(hits: Mapping[str, Hits], vote: VoteSettings) -> FloatArray:
    """Each hit's part of the vote: the share it would have, were its category its own."""
    alone, count = {}, 0
    for name, found in hits.items():
        width = found.categories.shape[1]
        alone[name] = replace(found, categories=np.arange(count, count + width)[None])
        count += width
    votes, weights = vote_over(alone, vote), np.zeros(count, np.float32)
    voted = votes.shares[0] > 0
    weights[votes.categories[0, voted]] = votes.shares[0, voted]
    return weights
