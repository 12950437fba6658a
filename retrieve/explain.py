"""Explains a prediction: the vote, its levels, the supporting neighbours and the words that mattered."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from rubrika.errors import RubrikaError
from rubrika.index.folder import Index
from rubrika.index.manifest import VoteSettings
from rubrika.index.owned import Owned
from rubrika.products.product import Category
from rubrika.retrieve.confidence import decide
from rubrika.retrieve.guarantee import DEFAULT, Policy
from rubrika.retrieve.newcomers import Newcomers
from rubrika.retrieve.search import Query
from rubrika.retrieve.tree import Tree, path_confidence
from rubrika.store.base import Hits, Point
from rubrika.vote import vote_over

MAX_WORDS = 8


@dataclass(frozen=True, slots=True)
class Share:
    """A category that was voted for, and its part of the vote."""

    category_id: int | str
    category_path: str
    share: float


@dataclass(frozen=True, slots=True)
class Level:
    """A prefix of the winner's path, the part of the vote under it, and how likely the product belongs there."""

    path: str
    share: float
    confidence: float


@dataclass(frozen=True, slots=True)
class SupportingNeighbour:
    """A neighbour that voted: the vector that found it, its similarity, and its part of the vote."""

    vector: str
    similarity: float
    weight: float
    product_id: int | str
    title: str
    category_id: int | str
    category_path: str


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the title, and what the winner loses without it; below 0, it gains."""

    word: str
    share_lost: float  # a part of the vote
    similarity_lost: float  # to its nearest hit: tells words apart where none of them changes a clear vote


@dataclass(frozen=True, slots=True)
class Explanation:
    """A prediction and what it rests on; `confidence` and `decision` are as in details.parquet."""

    product_id: int | str | None  # of a stored product
    title: str  # empty when there is only a picture
    labelled: str | None  # the path of the category that a stored product has
    confidence: float
    decision: str
    alternatives: list[Share]  # every category that was voted for, the predicted one first
    levels: list[Level]  # of the predicted category's path, from the top
    sure: str | None  # the deepest of them that is sure enough to stand without a review, None when none is
    neighbours: list[SupportingNeighbour]  # those that voted, the heaviest first
    words: list[Word]  # those that mattered most

    @property
    def predicted(self) -> Share:
        """The category that won."""
        return self.alternatives[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, the prediction under the names that `classify` gives it."""
        winner = self.predicted
        named = {"predicted_category_id": winner.category_id, "predicted_category_name": winner.category_path}
        return named | asdict(self)


def explain(index: Index, query: Query, top_k: int | None = None, policy: Policy = DEFAULT) -> Explanation:
    """Classify one product, by default with the index's `top_k`, and keep what the prediction rests on."""
    vote = replace(index.manifest.vote, top_k=top_k or index.manifest.vote.top_k)
    hits = query.hits(index.store, query.vectors, vote)
    newcomers = index.remembered(Newcomers.of)
    voting = newcomers.voting(hits, query.vectors, vote)
    votes = vote_over(voting, vote)
    if not any(np.isfinite(found.scores).any() for found in hits.values()):
        raise RubrikaError(f"{index.folder} has no other product that could vote; ingest more labelled products")
    ids = np.concatenate([found.ids[np.isfinite(found.scores)] for found in hits.values()])
    points = index.store.fetch(np.unique(ids).tolist())
    stored = [Category(point.category_id, point.shown("category_path")) for point in points.values()]
    tree = Tree([*stored, *(Category(id, path) for id, path in newcomers.names.items())])
    owned = index.remembered(Owned.of)
    found = (hits, votes, vote.weights, index.manifest.calibration, policy)
    decided, levels = decide(*found), path_confidence(tree, *found)
    paths, sure = tree.names(levels.nodes)[0], int(levels.sure[0])
    shares = zip(votes.categories[0].tolist(), votes.shares[0].tolist(), strict=True)
    judged = zip(paths, levels.shares[0].tolist(), levels.confidences[0].tolist(), strict=True)
    return Explanation(
        product_id=None if query.product_id is None else owned.products([query.product_id])[query.product_id],
        title=query.title,
        labelled=query.labelled,
        confidence=float(decided.confidences[0]),
        decision=str(decided.decisions[0]),
        alternatives=[Share(owned.category(id), tree.path(id) or str(id), share) for id, share in shares if share > 0],
        levels=[Level(*level) for level in judged if level[0]],
        sure=paths[sure - 1] if sure else None,
        neighbours=_supporting_neighbours(hits, voting, vote, points, owned),
        words=_words(index, query, int(votes.winners[0]), vote, newcomers),
    )


