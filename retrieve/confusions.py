"""Pairs of categories that are taken for one another, counted over the suspects of an audit."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rubrika.retrieve.audit import Suspects


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many products of one category look like the other, and how many the other way."""

    category_id: int
    category_name: str
    other_category_id: int
    other_category_name: str
    there: int
    back: int


def confusions(suspects: Suspects, paths: Mapping[int, str], limit: int) -> list[Confusion]:
    """The `limit` pairs with the most suspects, both directions together, ties by ids; `there` is the larger count."""
    if not len(suspects):
        return []
    pairs = np.stack([suspects.categories, suspects.suggested], axis=1)
    directed, count = np.unique(pairs, axis=0, return_counts=True)
    known, pair = np.unique(np.sort(directed, axis=1), axis=0, return_inverse=True)
    counts = np.zeros((len(known), 2), np.int64)
    counts[pair.ravel(), (directed[:, 0] > directed[:, 1]).astype(int)] = count
    found = []
    for row in np.lexsort((known[:, 1], known[:, 0], -counts.sum(axis=1)))[:limit].tolist():
        first = int(counts[row, 1] > counts[row, 0])
        one, other = int(known[row, first]), int(known[row, 1 - first])
        there, back = int(counts[row, first]), int(counts[row, 1 - first])
        found.append(Confusion(one, paths[one], other, paths[other], there, back))
    return found
