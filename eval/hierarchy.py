"""How near wrong answers are in the tree of categories: hierarchical precision, recall and F1, accuracy by level."""

from collections.abc import Iterator
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
    true, said = int(tree.depths(truth).sum()), int(tree.depths(predicted).sum())
    shared = int(overlap(truth, predicted, tree).sum())
    return Hierarchy(
        precision=shared / max(said, 1),
        recall=shared / max(true, 1),
        f1=2 * shared / max(said + true, 1),
        levels=tuple(float(same.mean()) for same in _same(truth, predicted, tree)),
    )


def overlap(truth: Labels, predicted: Labels, tree: Tree) -> Labels:
    """How many levels each predicted category shares with the true one, int64 (n,); arguments as in `hierarchy_of`."""
    shallower = np.minimum(tree.depths(truth), tree.depths(predicted))
    shared = np.zeros(len(truth), np.int64)
    for level, same in enumerate(_same(truth, predicted, tree), start=1):
        shared += same & (level <= shallower)
    return shared


def _same(truth: Labels, predicted: Labels, tree: Tree) -> Iterator[NDArray[np.bool_]]:
    """At each level from the top, whether both are at the same node, (n,)."""
    deepest = int(max(tree.depths(truth).max(initial=0), tree.depths(predicted).max(initial=0)))
    for level in range(1, deepest + 1):
        nodes = tree.nodes(truth, level)
        yield (nodes == tree.nodes(predicted, level)) & (nodes != NO_NODE)