def _supporting_neighbours(
    hits: Mapping[str, Hits],
    voting: Mapping[str, Hits],
    vote: VoteSettings,
    points: Mapping[int, Point],
    owned: Owned,
) -> list[SupportingNeighbour]:
    """The neighbours of one product, the heaviest first, then the nearest, then by id.

    `voting` are the hits as they vote, prototypes after them; `points` are the payloads of those not deleted meanwhile.
    """
    # A hit's part of the vote is the share of its category, if each hit had a category to itself.
    alone = {
        name: replace(each, categories=np.arange(each.ids.size)[None] + place * 10**6)
        for place, (name, each) in enumerate(voting.items())
    }
    votes = vote_over(alone, vote)
    weights = dict(zip(votes.categories[0].tolist(), votes.shares[0].tolist(), strict=True))
    neighbours = list[tuple[int, SupportingNeighbour]]()
    for name, each in hits.items():
        places = alone[name].categories[0, : each.ids.shape[1]]
        found = zip(places.tolist(), each.scores[0].tolist(), each.ids[0].tolist(), strict=True)
        for place, similarity, id in found:
            if np.isfinite(similarity) and id in points:
                point, weight = points[id], weights.get(place, 0.0)
                labelled = owned.category(point.category_id), point.shown("category_path")
                values = name, similarity, weight, point.own_id, point.shown("title"), *labelled
                neighbours.append((id, SupportingNeighbour(*values)))
    neighbours.sort(key=lambda it: (-it[1].weight, -it[1].similarity, it[0]))
    return [each for _, each in neighbours]


def _words(index: Index, query: Query, winner: int, vote: VoteSettings, newcomers: Newcomers) -> list[Word]:
    """The title's words that matter most: by the share the winner loses without them, then similarity, then position.

    A word is left out of the whole text.
    """
    spelled: dict[str, str] = {}
    for token in query.title.split():
        spelled.setdefault(_stripped(token).casefold(), _stripped(token))
    spelled.pop("", None)
    if not spelled:
        return []
    lines = [
        [(token, _stripped(token).casefold()) for token in line.split()]
        for line in (query.text or query.title).split("\n")
    ]
    vectors = query.with_texts(index, [_without(lines, word) for word in (None, *spelled)])
    hits = query.hits(index.store, vectors, vote)
    votes = vote_over(newcomers.voting(hits, vectors, vote), vote)
    shares = np.where(votes.categories == winner, votes.shares, 0).sum(axis=1)
    nearest = {name: np.where(found.categories == winner, found.scores, 0).max(axis=1) for name, found in hits.items()}
    similarities = np.sum([row * vote.weights[name] for name, row in nearest.items()], axis=0)
    share, similarity = (each[0] - each[1:] for each in (shares, similarities))
    order, words = np.lexsort((-similarity, -np.round(share, 3)))[:MAX_WORDS], list(spelled.values())
    return [Word(words[place], float(share[place]), float(similarity[place])) for place in order.tolist()]


def _without(lines: Sequence[Sequence[tuple[str, str]]], word: str | None) -> str:
    """Lines of tokens, each with its bare word, as a text without a word wherever it stands; None: with all."""
    return "\n".join(" ".join(token for token, bare in line if bare != word) for line in lines)


def _stripped(token: str) -> str:
    """A word without the punctuation around it; nothing is left of a dash."""
    marks = "".join(mark for mark in set(token) if unicodedata.category(mark)[0] not in "LNM")
    return token.strip(marks)
