"""The tree of categories, and the confidence of a prediction at each of its levels."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rubrika.index.manifest import Calibration
from rubrika.products.product import SEPARATOR, Category
from rubrika.retrieve.confidence import decide
from rubrika.store.base import FloatArray, Hits, Store
from rubrika.vote import Votes, fused_vote

NO_NODE = -1

Ids = NDArray[np.int64]


class Tree:
    """The categories that are known so far, and their nodes; of two with the same id, the first counts."""

    def __init__(self, categories: Iterable[Category] = ()) -> None:
        self._categories: dict[int, Category] = {}
        self._numbers: dict[str, int] = {}
        self._number()
        self.add(categories)

    def add(self, categories: Iterable[Category]) -> None:
        """Add categories; those whose id is known stay as they are."""
        known = len(self._categories)
        for category in categories:
            self._categories.setdefault(category.id, category)
        if len(self._categories) > known:
            self._number()

    def learn(self, store: Store, hits: Mapping[str, Hits]) -> None:
        """Add the hits' categories that are not known yet, each with the path of one of its products in the store."""
        ids = np.concatenate([found.ids for found in hits.values()], axis=None)
        met = np.concatenate([found.categories for found in hits.values()], axis=None)
        categories, examples = np.unique(met, return_index=True)
        new = (categories >= 0) & (self.depths(categories) == 0)
        if new.any():
            points = store.fetch(ids[examples[new]].tolist()).values()
            self.add(Category(point.category_id, point.shown("category_path")) for point in points)

    @property
    def depth(self) -> int:
        """The number of levels of the longest path, at least 1."""
        return self._table.shape[1]

    def depths(self, categories: Ids) -> Ids:
        """How many levels the path of each category has, 0 for one that is not known."""
        return np.asarray(self._depths[self._rows(categories)])

    def nodes(self, categories: Ids, level: int) -> Ids:
        """The nodes of categories at a level from 1, the last node of a path that ends above it; NO_NODE if unknown."""
        return np.asarray(self._table[self._rows(categories), min(level, self.depth) - 1])

    def names(self, nodes: Ids) -> NDArray[np.object_]:
        """The prefixes of nodes, such as `Обувь->Женская обувь`, in an array of the same shape; None for NO_NODE."""
        return np.asarray(np.array([*self._numbers, None], object)[nodes])

    def path(self, category: int) -> str | None:
        """The path of a category as its products have it, None when it is not known."""
        return self._categories[category].path if category in self._categories else None

    def paths(self, categories: Ids) -> Ids:
        """The nodes of categories (n,) at every level from the top, (n, depth), NO_NODE below a category's last."""
        rows = self._rows(categories)
        return np.where(np.arange(self.depth) < self._depths[rows][:, None], self._table[rows], NO_NODE)

    def shares(self, votes: Votes) -> FloatArray:
        """What part of each vote is under the winner's node at every level, float32 (n, depth), 0 below its last."""
        rows = self._rows(votes.categories)
        shares = np.zeros((len(rows), self.depth), np.float32)
        for level in range(self.depth):
            nodes = self._table[rows, level]
            under = (nodes == nodes[:, :1]) & (self._depths[rows[:, :1]] > level)
            shares[:, level] = np.where(under, votes.shares, 0).sum(axis=1)
        # By rounding, many parts of a whole may add up to slightly more than it.
        return np.minimum(shares, 1)

    def at(self, votes: Votes, level: int) -> Votes:
        """The votes at a level, counted from 1: each node gets the shares of all categories under it.

        Only leaves have ids, so a node takes the id of the category under it that has the largest share.
        """
        nodes = self.nodes(votes.categories, level)
        # Categories come best first, so the first one of a node in its row represents it.
        order = np.argsort(nodes, axis=1, kind="stable")
        ordered = np.take_along_axis(nodes, order, axis=1)
        starts = np.diff(ordered, axis=1, prepend=NO_NODE - 1) != 0
        first = np.maximum.accumulate(np.where(starts, np.arange(nodes.shape[1]), 0), axis=1)
        leading = np.empty_like(nodes)
        leaders = np.take_along_axis(order, first, axis=1)
        np.put_along_axis(leading, order, np.take_along_axis(votes.categories, leaders, axis=1), axis=1)
        leading = np.where(nodes == NO_NODE, votes.categories, leading)
        return fused_vote([(Votes(leading, votes.shares), 1.0)])

    def map_to_level(self, hits: Mapping[str, Hits], votes: Votes, level: int) -> tuple[dict[str, Hits], Votes]:
        """Hits and votes with nodes at a level in place of categories, so that a node is judged as a category is."""
        mapped = {name: replace(found, categories=self.nodes(found.categories, level)) for name, found in hits.items()}
        return mapped, replace(votes, categories=self.nodes(votes.categories, level))

    def _number(self) -> None:
        """Lay out the nodes of all categories as a table: a row a category, in the order of ids, a column a level."""
        levels = {id: self._categories[id].levels for id in sorted(self._categories)}
        depth = max(map(len, levels.values()), default=1)
        # The last row stands for all that is not known; the largest possible id keeps every search within the rows.
        self._ids = np.array([*levels, np.iinfo(np.int64).max], np.int64)
        self._depths = np.array([*map(len, levels.values()), 0], np.int64)
        self._table = np.full((len(self._ids), depth), NO_NODE, np.int64)
        for row, names in enumerate(levels.values()):
            prefixes = [SEPARATOR.join(names[: level + 1]) for level in range(len(names))]
            numbers = [self._numbers.setdefault(prefix, len(self._numbers)) for prefix in prefixes]
            self._table[row] = numbers + numbers[-1:] * (depth - len(numbers))

    def _rows(self, categories: Ids) -> Ids:
        place = np.searchsorted(self._ids, categories)
        return np.where(self._ids[place] == categories, place, len(self._ids) - 1)


SURE_FROM = 0.9


@dataclass(frozen=True, slots=True)
class Levels:
    """The paths of n winners from the top down, each (n, depth); below a winner's last level are NO_NODE and zeros."""

    nodes: Ids
    shares: FloatArray  # the part of the vote that all categories under a node have together
    confidences: FloatArray  # how likely the product is somewhere under a node

    def sure(self) -> Ids:
        """How many levels of each path, from the top, are almost certain, (n,)."""
        return np.asarray(np.logical_and.accumulate(self.confidences >= SURE_FROM, axis=1).sum(axis=1))


def path_confidence(
    tree: Tree, hits: Mapping[str, Hits], votes: Votes, weights: Mapping[str, float], calibration: Calibration
) -> Levels:
    """Judge winners at every level as `decide` judges them as leaves: all hits under a node count for it.

    The tree must know the categories of the hits. The calibration is fitted on leaves: for a parent its confidence is
    rather too low than too high.
    """
    nodes = tree.paths(votes.winners)
    mapped = [tree.map_to_level(hits, votes, level) for level in range(1, tree.depth + 1)]
    confidences = np.stack([decide(*one, weights, calibration).confidences for one in mapped], axis=1)
    return Levels(nodes, tree.shares(votes), np.where(nodes == NO_NODE, np.float32(0), confidences))
