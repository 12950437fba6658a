"""Lays vectors out on a plane, so that those that are near stay near: t-SNE where scikit-learn is there, else PCA."""

import warnings
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

MAPPED = 3_000
SIZE = 50
PERPLEXITY = 30
# Fewer points have too few neighbours for t-SNE to say more than PCA does.
FEWEST = 20

Places = NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """How vectors were laid out, and where each is, (n, 2)."""

    how: str
    places: Places


def lay_out(vectors: NDArray[np.float16], seed: int) -> Layout:
    """Lay n vectors out; the same vectors and seed always give the same places.

    Args:
        vectors: of unit length (n, size).
        seed: of t-SNE, which begins from the principal components.
    """
    if find_spec("sklearn") is None or len(vectors) < FEWEST:
        return Layout("principal components", components(vectors, 2))
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    # One thread adds numbers up in one order.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reduced = components(vectors, SIZE).astype(np.float32)
        perplexity = min(PERPLEXITY, (len(reduced) - 1) / 3)
        found = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(reduced)
    return Layout(f"t-SNE of the first {reduced.shape[1]} principal components", found.astype(np.float64))


def components(vectors: NDArray[np.float16], count: int) -> Places:
    """The first principal components of the vectors (n, at most `count`); at least two columns, of zeros if need be."""
    centred = vectors.astype(np.float64)
    if not len(centred):
        return np.zeros((0, 2))
    centred -= centred.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :count]
    # An axis may point either way: its largest part is made positive.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    found: Places = np.pad(centred @ axes, ((0, 0), (0, max(2 - axes.shape[1], 0))))
    return found
