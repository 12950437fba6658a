"""Keeps what a report shows of held-out products: what each is called, and the vectors of some."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubrika.index.index import Index
from rubrika.products.pictures import PictureFolder
from rubrika.products.product import Product


@dataclass(frozen=True)
class Exhibit:
    """Held-out products to look at.

    Args:
        ids: of all n, uint64 (n,).
        titles: of all n.
        learned: how many products of the category of each were learned from, int64 (n,).
        rows: which of the n have a vector here, ascending (m,).
        vectors: theirs, by the main named vector, float16 (m, size).
    """

    ids: NDArray[np.uint64]
    titles: list[str]
    learned: NDArray[np.int64]
    rows: NDArray[np.intp]
    vectors: NDArray[np.float16]


class Collector:
    """Collects an exhibit, batch by batch.

    Args:
        total: how many products will come.
        vectors: of how many of them, drawn at random, to keep the vector.
        seed: of the drawing.
    """

    def __init__(self, total: int, vectors: int, seed: int) -> None:
        self._wanted = np.zeros(total, bool)
        self._wanted[np.random.default_rng(seed).permutation(total)[:vectors]] = True
        self._ids: list[int] = []
        self._titles: list[str] = []
        self._rows: list[int] = []
        self._vectors: list[NDArray[np.float16]] = []

    def add(self, index: Index, products: Sequence[Product], pictures: PictureFolder | None) -> None:
        """The next products; those that lack the vector are passed over."""
        first, main = len(self._ids), next(iter(index.manifest.vote.weights))
        self._ids += [product.id for product in products]
        self._titles += [product.title for product in products]
        places = np.flatnonzero(self._wanted[first : first + len(products)])
        if not len(places):
            return
        vectors = index.encoders.encode([products[place] for place in places.tolist()], pictures, [main]).vectors[main]
        there = vectors.any(axis=1)
        self._rows += (first + places[there]).tolist()
        self._vectors.append(vectors[there].astype(np.float16))

    def exhibit(self, learned: NDArray[np.int64]) -> Exhibit:
        """All that was collected; `learned` as in Exhibit."""
        vectors = np.concatenate(self._vectors) if self._vectors else np.zeros((0, 1), np.float16)
        return Exhibit(np.array(self._ids, np.uint64), self._titles, learned, np.array(self._rows, np.intp), vectors)
