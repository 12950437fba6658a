"""Measures how far categories may reach that an encoder has not learned, by hiding some that it could have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rubrika.encode.base import unit_or_zero
from rubrika.encode.learned import LearnedEncoder
from rubrika.index.manifest import VoteSettings
from rubrika.products.product import Kept, Product
from rubrika.progress import Silent
from rubrika.retrieve.exact import exact_hits
from rubrika.store.base import FloatArray

if TYPE_CHECKING:
    from rubrika.train.bags import FeatureBags

# A new category has so many examples here, and so many more products at least that are asked.
EXAMPLES, ASKED = 5, 3
REACHES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
# For each new category, at most this part of all known products may be lost to it.
MAX_LOST = 0.0002
# A name carries when it is the nearest of those hidden for this part of their products; else it has no vote.
NAMES_RIGHT = 0.3

IntArray = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Cohort:
    """Products of which encoders learn, each from the labels of a part of them; all are hashed once."""

    products: Sequence[Product]

    @cached_property
    def _bags(self) -> "FeatureBags":
        # Imported here: learning needs numba, which takes a second to load.
        from rubrika.train.bags import read_feature_bags

        return read_feature_bags(Kept(list(self.products)), None, Silent())

    def hash(self) -> None:
        """Do it now, as each of several threads that learn would do it."""
        _ = self._bags

    def learn(self, chosen: Mask, inputs: Mapping[str, FloatArray], margin: float) -> LearnedEncoder:
        """An encoder that has learned from the products chosen, (n,), in which the margin view counts for `margin`.

        `inputs` are vectors of all, (n, width) by name.
        """
        from rubrika.train.embed import learn_part

        return learn_part(self._bags, chosen, inputs, margin)

    def encode(self, encoder: LearnedEncoder, inputs: Mapping[str, FloatArray]) -> FloatArray:
        """The vectors of all products by an encoder that learned here, (n, size)."""
        return encoder.encode_bags(self._bags.features, inputs)


def measured_reach(
    vote: VoteSettings,
    cohort: Cohort,
    asked: Mask,
    inputs: Mapping[str, FloatArray],
    margin: float,
) -> VoteSettings:
    """The vote with the farthest reach that takes little from known categories.

    Of the cohort an encoder is learned without the products `asked` (n,), and without a tenth of the categories. These
    are hidden: of each, five products, their mean and its name try to take those asked from their own categories.
    """
    labels = [product.category for product in cohort.products if product.category]
    truth = np.array([label.id for label in labels], np.int64)
    categories, sizes = np.unique(truth, return_counts=True)
    enough = categories[sizes >= EXAMPLES + ASKED]
    hidden = np.sort(np.random.default_rng(0).permutation(enough)[: max(len(categories) // 10, 1)])
    is_hidden = np.isin(truth, hidden)
    known, kept = asked & ~is_hidden, ~asked & ~is_hidden
    if not len(hidden) or len(np.unique(truth[kept])) < 2:
        return vote
    encoder = cohort.learn(kept, inputs, margin)
    vectors = cohort.encode(encoder, inputs)
    leaves = {label.id: label.levels[-1] for label in labels if label.levels}
    nothing = {name: np.zeros((len(hidden), each.shape[1]), np.float32) for name, each in inputs.items()}
    names = encoder.encode([leaves.get(id, "") for id in hidden.tolist()], nothing)
    rows = [np.flatnonzero(truth == category) for category in hidden]
    examples = np.concatenate([each[:EXAMPLES] for each in rows])
    means = unit_or_zero(np.stack([vectors[each[:EXAMPLES]].mean(axis=0) for each in rows]))
    base = exact_hits(vectors[kept], truth[kept], vectors[known], 1)
    right, distance = base.categories[:, 0] == truth[known], 1 - base.scores[:, 0]

    def lost(prototypes: FloatArray, reach: float) -> float:
        near = 1 - (vectors[known] @ prototypes.T).max(axis=1)
        return float((right & (near / (1 + reach) <= distance)).mean()) / len(hidden)

    def farthest(prototypes: FloatArray) -> float:
        return max((reach for reach in REACHES if lost(prototypes, reach) <= MAX_LOST), default=0.0)

    others = np.concatenate([each[EXAMPLES:] for each in rows])
    nearest = hidden[(vectors[others] @ names.T).argmax(axis=1)]
    carries = (nearest == truth[others]).mean() >= NAMES_RIGHT
    unseen = farthest(np.concatenate([vectors[examples], means, names]))
    return replace(vote, unseen_reach=unseen, name_reach=farthest(names) if carries else None)
