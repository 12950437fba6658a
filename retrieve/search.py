"""Searches an index for products: a query a product and named vector that votes."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rubrika.index.index import Index
from rubrika.products.pictures import PictureFolder
from rubrika.products.product import Batch
from rubrika.products.selection import Products
from rubrika.store.store import FloatArray, Hits, Store


@dataclass(frozen=True, slots=True)
class Found:
    """A batch with what was found for its products, in the order of `batch.products`.

    Args:
        batch: the products.
        hits: what each named vector that votes has found; the first is the main one.
        failures: how many pictures could not be used, by reason.
    """

    batch: Batch
    hits: Mapping[str, Hits]
    failures: Mapping[str, int]


def find(
    index: Index, products: Products, pictures: PictureFolder | None = None, top_k: int | None = None
) -> Iterator[Found]:
    """Yield every batch with its hits.

    Args:
        index: an open index.
        products: labelled or not; labels are not looked at.
        pictures: where their pictures are, if anywhere.
        top_k: how many hits of each vector, by default as many as vote.
    """
    names, top_k = index.manifest.vote.weights, top_k or index.manifest.vote.top_k
    for batch in products:
        encoded = index.encoders.encode(batch.products, pictures, names)
        hits = {name: search(index.store, name, encoded.vectors[name], top_k) for name in names}
        yield Found(batch, hits, Counter(encoded.failures.values()))


def search(store: Store, name: str, vectors: FloatArray, top_k: int) -> Hits:
    """Search with rows (n, size); one of zeros is a product that lacks this vector, and finds nothing."""
    there = vectors.any(axis=1)
    if there.all():
        return store.search(name, vectors, top_k)
    found, hits = store.search(name, vectors[there], top_k), Hits.none(len(vectors), top_k)
    hits.ids[there], hits.scores[there], hits.categories[there] = found.ids, found.scores, found.categories
    return hits
