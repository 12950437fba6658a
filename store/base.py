"""What a store of points does: the Protocol, points and hits."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rubrika.errors import StoreError
from rubrika.products.text import one_line

FloatArray = NDArray[np.float32]
Payload = dict[str, Any]

# Payload keys that people filter by and count in a server's web UI.
INDEXED = {"category_id": "integer", "category": "keyword", "category_levels": "keyword", "shop_id": "integer"}


@dataclass(frozen=True, slots=True)
class Point:
    """A stored product: id, the vectors it has by name, and its payload."""

    id: int
    vectors: Mapping[str, FloatArray] = field(default_factory=dict)
    payload: Payload = field(default_factory=dict)

    @property
    def category_id(self) -> int:
        """What it is labelled; StoreError when it is not a product."""
        return category_of(self.id, self.payload)

    def text(self, key: str) -> str:
        """A text of its payload; StoreError when it is not a product."""
        found = self.payload.get(key)
        if not isinstance(found, str):
            raise foreign(self.id, f"a {key}")
        return found

    def shown(self, key: str) -> str:
        """The same for a person: whoever else wrote into the store may have written what a terminal would obey."""
        found = self.text(key)
        return found if found.isprintable() else one_line(found)


@dataclass(frozen=True, slots=True)
class Hits:
    """The points found by n queries, best first, ties by id; where fewer than k were found, the score is -inf.

    Args:
        ids: product ids, uint64 (n, k).
        scores: cosine similarities, float32 (n, k).
        categories: category ids, int64 (n, k).
    """

    ids: NDArray[np.uint64]
    scores: FloatArray
    categories: NDArray[np.int64]

    @classmethod
    def of(cls, found: Sequence[Sequence[tuple[int, float, int]]], top_k: int) -> "Hits":
        """Pack lists of (id, score, category), one list a query, into arrays."""
        shape = (len(found), top_k)
        hits = cls(np.zeros(shape, np.uint64), np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int64))
        if not found:
            return hits
        counts = np.fromiter(map(len, found), np.int64, len(found))
        filled = np.arange(top_k) < counts[:, None]
        flat = [hit for query in found for hit in query]
        hits.ids[filled] = np.fromiter((hit[0] for hit in flat), np.uint64, len(flat))
        hits.scores[filled] = np.fromiter((hit[1] for hit in flat), np.float32, len(flat))
        hits.categories[filled] = np.fromiter((hit[2] for hit in flat), np.int64, len(flat))
        order = np.lexsort((hits.ids, -hits.scores), axis=1)
        row = np.arange(len(found))[:, None]
        return cls(hits.ids[row, order], hits.scores[row, order], hits.categories[row, order])

    @classmethod
    def none(cls, count: int, top_k: int) -> "Hits":
        """What `count` queries found that were never asked."""
        return cls.of([[]] * count, top_k)

    @classmethod
    def joined(cls, parts: Sequence["Hits"]) -> "Hits":
        """The hits of several batches of queries as one."""
        ids, scores, categories = ([getattr(part, name) for part in parts] for name in ("ids", "scores", "categories"))
        return cls(np.concatenate(ids), np.concatenate(scores), np.concatenate(categories))

    def rows(self, chosen: NDArray[np.bool_]) -> "Hits":
        """The hits of some of the queries, those marked in `chosen` (n,)."""
        return Hits(self.ids[chosen], self.scores[chosen], self.categories[chosen])

    def without(self, ids: NDArray[np.uint64]) -> "Hits":
        """The hits but for one point, the same for all queries (1,) or each its own (n,); those after it move up."""
        own = (self.ids == ids[:, None]) & np.isfinite(self.scores)
        row, order = np.arange(len(own))[:, None], np.argsort(own, axis=1, kind="stable")
        scores = np.where(own, np.float32(-np.inf), self.scores)
        categories = np.where(own, -1, self.categories)
        return Hits(self.ids[row, order], scores[row, order], categories[row, order])

    def first(self, top_k: int) -> "Hits":
        """The best `top_k` of each query."""
        return Hits(self.ids[:, :top_k], self.scores[:, :top_k], self.categories[:, :top_k])


def category_of(id: int, payload: Mapping[str, Any] | None) -> int:
    """The category of a point.

    Raises:
        StoreError: it has none that a product could have.
    """
    found = (payload or {}).get("category_id")
    if type(found) is not int or not 0 <= found < 2**63:
        raise foreign(id, "a category_id")
    return found


def own_id(id: object) -> int:
    """What an engine calls a point, which may be a UUID where Rubrika did not write it.

    Raises:
        StoreError: it is no product's id.
    """
    if not isinstance(id, int):
        raise foreign(id, "a product_id")
    return id


def foreign(id: object, lacks: str) -> StoreError:
    """What to say of a point that Rubrika did not write."""
    return StoreError(f"point {id} is not a product with {lacks}; use a collection or a folder that Rubrika filled")


class Store(Protocol):
    """Points with named vectors of unit length, searched by cosine similarity.

    Every method raises StoreError with one sentence when the engine behind it refuses.
    """

    def upsert(self, points: Sequence[Point]) -> None:
        """Write whole points; one with a known id is replaced."""

    def delete(self, ids: Sequence[int]) -> None:
        """Remove the points with these ids; an unknown id is no error."""

    def replace_payloads(self, payloads: Mapping[int, Payload]) -> None:
        """Give points, by id, another whole payload; their vectors stay, and an unknown id is refused."""

    def search(self, vector: str, queries: FloatArray, top_k: int) -> Hits:
        """Find the `top_k` nearest points of each query, queries being (n, size)."""

    def fetch(self, ids: Sequence[int], payload: bool = True, vectors: bool = False) -> dict[int, Point]:
        """Return the points with these ids; an unknown id is left out."""

    def scroll(self, payload: Sequence[str] | bool = True, vectors: bool = False) -> Iterator[list[Point]]:
        """Yield all points in the order of their ids, some thousands at a time."""

    def count(self) -> int:
        """How many points there are."""

    def facet(self, key: str) -> dict[str | int, int]:
        """How many points hold each value of `category_id`, on a server of any key in INDEXED; most frequent first."""

    def optimise(self) -> None:
        """Build what makes searching fast, after many points were written."""

    def flush(self) -> None:
        """Return when everything written is safe on disk."""

    def close(self) -> None:
        """Give up the store, so that another process can open it."""
