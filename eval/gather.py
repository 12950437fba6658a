"""Brings together what methods learn from and are asked: texts, vectors and labels of both sides of a split."""

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rubrika.baselines.baseline import Part
from rubrika.eval.heldout import Labels
from rubrika.eval.split import Split
from rubrika.index.folder import Index
from rubrika.index.manifest import IMAGE, JOINT, TEXT
from rubrika.products.images import PictureFolder
from rubrika.products.product import Product, Products
from rubrika.progress import Progress
from rubrika.store.base import FloatArray


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked at; nothing else is kept in memory.

    Args:
        texts: whether texts are, of both sides.
        stored: which vectors of the training part.
        encoded: which vectors of what was held out.
    """

    texts: bool
    stored: Collection[str]
    encoded: Collection[str]


@dataclass(frozen=True)
class Gathered:
    """Both sides of a split.

    Args:
        train: what is in the index, its vectors as they are stored there, as far as they were wanted.
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
    wanted: Wanted,
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
        wanted: what to read and to encode.
        pictures: theirs, if any.
        progress: where to show how far it is.
    """
    held, inputs = split.held_out, {JOINT: index.encoders.joint.config.inputs} if index.encoders.joint else {}
    made_from = {name for made in wanted.encoded for name in inputs.get(made, ())}
    encoded = _Encoded(index, pictures, {*wanted.encoded, *made_from})
    texts: list[str] = []
    place = 0
    with progress.stage("reading texts, encoding held-out products", len(products)) as advance:
        for batch in products:
            chosen = held[place : place + len(batch.products)]
            place += len(batch.products)
            encoded.add([product for product, out in zip(batch.products, chosen, strict=True) if out])
            if wanted.texts:
                texts += [product.text for product in batch.products]
            advance(batch.rows)
    train, test = np.flatnonzero(~held), np.flatnonzero(held)
    whole, stored = Part(texts, {}, labels.categories, groups), _stored(index, labels.ids[train], wanted, progress)
    return Gathered(
        replace(whole.rows(train), vectors=stored),
        replace(whole.rows(test), vectors=encoded.vectors()),
        encoded.seconds,
        inputs,
    )


class _Encoded:
    """Encodes batch after batch, one vector after the other, and looks at the clock."""

    def __init__(self, index: Index, pictures: PictureFolder | None, names: Collection[str]) -> None:
        # Loaded before the clock runs.
        self._encoders, self._pictures = index.encoders, pictures
        self._parts: dict[str, list[FloatArray]] = {n: [] for n in (TEXT, IMAGE, JOINT) if n in names}
        self.seconds = dict.fromkeys(self._parts, 0.0)

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


def _stored(index: Index, ids: NDArray[np.uint64], wanted: Wanted, progress: Progress) -> dict[str, FloatArray]:
    """The stored vectors of products, by name; zeros for one that a product lacks."""
    vectors = {name: np.zeros((len(ids), index.manifest.sizes[name]), np.float32) for name in wanted.stored}
    order = np.argsort(ids, kind="stable")
    with progress.stage("reading stored vectors", index.store.count() if vectors else 0) as advance:
        for page in index.store.scroll(payload=False, vectors=True) if vectors else ():
            own = np.array([point.id for point in page], np.uint64)
            # Several rows may be of one product.
            first, last = (np.searchsorted(ids, own, side, sorter=order).tolist() for side in ("left", "right"))
            for point, start, end in zip(page, first, last, strict=True):
                for name in vectors.keys() & point.vectors.keys():
                    vectors[name][order[start:end]] = point.vectors[name]
            advance(len(page))
    return vectors
