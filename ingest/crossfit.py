"""Cross-fitting: products are asked fold by fold, by encoders that have learned from the other folds alone."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from rubrika.encode.learned import LearnedConfig, cores
from rubrika.index.folder import LEARNED
from rubrika.index.manifest import JOINT, Manifest
from rubrika.ingest.reach import Cohort, Mask
from rubrika.store.base import FloatArray
from rubrika.store.streams import in_order

# More products are asked in three folds, fewer in five.
MANY = 10_000
# Of which so many are learned at once: each has an encoder in memory, and keeps little more than one core busy.
AT_ONCE = 2

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Fold:
    """Products that are asked, and vectors whose encoders have not learned from them."""

    asked: Mask  # which of all n products, (n,)
    vectors: Mapping[str, FloatArray]  # of all, by named vector, (n, size)
    seen: Mapping[str, IntArray]  # the categories that a learned encoder of these knows


def folds_of(groups: IntArray) -> IntArray:
    """A fold for each product (n,); near duplicates, which have a group in common, are in the same."""
    codes, count = np.unique(groups, return_inverse=True)[1], 3 if len(groups) > MANY else 5
    return np.asarray(np.random.default_rng(0).permutation(codes.max(initial=0) + 1)[codes] % count)


def cross_fitted(
    cohort: Cohort,
    folds: IntArray,
    names: Collection[str],
    stored: Mapping[str, FloatArray],
    encoders: Mapping[str, LearnedConfig],
) -> Iterator[Fold]:
    """Every fold, with these named vectors: as `stored`, (n, size), or by an encoder like the one given, newly learned.

    From products of one category nothing can be learned: their complement is not asked.
    """
    labels = np.array([product.category.id for product in cohort.products if product.category], np.int64)

    def made(asked: Mask) -> Fold | None:
        vectors = {name: stored[name] for name in names if name in stored}
        seen = dict[str, IntArray]()
        for name in (name for name in names if name not in stored and len(np.unique(labels[~asked])) > 1):
            inputs = stored if name == JOINT else {}
            encoder = cohort.learn(~asked, inputs, encoders[name].margin)
            vectors[name] = cohort.encode(encoder, inputs)
            seen[name] = np.array(encoder.config.categories, np.int64)
        return Fold(asked, {name: vectors[name] for name in names}, seen) if len(vectors) == len(names) else None

    if not set(names) <= stored.keys():
        cohort.hash()
    # Learning sets the number of BLAS threads, of all threads that learn, to one, and back to what it found.
    with threadpool_limits(1, "blas"):
        found = in_order(made, (folds == number for number in np.unique(folds)), min(cores(), AT_ONCE))
        yield from (fold for fold in found if fold is not None)


def unlearned_sizes(manifest: Manifest) -> dict[str, int]:
    """The widths of the vectors that no label had a part in."""
    return {name: spec.size for name, spec in manifest.vectors.items() if spec.encoder != LEARNED}
