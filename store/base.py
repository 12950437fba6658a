"""What a store of points does: the Protocol, its points and hits, and how both engines' answers become them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rubrika.errors import StoreError
from rubrika.products.text import one_line
from rubrika.store.card import payload_of
from rubrika.store.connection import Recall
from rubrika.store.streams import in_order

FloatArray = NDArray[np.float32]
Payload = dict[str, Any]
# What an engine gives a point: its id, its similarity, and its category.
Hit = tuple[int, float, int]
# How many hits of one query, and of one request, are asked for at most to see where a tie ends.
MAX_TIED = 16_384


@dataclass(frozen=True, slots=True)
class Point:
    """A stored product: id, the vectors it has by name, and its payload."""

    id: int
    vectors: Mapping[str, FloatArray] = field(default_factory=dict)
    payload: Payload = field(default_factory=dict)

    @property
    def category_id(self) -> int:
        """The id of its category; StoreError when it is not a product."""
        return _category_id(self.id, self.payload)

    @property
    def own_id(self) -> int | str:
        """The product's id as its owner writes it."""
        id = self.payload.get("product_id")
        return one_line(id) if isinstance(id, str) else self.id

    def text(self, key: str) -> str:
        """A text of its payload; StoreError when it is not a product."""
        text = self.payload.get(key)
        if not isinstance(text, str):
            raise _not_a_product(self.id, f"a {key}")
        return text

    def shown(self, key: str) -> str:
        """The same for a terminal, without the control characters that somebody else may have stored."""
        text = self.text(key)
        return text if text.isprintable() else one_line(text)


@dataclass(frozen=True, slots=True)
class Hits:
    """The points found by n queries, (n, k), best first, ties by id; where fewer were found, the cosine is -inf."""

    ids: NDArray[np.uint64]
    scores: FloatArray
    categories: NDArray[np.int64]

    @classmethod
    def of(cls, found: Sequence[Sequence[Hit]], top_k: int) -> "Hits":
        """Pack the best `top_k` hits of each of n queries into arrays."""
        found, shape = [_best(query, top_k) for query in found], (len(found), top_k)
        hits = cls(np.zeros(shape, np.uint64), np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int64))
        flat = [hit for query in found for hit in query]
        filled = np.arange(top_k) < np.array([len(query) for query in found])[:, None]
        hits.ids[filled] = np.fromiter((hit[0] for hit in flat), np.uint64, len(flat))
        hits.scores[filled] = np.fromiter((hit[1] for hit in flat), np.float32, len(flat))
        hits.categories[filled] = np.fromiter((hit[2] for hit in flat), np.int64, len(flat))
        return hits

    @classmethod
    def none(cls, count: int, top_k: int) -> "Hits":
        """No hits for `count` queries."""
        return cls.of([[]] * count, top_k)

    @classmethod
    def joined(cls, parts: Sequence["Hits"]) -> "Hits":
        """The hits of several batches of queries as one."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__))

    def rows(self, chosen: NDArray[np.bool_ | np.intp]) -> "Hits":
        """The hits of some of the queries: those marked in `chosen` (n,), or those at its positions."""
        return Hits(self.ids[chosen], self.scores[chosen], self.categories[chosen])

    def without(self, ids: NDArray[np.uint64]) -> "Hits":
        """The hits but for one point, the same for all queries (1,) or one for each (n,); those after it move up."""
        left_out = (self.ids == ids[:, None]) & np.isfinite(self.scores)
        scores = np.where(left_out, np.float32(-np.inf), self.scores)
        categories = np.where(left_out, -1, self.categories)
        return Hits(self.ids, scores, categories)._take(np.argsort(left_out, axis=1, kind="stable"))

    def first(self, top_k: int) -> "Hits":
        """The best `top_k` of each query."""
        return Hits(self.ids[:, :top_k], self.scores[:, :top_k], self.categories[:, :top_k])

    def _take(self, order: NDArray[np.intp]) -> "Hits":
        """The hits of each query in another order, (n, k)."""
        row = np.arange(len(order))[:, None]
        return Hits(self.ids[row, order], self.scores[row, order], self.categories[row, order])


def nearest(
    ask: Callable[[list[list[float]], int], list[list[Hit]]],
    queries: FloatArray,
    top_k: int,
    batch: int,
    max_hits: int = MAX_TIED,
    streams: int = 1,
) -> Hits:
    """The `top_k` nearest points of each query, ties by id; `ask` has an engine find so many for some queries at once.

    Which of the points that are as near as the last one an engine gives depends on the order of their writing. So it is
    asked for one more, and where that is as near, for ever more until the tie ends. Among more than `max_hits` points
    at one distance the choice stays the engine's; such a query takes a tenth of a second as it is. So many `streams`
    of questions are under way at once.
    """
    # Products that share a picture of nothing are near thousands of equal points, and ask the same.
    place = np.arange(len(queries))
    if len(queries) > 1:
        # As rows of bytes: numpy sorts them 10 to 70 times faster than rows of numbers.
        rows_of_bytes = np.ascontiguousarray(queries).view(f"V{queries[0].nbytes}").ravel()
        _, first, place = np.unique(rows_of_bytes, return_index=True, return_inverse=True)
        queries = queries[first]
    found: list[list[Hit]] = [[]] * len(queries)
    rows, limit = list(range(len(queries))), max(top_k, min(top_k + 1, max_hits))
    while rows:
        tied, size = [], max(1, min(batch, MAX_TIED // limit))
        parts = [rows[start : start + size] for start in range(0, len(rows), size)]
        answers = in_order(partial(_asked, ask, queries, limit), parts, min(streams, len(parts)))
        for part, answer in zip(parts, answers, strict=True):
            for row, hits in zip(part, answer, strict=True):
                found[row] = _best(hits, top_k)
                if len(hits) == limit and hits[-1][1] == found[row][-1][1]:
                    tied.append(row)
        rows, limit = tied if limit < max_hits else [], min(4 * limit, max_hits)
    return Hits.of(found, top_k).rows(place.ravel())


def _asked(
    ask: Callable[[list[list[float]], int], list[list[Hit]]], queries: FloatArray, limit: int, part: list[int]
) -> list[list[Hit]]:
    return ask(queries[part].tolist(), limit)


def _best(hits: Sequence[Hit], top_k: int) -> list[Hit]:
    return sorted(hits, key=lambda hit: (-hit[1], hit[0]))[:top_k]


def hit_of(hit: Any) -> Hit:  # noqa: ANN401 - of either engine
    """What an engine found; StoreError when it is not a product."""
    id = _product_id(hit.id)
    return id, hit.score, _category_id(id, hit.payload)


def point_of(record: Any) -> Point:  # noqa: ANN401
    """What an engine has stored; StoreError when it is not a product."""
    vectors = record.vector.items() if isinstance(record.vector, dict) else ()
    arrays = {name: np.asarray(row, np.float32) for name, row in vectors}
    return Point(_product_id(record.id), arrays, payload_of(record.payload))


def pages_of(read: Callable[[Any], tuple[Iterable[Any], Any]]) -> Iterator[list[Point]]:
    """All pages; `read` takes an offset, None at first, and gives records and the next offset, None after the last."""
    offset: Any = None
    while True:
        records, offset = read(offset)
        if points := [point_of(record) for record in records]:
            yield points
        if offset is None:
            return


def counts_of(hits: Iterable[Any]) -> dict[str | int, int]:
    """An engine's facet, most frequent first."""
    return ranked({hit.value: hit.count for hit in hits})


