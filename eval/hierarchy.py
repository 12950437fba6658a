"""How near wrong answers are in the tree of categories: hierarchical precision, recall and F1, accuracy by level."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubrika.retrieve.tree import NO_NODE, Tree

Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Figures in 0 … 1 that give a near miss its part.

    A category counts as the set of its levels, itself among them, the root left out; precision and recall are of these
    sets over all rows together (Kiritchenko et al., 2006), F1 is their harmonic mean.

    Args:
        precision: the part of the predicted levels that are true.
        recall: the part of the true levels that are predicted.
        f1: between them.
        levels: accuracy at each level, the top first; a category that ends above a level is there by itself.
    """

    precision: float
    recall: float
    f1: float
    levels: tuple[float, ...]


def hierarchy_of(truth: Labels, predicted: Labels, tree: Tree) -> Hierarchy:
    """Compare predicted with true categories.

    Args:
        truth: category ids, int64 (n,), all known to the tree.
        predicted: category ids, int64 (n,); one that the tree does not know has no level in common with any.
        tree: the paths of the categories.
    """
    if not len(truth):
        return Hierarchy(0.0, 0.0, 0.0, ())
    true, said = tree.depths(truth), tree.depths(predicted)
    shared, levels = 0, []
    for level in range(1, int(max(true.max(), said.max())) + 1):
        nodes = tree.nodes(truth, level)
        same = (nodes == tree.nodes(predicted, level)) & (nodes != NO_NODE)
        shared += int((same & (level <= np.minimum(true, said))).sum())
        levels.append(float(same.mean()))
    precision, recall = shared / max(int(said.sum()), 1), shared / max(int(true.sum()), 1)
    return Hierarchy(precision, recall, 2 * shared / max(int(said.sum() + true.sum()), 1), tuple(levels))
