"""Exact search among vectors in memory, a block of queries at a time."""

import numpy as np
from numpy.typing import NDArray

from rubrika.retrieve.best import best_hits
from rubrika.store.store import FloatArray, Hits

# Similarities that are in memory at once.
BLOCK = 2**22


def exact_search(vectors: FloatArray, labels: NDArray[np.int64], queries: FloatArray, top_k: int) -> Hits:
    """The `top_k` vectors most like each query, best first, ties by place; what else is asked changes no answer.

    Args:
        vectors: of unit length, (n, size).
        labels: the category of each, (n,).
        queries: of unit length, (m, size).
        top_k: at most n.

    Returns:
        Hits whose ids are places among the vectors, (m, top_k).
    """
    # In float32 the last digits depend on how many queries are multiplied together, and so would ties.
    points = vectors.astype(np.float64).T
    rows = max(1, BLOCK // len(vectors))
    parts = [
        best_hits((queries[start : start + rows].astype(np.float64) @ points).astype(np.float32), labels, top_k)
        for start in range(0, len(queries), rows)
    ]
    return Hits.joined([Hits.none(0, top_k), *parts])
