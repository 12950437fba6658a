"""The best of scores that are all at hand, where no store is asked: ties come by their place."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rubrika.store.store import FloatArray, Hits


def best_hits(scores: FloatArray, labels: NDArray[np.int64], top_k: int) -> Hits:
    """The products with the best scores, ties by their place, which is their id here.

    Args:
        scores: of m known products for each of n asked ones, (n, m); -inf is no hit.
        labels: of the known ones (m,).
        top_k: how many to find.
    """
    width = min(top_k, scores.shape[1])
    place, none = best_places(scores, width), top_k - width
    hits = Hits(place.astype(np.uint64), np.take_along_axis(scores, place, axis=1), labels[place])
    if not none:
        return hits
    empty = Hits.none(len(scores), none)
    both: Mapping[str, NDArray[np.generic]] = {
        name: np.concatenate([getattr(hits, name), getattr(empty, name)], axis=1)
        for name in ("ids", "scores", "categories")
    }
    return Hits(**both)  # type: ignore[arg-type]


def best_places(scores: NDArray[np.floating], width: int) -> NDArray[np.int64]:
    """Where the best scores of each row stand, (n, width), best first; ties by place.

    Args:
        scores: (n, m); -inf is allowed.
        width: at most m.
    """
    if not width:
        return np.zeros((len(scores), 0), np.int64)
    last = scores.shape[1] - width
    least = np.partition(scores, last, axis=1)[:, last : last + 1]
    above, equal = scores > least, scores == least
    # Of those as good as the last one, the first by place.
    wanted = above | (equal & (np.cumsum(equal, axis=1, dtype=np.int32) <= width - above.sum(axis=1, keepdims=True)))
    place = np.nonzero(wanted)[1].reshape(len(scores), width)
    order = np.argsort(-np.take_along_axis(scores, place, axis=1), axis=1, kind="stable")
    best: NDArray[np.int64] = np.take_along_axis(place, order, axis=1)
    return best
