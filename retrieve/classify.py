"""Classifies products: a query a product, and a vote over its hits."""

from collections.abc import Iterator
from dataclasses import dataclass

from rubrika.index.index import Index
from rubrika.products.product import Batch
from rubrika.products.selection import Products
from rubrika.retrieve.vote import Votes, weighted_vote
from rubrika.store.store import Hits


@dataclass(frozen=True, slots=True)
class Classified:
    """A batch with what was found for its products, in the order of `batch.products`."""

    batch: Batch
    vector: str
    hits: Hits
    votes: Votes


def classify(index: Index, reader: Products, top_k: int | None = None) -> Iterator[Classified]:
    """Yield every batch of the reader, classified.

    Args:
        index: an open index.
        reader: the products, labelled or not; labels are not looked at.
        top_k: how many hits vote, by default what the index was tuned to.
    """
    vote = index.manifest.vote
    encoder = index.encoders[vote.vector]
    for batch in reader:
        vectors = encoder.encode([product.text for product in batch.products])
        hits = index.store.search(vote.vector, vectors, top_k or vote.top_k)
        yield Classified(batch, vote.vector, hits, weighted_vote(hits, vote.temperature))
