"""What every baseline can do: learn from some products, then say categories of others with a share for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rubrika.errors import RubrikaError
from rubrika.progress import Progress
from rubrika.retrieve.search import best_positions
from rubrika.store.base import FloatArray
from rubrika.vote import Votes

# Of the categories that a baseline scores, so many are kept a product.
KEPT = 10
CHUNK = 2_048


class BaselineError(RubrikaError):
    """A baseline that cannot be run here, or not with these products."""


@dataclass(frozen=True)
class Part:
    """Products to learn from, or to say the category of.

    Args:
        texts: of n products; none at all where nobody asks for them.
        vectors: theirs by name, float32 (n, size); a row of zeros is a product that lacks this vector.
        labels: their categories, int64 (n,).
        groups: rows with the same number belong together, int64 (n,).
    """

    texts: Sequence[str]
    vectors: Mapping[str, FloatArray]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]

    def __len__(self) -> int:
        """How many products there are."""
        return len(self.labels)

    def rows(self, chosen: NDArray[np.int64]) -> "Part":
        """Some of the products, by their places (m,)."""
        texts = [self.texts[row] for row in chosen.tolist()] if self.texts else ()
        vectors = {name: rows[chosen] for name, rows in self.vectors.items()}
        return Part(texts, vectors, self.labels[chosen], self.groups[chosen])


class Fitted(Protocol):
    """What a baseline has learned."""

    def predict(self, part: Part) -> Votes:
        """The likeliest categories of n products, best first, with their shares; labels are not looked at."""


class Baseline(Protocol):
    """A way to learn; the same products give the same predictions."""

    @property
    def name(self) -> str:
        """What a table calls it."""

    @property
    def vectors(self) -> tuple[str, ...]:
        """The named vectors it learns from; none: it learns from texts."""

    def fit(self, part: Part, progress: Progress) -> Fitted:
        """Learn from labelled products.

        Raises:
            BaselineError: it cannot be run here, or not with these products.
        """


def need(module: str, package: str) -> None:
    """See whether a package is installed, without loading it.

    Raises:
        BaselineError: it is not.
    """
    if find_spec(module) is None:
        raise BaselineError(f"{package} is not installed; install `rubrika[benchmarks]`")


def best_of(categories: NDArray[np.int64], scores: NDArray[np.floating]) -> Votes:
    """The best categories of each product, their shares being the softmax of their scores; ties by id.

    Args:
        categories: int64 (c,), ascending.
        scores: of n products, (n, c).
    """
    place = best_positions(scores, min(KEPT, len(categories)))
    found = np.take_along_axis(scores, place, axis=1)
    shares = np.exp(found - found[:, :1])
    return Votes(categories[place], (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32))


def joined(parts: Sequence[Votes]) -> Votes:
    """The votes over several batches of products, all equally wide, as one."""
    return Votes(*(np.concatenate([getattr(votes, name) for votes in parts]) for name in ("categories", "shares")))
