"""Finds rows that are alike: by id, by text, by nearly the same text (MinHash), by words of titles, or by a column."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rubrika.encode.hashing import Features, features_of

# Of 64 places the share that two sketches have in common estimates a Jaccard index with a standard error of 0.04.
PLACES = 64
MIN_ALIKE = 0.9
SEED = 0
# Splitting takes time that grows with the square of a chain's length: what is left after these rounds stays together.
MAX_ROUNDS = 1_000
CHUNK = 2_048  # texts whose features are in memory at once

# Shorter words are sizes, units and model codes, in which near duplicates differ.
_WORD = re.compile(r"[^\W\d_]{3,}")

Labels = NDArray[np.int64]
Sketches = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups of at least two rows."""

    groups: int
    rows: int
    surplus: int  # rows that could go, so that one of each group is left
    largest: int
    at_odds: int | None  # rows in groups of more than one category; None without labels

    @classmethod
    def of(cls, values: NDArray[Any], categories: Labels | None) -> "Groups":
        """Group rows by their values (n,); `categories` (n,) are theirs."""
        rows = pd.Series(0 if categories is None else categories, range(len(values))).groupby(values)
        sizes = rows.size()
        shared = sizes[sizes > 1]
        groups, count = len(shared), int(shared.sum())
        at_odds = None if categories is None else int(sizes[rows.nunique() > 1].sum())
        return cls(groups, count, count - groups, int(shared.max()) if groups else 0, at_odds)


def sketches_of(features: Features) -> Sketches:
    """The MinHash of n texts, uint16 (n, PLACES); that of a text without any feature is all zeros."""
    salts, factors = np.random.default_rng(SEED).integers(0, 2**32, (2, PLACES), dtype=np.uint32)
    hashes = (features.hashes >> np.uint64(32)).astype(np.uint32)
    filled = np.flatnonzero(np.diff(features.offsets))
    sketches = np.zeros((len(features.offsets) - 1, PLACES), np.uint16)
    for place, (salt, factor) in enumerate(zip(salts, factors | np.uint32(1), strict=True)):
        smallest = np.minimum.reduceat((hashes ^ salt) * factor, features.offsets[filled])
        # The lower half of a minimum is enough to tell it from another.
        sketches[filled, place] = smallest.astype(np.uint16)
    return sketches


def alike(sketches: Sketches, others: Sketches) -> NDArray[np.bool_]:
    """Whether the texts of two sketches are nearly the same, one pair a row (n,)."""
    return np.asarray((sketches == others).mean(axis=1) >= MIN_ALIKE)


def near_pairs(sketches: Sketches) -> Labels:
    """Pairs of rows (m, 2) that are alike, enough of them to link every row to others like it.

    Of the rows that share a band only neighbours are compared, in the order of the next band, so that time does not
    grow with the square of a large group.
    """
    # Four places of 16 bits are one number of 64.
    bands = np.ascontiguousarray(sketches).view(np.uint64).T
    pairs = []
    for band, following in zip(bands, np.roll(bands, -1, axis=0), strict=True):
        order = np.lexsort((following, band))
        keys = band[order]
        place = np.flatnonzero((keys[1:] == keys[:-1]) & (keys[1:] != 0))
        candidates = np.stack([order[place], order[place + 1]], axis=1)
        pairs.append(candidates[alike(sketches[candidates[:, 0]], sketches[candidates[:, 1]])])
    return np.concatenate(pairs)


def near_duplicates(texts: NDArray[np.uint64], sketches: Sketches) -> Labels:
    """Labels (n,) of rows by their hashed texts (n,) and sketches (n, PLACES): alike are those of one label.

    Every text is nearly the same as the first of its group. A mere chain of texts, each like the next, would tie a
    whole shop together where texts follow a template.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, first, text = np.unique(texts, return_index=True, return_inverse=True)
    sketches = sketches[first]
    pairs = near_pairs(sketches)
    links = coo_array((np.ones(len(pairs), np.int8), pairs.T), (len(first), len(first)))
    return np.asarray(_split(connected_components(links, directed=False)[1], sketches)[text])


def _split(chains: Labels, sketches: Sketches) -> Labels:
    """Labels (n,) that split chains (n,): the first text of each takes all that are like it, then the next."""
    labels, rest = np.arange(len(chains)), np.argsort(chains, kind="stable")
    for _ in range(MAX_ROUNDS):
        if not len(rest):
            break
        starts = np.flatnonzero(np.diff(chains[rest], prepend=-1))
        leaders = np.repeat(rest[starts], np.diff(starts, append=len(rest)))
        taken = alike(sketches[rest], sketches[leaders])
        labels[rest[taken]] = leaders[taken]
        rest = rest[~taken]
    labels[rest] = len(chains) + chains[rest]
    return labels


def group_number(title: str, group: str, id: int) -> int:
    """A number that is equal for near duplicates: products of one `group`, or with the same words in their titles.

    A product without either is alone. It depends on this product only, so it is the same in any file and any order.
    """
    words = " ".join(sorted(set(_WORD.findall(title.lower()))))
    key = f"group {group}" if group else f"words {words}" if words else f"product {id}"
    return int.from_bytes(blake2b(key.encode("utf-8", "replace"), digest_size=8).digest(), "big") >> 1


def merged_groups(*labels: Labels) -> Labels:
    """Labels (n,) from 0 by which rows are alike that are alike by any of several labels, each (n,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    codes = [np.unique(each, return_inverse=True)[1] for each in labels]
    count, first = len(codes[0]), np.cumsum([0, *(int(code.max(initial=-1)) + 1 for code in codes)])
    nodes = np.concatenate([code + count + start for code, start in zip(codes, first[:-1], strict=True)])
    edges = np.tile(np.arange(count), len(codes)), nodes
    size = count + int(first[-1])
    graph = coo_array((np.ones(len(nodes), np.int8), edges), (size, size))
    return np.unique(connected_components(graph, directed=False)[1][:count], return_inverse=True)[1]


def text_groups(texts: Sequence[str]) -> Labels:
    """Labels (n,) by which texts are alike that are nearly the same."""
    parts = [sketches_of(features_of(texts[start : start + CHUNK])) for start in range(0, len(texts), CHUNK)]
    hashes = [int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big") for text in texts]
    return near_duplicates(np.array(hashes, np.uint64), np.concatenate(parts))
