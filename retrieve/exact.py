"""Exact search: the nearest of many points to many queries at once, the points coming page by page."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rubrika.store.base import FloatArray, Hits

# Queries multiplied together with points: as many similarities as the processor's caches hold well.
QUERIES, POINTS = 256, 8_192
# In float32 the last digits of a product depend on what is multiplied beside it: whatever is nearer than the last hit
# less this is compared again in float64.
SLACK = np.float32(1e-5)
NO_GROUP = -1

Ids = NDArray[np.uint64]
Groups = NDArray[np.int64]


class ExactSearch:
    """The `top_k` nearest points of n queries (n, size) by their dot product; memory is bounded by the queries.

    Points of a query's group, numbered in `groups` (n,), are left out; NO_GROUP leaves none out. Scores are computed in
    float64 and ranked as float32, ties by id, so hits depend neither on the order of the points nor on other queries.

    >>> search = ExactSearch(np.eye(2, dtype=np.float32), top_k=1)
    >>> search.add(np.array([7, 9], np.uint64), np.array([[0.6, 0.8], [1, 0]], np.float32), np.array([70, 90]))
    >>> search.hits().ids.tolist()
    [[9], [7]]
    """

    def __init__(self, queries: FloatArray, top_k: int, groups: Groups | None = None) -> None:
        self._queries, self._groups, self._top_k = queries, groups, top_k
        self._best = [Hits.none(len(queries[part]), top_k) for part in _parts(len(queries), QUERIES)]

    def add(self, ids: Ids, vectors: FloatArray, categories: Groups, groups: Groups | None = None) -> None:
        """Search m more points, (m, size), none of which came before; `groups` (m,) as those of the queries."""
        for part in _parts(len(vectors), POINTS):
            points, own = vectors[part], None if groups is None else groups[part]
            for number, rows in enumerate(_parts(len(self._queries), QUERIES)):
                scores = self._queries[rows] @ points.T
                if self._groups is not None and own is not None:
                    scores[_same(self._groups[rows], own)] = -np.inf
                row, column = self._candidates(scores, self._best[number].scores[:, -1:])
                if len(row):
                    pairs = self._queries[rows][row].astype(np.float64), points[column].astype(np.float64)
                    products = np.einsum("ij,ij->i", *pairs).astype(np.float32)
                    found = Hits(ids[part][column], products, categories[part][column])
                    self._best[number] = _merged(self._best[number], row, found)

    def hits(self) -> Hits:
        """The hits of all queries among the points so far, (n, top_k)."""
        return Hits.joined([Hits.none(0, self._top_k), *self._best])

    def _candidates(self, scores: FloatArray, last: FloatArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the scores (n, m) that may be among the best, `last` (n, 1) being the last hits'."""
        place = scores.shape[1] - self._top_k
        if place > 0 and not np.isfinite(last).all():
            last = np.maximum(last, np.partition(scores, place, axis=1)[:, place, None])
        # No finite score is as low as this: it is that of a point that is left out.
        flat = np.flatnonzero(scores >= np.maximum(last - SLACK, np.finfo(np.float32).min))
        return np.divmod(flat, scores.shape[1])


def exact_hits(vectors: FloatArray, categories: Groups, queries: FloatArray, top_k: int) -> Hits:
    """The hits of queries (m, size) among vectors (n, size), whose positions are their ids."""
    search = ExactSearch(queries, top_k)
    search.add(np.arange(len(vectors), dtype=np.uint64), vectors, categories)
    return search.hits()


def best_hits(scores: FloatArray, categories: NDArray[np.int64], top_k: int) -> Hits:
    """The best of m products for n queries by scores (n, m), -inf being no hit; ids are positions, by which ties go."""
    width = min(top_k, scores.shape[1])
    place, pad = best_positions(scores, width), ((0, 0), (0, top_k - width))
    return Hits(
        np.pad(place.astype(np.uint64), pad),
        np.pad(np.take_along_axis(scores, place, axis=1), pad, constant_values=-np.inf),
        np.pad(categories[place], pad, constant_values=-1),
    )


def best_positions(scores: NDArray[np.floating], width: int) -> NDArray[np.int64]:
    """The positions of the best `width` scores in each row of (n, m), best first, (n, width); ties by position."""
    if not width:
        return np.zeros((len(scores), 0), np.int64)
    last = scores.shape[1] - width
    bound = np.partition(scores, last, axis=1)[:, last : last + 1]
    above, equal = scores > bound, scores == bound
    # Of the scores equal to the last one, those that come first.
    wanted = above | (equal & (np.cumsum(equal, axis=1, dtype=np.int32) <= width - above.sum(axis=1, keepdims=True)))
    place = np.nonzero(wanted)[1].reshape(len(scores), width)
    order = np.argsort(-np.take_along_axis(scores, place, axis=1), axis=1, kind="stable")
    return np.asarray(np.take_along_axis(place, order, axis=1))


def _parts(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))


def _same(mine: Groups, own: Groups) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The places in a table (n, m) where the groups of n queries and of m points are the same."""
    order = np.argsort(own, kind="stable")
    first, last = (np.searchsorted(own[order], mine, side) for side in ("left", "right"))
    count = np.where(mine == NO_GROUP, 0, last - first)
    row = np.repeat(np.arange(len(mine)), count)
    place = np.arange(len(row)) - np.repeat(np.cumsum(count) - count - first, count)
    return row, order[place]


def _merged(best: Hits, row: NDArray[np.intp], new: Hits) -> Hits:
    """The best of the hits (n, k) and new ones, flat and each with its row."""
    count, top_k = best.scores.shape
    rows = np.concatenate([np.repeat(np.arange(count), top_k), row])
    ids, scores, categories = (
        np.concatenate([getattr(best, name).ravel(), getattr(new, name)]) for name in Hits.__slots__
    )
    order = np.lexsort((ids, -scores, rows))
    start = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=count))[:-1]])
    kept = order[(start[:, None] + np.arange(top_k)).ravel()]
    return Hits(*(part[kept].reshape(count, top_k) for part in (ids, scores, categories)))
