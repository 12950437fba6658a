"""The tree of categories, and the confidence of a prediction at each of its levels."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rubrika.index.manifest import Calibration
from rubrika.products.product import SEPARATOR, Category
from rubrika.retrieve.confidence import AUTO, decide
from rubrika.retrieve.guarantee import Policy
from rubrika.store.base import FloatArray, Hits, Store
from rubrika.vote import Votes, fused_vote

NO_NODE = -1

Ids = NDArray[np.int64]


class Tree:
    """The categories that are known so far, and their nodes; of two with the same id, the first counts."""

    def __init__(self, categories: Iterable[Category] = ()) -> None:
        self._categories: dict[int, Category] = {}
        self._numbers: dict[str, int] = {}
        self._add(categories)

    def learn(self, store: Store, hits: Mapping[str, Hits]) -> None:
        """Add the hits' categories that are not known yet, each with the path of one of its products in the store."""
        ids = np.concatenate([found.ids for found in hits.values()], axis=None)
        met = np.concatenate([found.categories for found in hits.values()], axis=None)
        categories, examples = np.unique(met, return_index=True)
        new = (categories >= 0) & (self.depths(categories) == 0)
        if new.any():
            points = store.fetch(ids[examples[new]].tolist()).values()
            self._add(Category(point.category_id, point.shown("category_path")) for point in points)

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

    def at(self, votes: Votes, level: int) -> Votes:
        """The votes at a level from 1: a node gets the shares of all categories under it, and the id of the largest."""
        nodes = self.nodes(votes.categories, level)
        # Categories come best first, so the first one of a node in its row represents it.
        keys = np.arange(len(nodes))[:, None] * (len(self._numbers) + 1) + nodes
        _, first, of = np.unique(keys, return_index=True, return_inverse=True)
        leading = votes.categories.ravel()[first][of].reshape(nodes.shape)
        leading = np.where(nodes == NO_NODE, votes.categories, leading)
        return fused_vote([(Votes(leading, votes.shares), 1.0)])

    def map_to_level(self, hits: Mapping[str, Hits], votes: Votes, level: int) -> tuple[dict[str, Hits], Votes]:
        """Hits with nodes at a level in place of categories, and the winner's node with all the votes under it.

        So a node is judged as a category is.
        """
        mapped = {name: replace(found, categories=self.nodes(found.categories, level)) for name, found in hits.items()}
        nodes = self.nodes(votes.categories, level)
        share = np.where(nodes == nodes[:, :1], votes.shares, 0).sum(axis=1, keepdims=True)
        # By rounding, many parts of a whole may add up to slightly more than it.
        return mapped, Votes(nodes[:, :1], np.minimum(share, np.float32(1)).astype(np.float32))

    def _add(self, categories: Iterable[Category]) -> None:
        """Lay out the nodes of all categories as a table: a row a category, in the order of ids, a column a level."""
        for category in categories:
            self._categories.setdefault(category.id, category)
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


@dataclass(frozen=True, slots=True)
class Levels:
    """The paths of n winners from the top down, each (n, depth); below a winner's last level are NO_NODE and zeros."""

    nodes: Ids
    shares: FloatArray  # the part of the vote that all categories under a node have together
    confidences: FloatArray  # how likely the product is somewhere under a node
    sure: Ids  # how many levels of each path, from the top, keep the policy's maximum error rate, (n,)


def path_confidence(
    tree: Tree,
    hits: Mapping[str, Hits],
    votes: Votes,
    weights: Mapping[str, float],
    calibration: Calibration,
    policy: Policy,
) -> Levels:
    """Judge winners at every level as `decide` judges them as leaves: all hits under a node count for it."""
    nodes, leaf = tree.paths(votes.winners), decide(hits, votes, weights, calibration, policy)
    shares, confidences = np.zeros((2, *nodes.shape), np.float32)
    stands, is_leaf = np.zeros(nodes.shape, bool), tree.depths(votes.winners)[:, None] == np.arange(tree.depth) + 1
    for column in range(tree.depth):
        mapped, at = tree.map_to_level(hits, votes, column + 1)
        decided = decide(mapped, at, weights, calibration, policy, column + 1)
        shares[:, column] = at.shares[:, 0]
        confidences[:, column] = np.where(is_leaf[:, column], leaf.confidences, decided.confidences)
        stands[:, column] = np.where(is_leaf[:, column], leaf.decisions, decided.decisions) == AUTO
    there = nodes != NO_NODE
    sure = np.logical_and.accumulate(stands & there, axis=1).sum(axis=1)
    return Levels(nodes, np.where(there, shares, 0), np.where(there, confidences, 0), sure)
