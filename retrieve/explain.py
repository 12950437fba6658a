"""Explains one prediction: the vote, the levels of the tree, the neighbours that voted, the words that mattered."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from rubrika.errors import RubrikaError
from rubrika.index.index import Index
from rubrika.products.product import Category
from rubrika.retrieve.decide import decide
from rubrika.retrieve.levels import levels_of
from rubrika.retrieve.query import Query
from rubrika.retrieve.tree import Tree
from rubrika.retrieve.vote import Votes, lifted, vote_over
from rubrika.retrieve.voters import Voter, voters_of
from rubrika.retrieve.words import Word, words_of


@dataclass(frozen=True, slots=True)
class Share:
    """A category that was voted for, and its part of the vote."""

    category_id: int
    category_path: str
    share: float


@dataclass(frozen=True, slots=True)
class Level:
    """A prefix of the winner's path, what part of the vote is under it, and how likely the product is."""

    path: str
    share: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """A prediction and what it rests on.

    Args:
        product_id: of a stored product, else None.
        title: empty when only a picture was given.
        labelled: the path of the category that a stored product has.
        confidence: as in `classify --details`, like `decision`.
        decision: `auto`, `review` or `new`.
        alternatives: every category that was voted for, the predicted one first.
        levels: of the predicted category's path, from the top.
        sure: the deepest of them that is almost certain, None when none is.
        neighbours: that voted, the heaviest first.
        words: that mattered most.
    """

    product_id: int | None
    title: str
    labelled: str | None
    confidence: float
    decision: str
    alternatives: list[Share]
    levels: list[Level]
    sure: str | None
    neighbours: list[Voter]
    words: list[Word]

    @property
    def predicted(self) -> Share:
        """The category that won."""
        return self.alternatives[0]

    def as_dict(self) -> dict[str, Any]:
        """All of it in plain values, the prediction under the names that `classify` gives it."""
        winner = self.predicted
        return {"predicted_category_id": winner.category_id, "predicted_category_name": winner.category_path} | asdict(
            self
        )


def explain(index: Index, query: Query, top_k: int | None = None) -> Explanation:
    """Classify one product and keep what the prediction rests on.

    Args:
        index: an open index.
        query: the product.
        top_k: how many hits of each vector vote, by default what the index says.

    Raises:
        RubrikaError: nothing is found that could vote.
    """
    vote = replace(index.manifest.vote, top_k=top_k or index.manifest.vote.top_k)
    hits = query.find(index.store, query.vectors, vote)
    voting = lifted(hits, vote, index.seen)
    votes = vote_over(voting, vote)
    if votes.shares[0, 0] <= 0:
        raise RubrikaError(f"{index.folder} has no other product that could vote; ingest more labelled products")
    points = index.store.fetch(
        sorted({int(id) for found in hits.values() for id in found.ids[np.isfinite(found.scores)]})
    )
    tree = Tree(Category(point.category_id, point.shown("category_path")) for point in points.values())
    found = (hits, votes, vote.weights, index.manifest.calibration)
    decided, levels = decide(*found), levels_of(tree, *found)
    paths, sure = tree.names(levels.nodes)[0], int(levels.sure()[0])
    return Explanation(
        product_id=query.product_id,
        title=query.title,
        labelled=query.labelled,
        confidence=float(decided.confidences[0]),
        decision=str(decided.decisions[0]),
        alternatives=_shares(votes, tree),
        levels=[
            Level(path, share, confidence)
            for path, share, confidence in zip(
                paths, levels.shares[0].tolist(), levels.confidences[0].tolist(), strict=True
            )
            if path
        ],
        sure=paths[sure - 1] if sure else None,
        neighbours=voters_of(hits, voting, vote, points),
        words=words_of(index, query, int(votes.winners[0]), vote),
    )


def _shares(votes: Votes, tree: Tree) -> list[Share]:
    pairs = zip(votes.categories[0].tolist(), votes.shares[0].tolist(), strict=True)
    return [Share(category, tree.path(category) or str(category), share) for category, share in pairs if share > 0]