def ranked(counts: Mapping[str | int, int]) -> dict[str | int, int]:
    """Counts, the highest first, ties by value."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], str(item[0]))))


def _category_id(id: int, payload: Mapping[str, Any] | None) -> int:
    category = (payload or {}).get("category_id")
    if type(category) is not int or not 0 <= category < 2**63:
        raise _not_a_product(id, "a category_id")
    return category


def _product_id(id: object) -> int:
    """The id of a point, which may be a UUID where Rubrika did not write it."""
    if not isinstance(id, int):
        raise _not_a_product(id, "a product_id")
    return id


def _not_a_product(id: object, lacks: str) -> StoreError:
    return StoreError(f"point {id} is not a product with {lacks}; use a collection or a folder that Rubrika filled")


def nothing() -> None:
    """What a store does before it writes, unless somebody wants to know."""


class Store(Protocol):
    """Points with named vectors of unit length, searched by cosine similarity.

    Every method raises StoreError with one sentence when the engine behind it refuses.
    """

    recall: dict[str, Recall]  # how each named vector is searched, as far as that was measured
    exact: bool  # whether every search compares with every point
    on_write: Callable[[], None]  # called before anything is written
    wrote: bool  # whether something was, or may have been
    streams: int  # how many calls at once make it quicker; 1: none
    remarks: list[str]  # what was left alone, and why

    def upsert(self, points: Sequence[Point]) -> None:
        """Write whole points; one with a known id is replaced."""

    def delete(self, ids: Sequence[int]) -> None:
        """Remove the points with these ids; an unknown id is no error."""

    def replace_payloads(self, payloads: Mapping[int, Payload]) -> None:
        """Replace whole payloads, by id; vectors stay, and an unknown id is refused."""

    def search(self, vector: str, queries: FloatArray, top_k: int, exact: bool = False) -> Hits:
        """Find the `top_k` nearest points of each query, queries being (n, size); `exact` compares with every point."""

    def fetch(self, ids: Sequence[int], payload: bool = True, vectors: bool = False) -> dict[int, Point]:
        """Return the points with these ids; an unknown id is left out."""

    def scroll(self, payload: Sequence[str] | bool = True, vectors: bool = False) -> Iterator[list[Point]]:
        """Yield all points in the order of their ids, hundreds or thousands at a time."""

    def in_category(self, category: int, limit: int) -> list[Point]:
        """So many of the points of a category at most, the first by id, with their payloads."""

    def count(self) -> int:
        """How many points there are."""

    def facet(self, key: str) -> dict[str | int, int]:
        """How many points hold each value of `category_id`, on a server of any indexed key; most frequent first."""

    def optimise(self) -> None:
        """Build what makes searching fast, after many points were written, and measure anew what it finds: `recall`."""

    def flush(self) -> None:
        """Return when everything written is safe on the disk."""

    def close(self) -> None:
        """Close the store; one that was opened for a change lets another process change it."""
