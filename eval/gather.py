"""Brings together what methods learn from and are asked: texts, vectors and labels of both sides of a split."""

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rubrika.baselines.baseline import Part
from rubrika.eval.heldout import Labels
from rubrika.eval.split import Split
from rubrika.index.index import Index
from rubrika.index.manifest import IMAGE, JOINT, TEXT
from rubrika.products.pictures import PictureFolder
from rubrika.products.product import Product
from rubrika.products.selection import Products
from rubrika.progress import Progress
from rubrika.store.store import FloatArray


@dataclass(frozen=True)
class Gathered:
    """Both sides of a split.

    Args:
        train: what is in the index, its vectors as they are stored there.
        test: what was held out.
        seconds: that it took to encode `test`, by vector, given those that it is made from.
        inputs: which these are, by vector.
    """

    train: Part
    test: Part
    seconds: Mapping[str, float]
    inputs: Mapping[str, Collection[str]]

    def encoding(self, names: Iterable[str]) -> float:
        """How long it takes to encode `test` by some vectors and all that they are made from."""
        wanted = set(names)
        for name in list(wanted):
            wanted |= set(self.inputs.get(name, ()))
        return sum(self.seconds[name] for name in wanted)


def gather(
    index: Index,
    products: Products,
    labels: Labels,
    groups: NDArray[np.int64],
    split: Split,
    pictures: PictureFolder | None,
    progress: Progress,
) -> Gathered:
    """Read texts and stored vectors, and encode what was held out.

    Args:
        index: of what was not held out.
        products: all of them, good rows in the order of `split`.
        labels: of all of them.
        groups: of all of them, rows with the same number belonging together, (n,).
        split: which are held out.
        pictures: theirs, if any.
        progress: where to show how far it is.
    """
    held, encoded = split.held_out, _Encoded(index, pictures)
    texts: list[str] = []
    with progress.stage("reading texts, encoding held-out products", len(products)) as advance:
        for batch in products:
            chosen = held[len(texts) : len(texts) + len(batch.products)]
            encoded.add([product for product, out in zip(batch.products, chosen, strict=True) if out])
            texts += [product.text for product in batch.products]
            advance(batch.rows)
    train, test = np.flatnonzero(~held), np.flatnonzero(held)
    whole, stored = Part(texts, {}, labels.categories, groups), _stored(index, labels.ids[train], progress)
    return Gathered(
        replace(whole.rows(train), vectors=stored),
        replace(whole.rows(test), vectors=encoded.vectors()),
        encoded.seconds,
        {JOINT: index.encoders.joint.config.inputs} if index.encoders.joint else {},
    )


class _Encoded:
    """Encodes batch after batch, one vector after the other, and looks at the clock."""

    def __init__(self, index: Index, pictures: PictureFolder | None) -> None:
        # Loaded before the clock runs.
        self._encoders, self._pictures = index.encoders, pictures
        self._parts: dict[str, list[FloatArray]] = {n: [] for n in (TEXT, IMAGE, JOINT) if n in index.manifest.sizes}
        self.seconds = dict.fromkeys(self._parts, 0.0)
        self._sizes = index.manifest.sizes

    def add(self, products: list[Product]) -> None:
        """The next products."""
        made: dict[str, FloatArray] = {}
        for name in self._parts if products else ():
            started = time.monotonic()
            made |= self._encoders.encode(products, self._pictures, [name], given=made).vectors
            self.seconds[name] += time.monotonic() - started
            self._parts[name].append(made[name])

    def vectors(self) -> dict[str, FloatArray]:
        """All that were encoded, by name."""
        return {name: np.concatenate(parts) for name, parts in self._parts.items()}


def _stored(index: Index, ids: NDArray[np.uint64], progress: Progress) -> dict[str, FloatArray]:
    """The stored vectors of products, by name; zeros for one that a product lacks."""
    known, place = np.unique(ids, return_inverse=True)
    vectors = {name: np.zeros((len(known), size), np.float32) for name, size in index.manifest.sizes.items()}
    with progress.stage("reading stored vectors", len(known)) as advance:
        for page in index.store.scroll(payload=False, vectors=True):
            rows = np.searchsorted(known, np.array([point.id for point in page], np.uint64))
            for row, point in zip(rows.tolist(), page, strict=True):
                for name, vector in point.vectors.items():
                    vectors[name][row] = vector
            advance(len(page))
    return {name: rows[place] for name, rows in vectors.items()}
