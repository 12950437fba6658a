"""Categories that an encoder has not learned: their products count as nearer, and their names and means vote too.

Learning draws products towards the categories it knows, so whatever is of another category seems far from all. A new
category has few products at first, or only a name; each is a vector, and so is the mean of its products.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rubrika.encode.base import unit_or_zero
from rubrika.index.categories import Names, read_names
from rubrika.index.folder import Index
from rubrika.index.manifest import VoteSettings
from rubrika.products.product import Category, Product
from rubrika.retrieve.exact import best_positions
from rubrika.store.base import FloatArray, Hits
from rubrika.vote import with_reach

# Of each product, so many categories that have prototypes may vote besides its hits.
CANDIDATES = 3
# A mean of more products would hardly be another.
MAX_EXAMPLES = 500

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Prototypes:
    """Vectors that stand for categories: of names, and means of products."""

    categories: IntArray  # ids, (m,); a category may have several
    vectors: FloatArray  # (m, size)

    @cached_property
    def deviation(self) -> float:
        """Of the similarities between two of them, found without all the pairs; 1 where they do not differ."""
        vectors = self.vectors.astype(np.float64)
        lengths, pairs = np.square(vectors).sum(axis=1), max(len(vectors) * (len(vectors) - 1), 1)
        mean = (np.square(vectors.sum(axis=0)).sum() - lengths.sum()) / pairs
        square = (np.square(vectors.T @ vectors).sum() - np.square(lengths).sum()) / pairs
        variance = square - mean**2
        return float(np.sqrt(variance)) if variance > 1e-12 else 1.0

    def nearest(self, queries: FloatArray, count: int) -> Hits:
        """The `count` nearest categories of each query (n, size), each once; their ids are 0."""
        ids = np.unique(self.categories)
        scores = np.full((len(queries), len(ids)), -np.inf, np.float32)
        similarity = queries @ self.vectors.T
        for place, category in enumerate(ids):
            scores[:, place] = similarity[:, self.categories == category].max(axis=1)
        scores[~queries.any(axis=1)] = -np.inf
        best = best_positions(scores, min(count, len(ids)))
        found = np.take_along_axis(scores, best, axis=1)
        return Hits(np.zeros(best.shape, np.uint64), found, np.where(np.isfinite(found), ids[best], -1))


@dataclass(frozen=True)
class Newcomers:
    """The categories of an index that its encoders have not learned."""

    seen: Mapping[str, IntArray]  # those that each learned encoder knows, by named vector
    started: Mapping[str, Prototypes]  # of unseen categories with products, by the learned vectors that vote
    named: Mapping[str, Prototypes]  # of categories without products, by the vectors that can read a name
    names: Names  # of all categories

    @classmethod
    def of(cls, index: Index) -> "Newcomers":
        """Find them in an index; where all categories were learned, that takes no time."""
        names, counts = read_names(index.folder) or {}, {int(id) for id in index.store.facet("category_id")}
        voting = [name for name in index.manifest.vote.weights if name in index.encoders.readers]
        empty = sorted(names.keys() - counts)
        fresh = {name: sorted(counts - set(index.seen[name].tolist())) for name in voting if name in index.seen}
        means = _means(index, fresh)
        started, named = dict[str, Prototypes](), dict[str, Prototypes]()
        for name in voting:
            if fresh.get(name):
                known = [id for id in fresh[name] if id in names]
                both = [_named(index, [name], known, names)[name], *([means[name]] if name in means else [])]
                started[name] = _joined(both)
        if empty and voting:
            named = _named(index, voting, empty, names)
        return cls(index.seen, started, named, names)

    def voting(
        self, hits: Mapping[str, Hits], vectors: Mapping[str, FloatArray], vote: VoteSettings
    ) -> dict[str, Hits]:
        """Hits, with those of unseen categories as near as they vote, and with the prototypes that vote."""
        found = dict[str, Hits]()
        for name, own in hits.items():
            parts = (
                [with_reach(own, ~np.isin(own.categories, self.seen[name]), vote.unseen_reach)]
                if name in self.seen
                else [own]
            )
            if name in self.started:
                parts.append(_reaching(self.started[name].nearest(vectors[name], CANDIDATES), vote.unseen_reach))
            if name in self.named and vote.name_reach is not None:
                parts.append(_reaching(self._nearest_names(name, vectors, CANDIDATES), vote.name_reach))
            found[name] = own if len(parts) == 1 else _side_by_side(parts)
        return found

    def suggestions(self, vectors: Mapping[str, FloatArray]) -> list[str | None]:
        """The name nearest to each product (n,) among the categories without products; None where there are none."""
        for name in self.named:
            nearest = self._nearest_names(name, vectors, 1).categories[:, 0].tolist()
            return [self.names.get(category) for category in nearest]
        return [None] * len(next(iter(vectors.values())))

    def _nearest_names(self, name: str, vectors: Mapping[str, FloatArray], count: int) -> Hits:
        """The `count` nearest names of each product, as near as one named vector finds them, ranked by all that read.

        A learned vector knows the words of this shop, a pretrained one those of the language. Their similarities are
        added in units of how much they differ between names.
        """
        main = self.named[name]
        rank = np.zeros((len(vectors[name]), len(main.categories)), np.float32)
        for other, prototypes in self.named.items():
            rank += vectors[other] @ prototypes.vectors.T / np.float32(prototypes.deviation)
        best = best_positions(rank, min(count, len(main.categories)))
        scores = np.take_along_axis(vectors[name] @ main.vectors.T, best, axis=1)
        scores[~vectors[name].any(axis=1)] = -np.inf
        return Hits(np.zeros(best.shape, np.uint64), scores, np.where(np.isfinite(scores), main.categories[best], -1))


def _means(index: Index, fresh: Mapping[str, list[int]]) -> dict[str, Prototypes]:
    """The means of the stored products of unseen categories."""
    wanted = {category for categories in fresh.values() for category in categories}
    members = defaultdict[int, list[int]](list)
    for page in index.store.scroll(payload=["category_id"]) if wanted else ():
        for point in page:
            category = point.payload.get("category_id")
            if category in wanted and len(members[category]) < MAX_EXAMPLES:
                members[category].append(point.id)
    sums = defaultdict[str, dict[int, FloatArray]](dict)
    for category, ids in members.items():
        for point in index.store.fetch(ids, payload=False, vectors=True).values():
            for name in (name for name in fresh if category in fresh[name] and name in point.vectors):
                sums[name][category] = sums[name].get(category, np.float32(0)) + point.vectors[name]
    return {
        name: Prototypes(np.array(list(each), np.int64), unit_or_zero(np.stack(list(each.values()))))
        for name, each in sums.items()
    }


def _named(index: Index, voting: Sequence[str], categories: Iterable[int], names: Names) -> dict[str, Prototypes]:
    """The last heading of each name, by the named vectors that vote, and by the texts that these are made from."""
    chosen = [id for id in categories if Category(id, names[id]).levels]
    leaves = [Category(id, names[id]).levels[-1] for id in chosen]
    encoded = index.encoders.encode([Product(0, leaf, leaf, 0) for leaf in leaves], None, voting).vectors
    ids = np.array(chosen, np.int64)
    return {name: Prototypes(ids, encoded[name]) for name in encoded if name in index.encoders.readers}


def _joined(parts: list[Prototypes]) -> Prototypes:
    return Prototypes(np.concatenate([it.categories for it in parts]), np.concatenate([it.vectors for it in parts]))


def _reaching(hits: Hits, reach: float) -> Hits:
    return with_reach(hits, np.ones(hits.scores.shape, bool), reach)


def _side_by_side(parts: list[Hits]) -> Hits:
    return Hits(*(np.concatenate([getattr(part, name) for part in parts], axis=1) for name in Hits.__slots__))
