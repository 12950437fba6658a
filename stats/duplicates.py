"""Rows that are alike: by id, by text, nearly, or by a column."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubrika.stats.lengths import Numbers, Sketches, alike, near_pairs

# Parting a chain takes time that grows with the square of its length: what is left after so many rounds stays together.
MAX_ROUNDS = 1_000


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups of at least two rows.

    Args:
        groups: how many there are.
        rows: how many rows are in one.
        surplus: how many rows could go, so that one of each group is left.
        largest: rows of the largest group.
        at_odds: rows in groups of more than one category; None when nothing is labelled.
    """

    groups: int
    rows: int
    surplus: int
    largest: int
    at_odds: int | None

    @classmethod
    def of(cls, labels: Numbers, categories: Numbers | None) -> "Groups":
        """Group rows by label (n,), 0 … number of labels; `categories` (n,) are theirs, 0 … number of categories."""
        sizes = np.bincount(labels)
        shared = sizes > 1
        at_odds = None
        if categories is not None:
            width = int(categories.max()) + 1
            spread = np.bincount(np.unique(labels * width + categories) // width)
            at_odds = int(sizes[spread > 1].sum())
        groups, rows = int(shared.sum()), int(sizes[shared].sum())
        return cls(groups, rows, rows - groups, int(sizes.max()) if groups else 0, at_odds)


def numbered(values: NDArray[np.generic]) -> Numbers:
    """Values (n,) as labels 0 … number of different values."""
    labels: Numbers = np.unique(values, return_inverse=True)[1]
    return labels


def near_duplicates(texts: NDArray[np.uint64], sketches: Sketches) -> Numbers:
    """Labels (n,) of rows by their hashed texts (n,) and sketches (n, PLACES): alike are those of one label.

    Every text is nearly the same as the first of its group. A mere chain of texts, each like the next, would tie a
    whole shop together where texts follow a template.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, first, text = np.unique(texts, return_index=True, return_inverse=True)
    sketches = sketches[first]
    pairs = near_pairs(sketches)
    links = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), (len(first), len(first)))
    chains = connected_components(links, directed=False)[1].astype(np.int64)
    labels: Numbers = _parted(chains, sketches)[text]
    return labels


def _parted(chains: Numbers, sketches: Sketches) -> Numbers:
    """Labels (n,) that part chains (n,): the first text of each takes all that are like it, then the next."""
    labels = np.arange(len(chains))
    rest = np.argsort(chains, kind="stable")
    for _ in range(MAX_ROUNDS):
        chain = chains[rest]
        starts = np.flatnonzero(np.diff(chain, prepend=-1))
        leaders = np.repeat(rest[starts], np.diff(starts, append=len(rest)))
        taken = alike(sketches[rest], sketches[leaders])
        labels[rest[taken]] = leaders[taken]
        rest = rest[~taken]
        if not len(rest):
            break
    labels[rest] = len(chains) + chains[rest]
    return labels
