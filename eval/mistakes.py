"""Mistakes: which category is taken for which other most often, and which products those are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Mistake:
    """Products of one category that are taken for another: how many, of how many, and their rows, the surest first."""

    category_id: int
    taken_for: int
    count: int
    products: int
    rows: tuple[int, ...]


def mistakes(truth: Labels, predicted: Labels, confidences: NDArray[np.float32], limit: int) -> list[Mistake]:
    """The `limit` most frequent mistakes, ties by ids.

    Args:
        truth: true categories (n,).
        predicted: predicted categories (n,).
        confidences: of the predictions (n,).
        limit: how many to return.
    """
    wrong = np.flatnonzero(truth != predicted)
    pairs, of, counts = np.unique(
        np.stack([truth[wrong], predicted[wrong]], axis=1), axis=0, return_inverse=True, return_counts=True
    )
    found = []
    for pair in np.lexsort((pairs[:, 1], pairs[:, 0], -counts))[:limit].tolist():
        rows = wrong[of.ravel() == pair]
        surest = rows[np.argsort(-confidences[rows], kind="stable")]
        true, said = pairs[pair].tolist()
        found.append(Mistake(true, said, int(counts[pair]), int((truth == true).sum()), tuple(surest.tolist())))
    return found


def confusion(truth: Labels, predicted: Labels, categories: list[int]) -> list[list[int]]:
    """How many products of each of some categories are taken for each other of them; the right ones are left out."""
    known = np.array(categories, np.int64)
    inside = np.isin(truth, known) & np.isin(predicted, known) & (truth != predicted)
    order = np.argsort(known)
    counts = np.zeros((len(known), len(known)), np.int64)
    rows, columns = (order[np.searchsorted(known[order], labels[inside])] for labels in (truth, predicted))
    np.add.at(counts, (rows, columns), 1)
    table: list[list[int]] = counts.tolist()
    return table
