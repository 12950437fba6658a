"""Pairs of products that are almost the same and yet have different categories: one of the two labels is wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubrika.store.store import FloatArray, Hits

ALIKE_FROM = 0.98

Ids = NDArray[np.uint64]
Categories = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """n pairs; the first product of each has the lower id.

    Args:
        ids: product ids, uint64 (n, 2).
        categories: their categories, int64 (n, 2).
        similarity: float32 (n,); 1 where the texts are the same.
    """

    ids: Ids
    categories: Categories
    similarity: FloatArray

    def __len__(self) -> int:
        """How many pairs there are."""
        return len(self.ids)

    def take(self, rows: NDArray[np.intp] | slice) -> "Duplicates":
        """Some of them, in the order of `rows`."""
        return Duplicates(self.ids[rows], self.categories[rows], self.similarity[rows])

    @classmethod
    def of(cls, ids: Ids, categories: Categories, similarity: FloatArray) -> "Duplicates":
        """Pairs (n, 2) whose products come in any order."""
        order = np.argsort(ids, axis=1, kind="stable")
        return cls(np.take_along_axis(ids, order, 1), np.take_along_axis(categories, order, 1), similarity)

    @classmethod
    def joined(cls, parts: Sequence["Duplicates"]) -> "Duplicates":
        """The pairs of several parts, each once, the most alike first, ties by id."""
        ids, categories, similarity = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("ids", "categories", "similarity")
        )
        found = cls(ids, categories, similarity)
        found = found.take(np.lexsort((-found.similarity, found.ids[:, 1], found.ids[:, 0])))
        fresh = np.ones(len(found), bool)
        fresh[1:] = (found.ids[1:] != found.ids[:-1]).any(axis=1)
        found = found.take(np.flatnonzero(fresh))
        return found.take(np.lexsort((found.ids[:, 1], found.ids[:, 0], -found.similarity)))


def alike(ids: Ids, categories: Categories, hits: Hits) -> Duplicates:
    """The pairs of products (n,) and their hits (n, k) that are at least as similar as `ALIKE_FROM`."""
    row, column = np.nonzero((hits.scores >= ALIKE_FROM) & (hits.categories != categories[:, None]))
    return Duplicates.of(
        np.stack([ids[row], hits.ids[row, column]], axis=1),
        np.stack([categories[row], hits.categories[row, column]], axis=1),
        np.minimum(hits.scores[row, column], 1.0),
    )


def same_text(parts: Sequence[tuple[Ids, Categories, Sequence[str]]]) -> Duplicates:
    """Products of the same text with different categories, whatever their vectors.

    Of many products that share a text only those are paired whose categories follow one another, so that every category
    shows and the pairs are never more than the products.

    Args:
        parts: ids (n,), categories (n,) and hashes of texts (n,), one part or several; an empty hash is no text.
    """
    ids = np.concatenate([part[0] for part in parts])
    categories = np.concatenate([part[1] for part in parts])
    hashes = np.concatenate([np.array(part[2], "S16") for part in parts])
    order = np.lexsort((ids, categories, hashes))
    ids, categories, hashes = ids[order], categories[order], hashes[order]
    row = np.flatnonzero((hashes[1:] == hashes[:-1]) & (hashes[1:] != b"") & (categories[1:] != categories[:-1]))
    pair = np.stack([row, row + 1], axis=1)
    return Duplicates.of(ids[pair], categories[pair], np.ones(len(row), np.float32))
