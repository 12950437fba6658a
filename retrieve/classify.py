"""Classifies products: a query a product and named vector, and a vote over its hits."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from rubrika.index.calibration import MAX_ERROR
from rubrika.index.index import Index
from rubrika.products.pictures import PictureFolder
from rubrika.products.product import Batch
from rubrika.products.selection import Products
from rubrika.retrieve.decide import Decisions, decide
from rubrika.retrieve.levels import Levels, levels_of
from rubrika.retrieve.tree import Tree
from rubrika.retrieve.vote import Votes, lifted, vote_over
from rubrika.store.store import FloatArray, Hits, Store


@dataclass(frozen=True, slots=True)
class Classified:
    """A batch with what was found for its products, in the order of `batch.products`.

    Args:
        batch: the products.
        hits: what each named vector that votes has found; the first is the main one.
        votes: their outcome.
        decided: what they are worth.
        tree: the categories that were met so far.
        levels: of the most voted leaf.
        failures: how many pictures could not be used, by reason.
    """

    batch: Batch
    hits: Mapping[str, Hits]
    votes: Votes
    decided: Decisions
    tree: Tree
    levels: Levels
    failures: Mapping[str, int]


def classify(
    index: Index,
    products: Products,
    pictures: PictureFolder | None = None,
    top_k: int | None = None,
    max_error: float = MAX_ERROR,
    level: int | None = None,
) -> Iterator[Classified]:
    """Yield every batch, classified.

    Args:
        index: an open index.
        products: labelled or not; labels are not looked at.
        pictures: where their pictures are, if anywhere.
        top_k: how many hits of each vector vote, by default what the index says.
        max_error: the part of automatic answers that may be wrong.
        level: of the tree, counted from 1 at the top: what is predicted, and decided, is the best category there, which
            goes by its most voted leaf.
    """
    settings = index.manifest.vote
    settings = replace(settings, top_k=top_k or settings.top_k)
    tree, weights, calibration = Tree(), settings.weights, index.manifest.calibration
    for batch in products:
        encoded = index.encoders.encode(batch.products, pictures, settings.weights)
        hits = {name: search(index.store, name, encoded.vectors[name], settings.top_k) for name in settings.weights}
        votes = vote_over(lifted(hits, settings, index.seen), settings)
        tree.learn(index.store, hits)
        levels = levels_of(tree, hits, votes, weights, calibration)
        judged = hits, votes
        if level is not None:
            votes = tree.at(votes, level)
            judged = tree.raised(hits, votes, level)
        decided = decide(*judged, weights, calibration, max_error)
        yield Classified(batch, hits, votes, decided, tree, levels, Counter(encoded.failures.values()))


def search(store: Store, name: str, vectors: FloatArray, top_k: int) -> Hits:
    """Search with rows (n, size); one of zeros is a product that lacks this vector, and finds nothing."""
    there = vectors.any(axis=1)
    if there.all():
        return store.search(name, vectors, top_k)
    found, hits = store.search(name, vectors[there], top_k), Hits.none(len(vectors), top_k)
    hits.ids[there], hits.scores[there], hits.categories[there] = found.ids, found.scores, found.categories
    return hits
