"""What part of an exact scan's hits a store's search finds: measured for every named vector, raised where it lacks."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b
from heapq import nsmallest

import numpy as np

from rubrika.store.base import FloatArray, Store
from rubrika.store.connection import OVERSAMPLING, Recall

# Recall at so many hits, for so many stored products, must be so good; scores may differ in their last digits.
TOP_K, SAMPLE, ENOUGH, TOLERANCE = 10, 200, 0.999, 1e-6
OVERSAMPLINGS, MAX_EFFORT = (OVERSAMPLING, 64.0, 128.0), 4_096


def measure(store: Store, first: Recall) -> None:
    """Choose how a store searches each named vector: as in `first` where that finds enough, else with more effort.

    A graph, which has an effort, may miss some of the nearest however it is searched: then it is the least effort that
    finds almost as much as the most.
    """
    ids = nsmallest(SAMPLE, (point.id for page in store.scroll(payload=False) for point in page), key=_draw)
    sample = store.fetch(ids, payload=False, vectors=True).values()
    for name in sorted({name for point in sample for name in point.vectors}):
        queries = np.array([point.vectors[name] for point in sample if name in point.vectors])
        exact, tried = store.search(name, queries, TOP_K, exact=True).scores, list[Recall]()
        for way in _ways(first):
            store.recall[name] = way
            reached = recall(store.search(name, queries, TOP_K).scores, exact)
            tried.append(replace(way, reached=round(reached, 6), products=len(queries)))
            if reached >= ENOUGH:
                break
        best = max(way.reached or 0.0 for way in tried)
        store.recall[name] = next(way for way in tried if (way.reached or 0.0) >= best - (1 - ENOUGH))


def recall(found: FloatArray, exact: FloatArray) -> float:
    """The share of hits that are as near as an exact scan's last, by scores (n, k), best first, -inf being no hit."""
    there = np.isfinite(exact)
    last = np.where(there, exact, np.inf).min(axis=1, keepdims=True)
    return float((found >= last - TOLERANCE).sum() / there.sum())


def _ways(way: Recall) -> Iterator[Recall]:
    """Ways to search, each with more effort than the one before."""
    yield way
    while way.hnsw_ef is not None and way.hnsw_ef < MAX_EFFORT:
        way = replace(way, hnsw_ef=min(2 * way.hnsw_ef, MAX_EFFORT))
        yield way
    for times in OVERSAMPLINGS:
        if way.oversampling is not None and times > way.oversampling:
            yield replace(way, oversampling=times)
    yield replace(way, oversampling=None)


def _draw(id: int) -> bytes:
    """A place in an order that has nothing to do with ids, the same in every store."""
    return blake2b(id.to_bytes(8, "little"), digest_size=8).digest()
