"""The words of a title that a prediction rests on: each is left out in turn, and the product classified again."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rubrika.index.index import Index
from rubrika.index.manifest import VoteSettings
from rubrika.retrieve.query import Query
from rubrika.retrieve.vote import lifted, vote_over
from rubrika.store.store import FloatArray, Hits

SHOWN = 8


@dataclass(frozen=True, slots=True)
class Word:
    """A word, and what is lost without it; what is below 0 is gained.

    Args:
        word: as it first stands in the title.
        share_lost: the part of the vote that the winner loses.
        similarity_lost: how much less like the product the winner's nearest product is; it tells words apart where the
            vote is so clear that none of them changes it.
    """

    word: str
    share_lost: float
    similarity_lost: float


def words_of(index: Index, query: Query, winner: int, vote: VoteSettings) -> list[Word]:
    """The words that matter most for a category: by the share that it loses, then by similarity, then as they stand.

    The title is compared with the title without the word, as that is all that is known of a stored product's text. All
    are encoded together, and searched together.

    Args:
        index: an open index.
        query: the product.
        winner: the category.
        vote: how hits vote.
    """
    tokens = query.title.split()
    spelled: dict[str, str] = {}
    for token in tokens:
        spelled.setdefault(_bare(token).casefold(), _bare(token))
    spelled.pop("", None)
    if not spelled:
        return []
    without = [" ".join(token for token in tokens if _bare(token).casefold() != word) for word in spelled]
    hits = query.find(index.store, query.retold(index, [query.title, *without]), vote)
    voting = lifted(hits, vote, index.seen)
    share, similarity = (lost[0] - lost[1:] for lost in (_share(voting, winner, vote), _similarity(hits, winner, vote)))
    order = np.lexsort((-similarity, -np.round(share, 3)))[:SHOWN]
    words = list(spelled.values())
    return [Word(words[place], float(share[place]), float(similarity[place])) for place in order.tolist()]


def _share(hits: Mapping[str, Hits], winner: int, vote: VoteSettings) -> FloatArray:
    """The winner's part of each vote, (n,)."""
    votes = vote_over(hits, vote)
    shares: FloatArray = np.where(votes.categories == winner, votes.shares, 0).sum(axis=1)
    return shares


def _similarity(hits: Mapping[str, Hits], winner: int, vote: VoteSettings) -> FloatArray:
    """How like the winner's nearest hits are, each vector counting for its weight; 0 for one that has none, (n,)."""
    nearest = {name: np.where(found.categories == winner, found.scores, 0).max(axis=1) for name, found in hits.items()}
    similarity: FloatArray = np.sum([row * vote.weights[name] for name, row in nearest.items()], axis=0)
    return similarity


def _bare(token: str) -> str:
    """A word without the punctuation around it; nothing is left of a dash."""
    marks = "".join(mark for mark in set(token) if unicodedata.category(mark)[0] not in "LNM")
    return token.strip(marks)
