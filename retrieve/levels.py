"""How sure a prediction is at every level of its path: where the leaf is unsure, a parent may be sure."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubrika.index.calibration import Calibration
from rubrika.retrieve.decide import decide
from rubrika.retrieve.tree import NO_NODE, Tree
from rubrika.retrieve.vote import Votes
from rubrika.store.store import FloatArray, Hits

SURE_FROM = 0.9


@dataclass(frozen=True, slots=True)
class Levels:
    """The paths of n winners from the top down; below a winner's last level are NO_NODE and zeros.

    Args:
        nodes: of the tree, int64 (n, depth).
        shares: the part of the vote that all categories under a node have together, float32 (n, depth).
        confidences: how likely the product is somewhere under a node, float32 (n, depth).
    """

    nodes: NDArray[np.int64]
    shares: FloatArray
    confidences: FloatArray

    def sure(self, threshold: float = SURE_FROM) -> NDArray[np.int64]:
        """How many levels of each path, from the top, have at least this confidence, int64 (n,); 0: not even one."""
        count: NDArray[np.int64] = np.logical_and.accumulate(self.confidences >= threshold, axis=1).sum(axis=1)
        return count


def levels_of(
    tree: Tree, hits: Mapping[str, Hits], votes: Votes, weights: Mapping[str, float], calibration: Calibration
) -> Levels:
    """Judge winners at every level as `decide` judges them as leaves: all hits under a node speak for it.

    Args:
        tree: that knows the categories of the hits.
        hits: by named vector.
        votes: their outcome.
        weights: of the named vectors.
        calibration: of the index; fitted on leaves, it says of a parent rather too little than too much.
    """
    nodes = tree.paths(votes.winners)
    raised = [tree.raised(hits, votes, level) for level in range(1, tree.depth + 1)]
    confidences = np.stack([decide(*one, weights, calibration).confidences for one in raised], axis=1)
    return Levels(nodes, tree.shares(votes), np.where(nodes == NO_NODE, np.float32(0), confidences))
