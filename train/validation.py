"""Measures during fine-tuning: which products are held out, and what their neighbours vote for."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rubrika.encode.base import FloatArray
from rubrika.errors import EncoderError

Labels = NDArray[np.int64]
Mask = NDArray[np.bool_]

NEIGHBOURS = 10
# Of the vote: a neighbour whose cosine is 0.05 lower than the nearest's counts a twentieth.
SHARPNESS = 60.0
CHUNK = 1_024


def hold_out(groups: Sequence[str], part: float, seed: int) -> Mask:
    """Choose about a part of the products to measure on: whole groups, a product without one being its own.

    Raises:
        EncoderError: no product would be left on one of the sides.
    """
    names = [f"group {group}" if group else f"row {row}" for row, group in enumerate(groups)]
    code = np.unique(np.asarray(names, object).astype(str), return_inverse=True)[1]
    size = np.bincount(code)
    order = np.random.default_rng(seed).permutation(len(size))
    count = np.clip(np.searchsorted(np.cumsum(size[order]), part * len(groups), side="right"), 1, len(size))
    chosen = np.zeros(len(size), bool)
    chosen[order[:count]] = True
    if chosen.all():
        raise EncoderError(f"holding out {part:g} of {len(groups)} products leaves none to learn from; give more")
    return chosen[code]


def nearest_categories(known: FloatArray, labels: Labels, asked: FloatArray) -> Labels:
    """The category that the nearest known vectors vote for, by exp(SHARPNESS · cosine), for each asked vector."""
    categories = int(labels.max()) + 1
    winners = []
    for start in range(0, len(asked), CHUNK):
        cosine = asked[start : start + CHUNK] @ known.T
        near = np.argpartition(-cosine, min(NEIGHBOURS, len(known)) - 1, axis=1)[:, :NEIGHBOURS]
        found = np.take_along_axis(cosine, near, 1)
        votes = np.zeros((len(cosine), categories))
        weights = np.exp(SHARPNESS * (found - found.max(1, keepdims=True)))
        np.add.at(votes, (np.arange(len(cosine))[:, None], labels[near]), weights)
        winners.append(votes.argmax(1))
    return np.concatenate(winners)
