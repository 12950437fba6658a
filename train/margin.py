"""Learns the margin view: what a linear SVM on the same features would decide, as a short vector.

The SVM is Crammer and Singer's (2001), one problem for all categories, solved in its dual, product by product (Keerthi
et al. 2008, "A Sequential Dual Method for Large Scale Multi-Class Linear SVMs"), but against the most similar
categories alone: few others ever come near a product. The scores of thousands of categories become a short vector by
a random projection, which keeps their angles (Johnson and Lindenstrauss 1984): vectors of products are alike when an
SVM would decide alike. A linear map of a linear map is one table, with a row a feature, as the learned view has.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from rubrika.encode.base import FloatArray
from rubrika.encode.learned import MarginView
from rubrika.train.kernels import bags_for_margin, compiled, times_there

# Weights of features for categories are in memory: 1 GB. What is more than this leaves out the rarest features.
MAX_WEIGHTS = 2**28
# Of more features of all products than this, learn from some products only.
MAX_FEATURES = 40_000_000
# ... but of each category from so many, if it has them.
AT_LEAST = 5
# From so many products on, a feature of one alone is left out, and from so many on, mistakes cost less.
SOME, MANY = 1_000, 3_000
CHUNK, SAMPLE = 4_096, 2_048
KNOWN = 0.5  # of what the SVM usually knows of a product: with less, the margin view counts for less
DENSE = 12  # times as many categories as rivals, or fewer, are all compared
LENGTH = np.float32(2)  # of the features of a product, squared

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class MarginSettings:
    """How to learn it; the defaults were chosen on held-out groups, see docs/encoder.md."""

    size: int = 128  # the width of a vector
    cost: float | None = None  # of being on the wrong side of a margin; None: 1 for few products, ½ for many
    rivals: int = 24  # categories that a product is held apart from: the most similar ones, and its own
    epochs: int = 10
    features: int = 512  # of a product, the heaviest
    seed: int = 0


def learn_margin(
    features: csr_array,
    products: IntArray,
    labels: IntArray,
    vectors: FloatArray,
    categories: FloatArray,
    settings: MarginSettings,
) -> MarginView:
    """Learn from bags of features (m, rows), whole numbers, of n of the products, by their rows in it (n,).

    `labels` of those (n,) are numbered from 0. `vectors` of products (n, size) and of categories (c, size), all of
    length 1, say which categories are similar. The order of the products counts.
    """
    texts = times_there(features.indptr, features.indices, products, features.shape[1])
    rows = np.flatnonzero(texts >= (2 if len(labels) >= SOME else 1))
    if len(rows) * len(categories) > MAX_WEIGHTS:
        most = np.argsort(-texts[rows], kind="stable")[: MAX_WEIGHTS // len(categories)]
        rows = np.sort(rows[most])
    rarity = (np.log((1 + len(labels)) / (1 + texts[rows])) + 1).astype(np.float32)
    place = np.full(features.shape[1], -1, np.int32)
    place[rows] = np.arange(len(rows), dtype=np.int32)
    bags = bags_for_margin(features, products, place, rarity, settings.features, LENGTH)
    weights = np.zeros((len(rows), len(categories)), np.float32)
    rivals = _rivals(labels, vectors, categories, min(settings.rivals, len(categories)))
    random = np.random.default_rng(settings.seed)
    cost = np.float32(settings.cost or (1.0 if len(labels) < MANY else 0.5))
    state = np.zeros(rivals.shape, np.float32)
    everyone = active = np.arange(len(labels))
    for epoch in range(settings.epochs):
        # Products that an epoch does not change rest in the next ones, until all are looked at again.
        turn = everyone if epoch % 5 == 0 or not len(active) else active
        order = random.permutation(turn)
        moved = _epoch(bags.offsets, bags.columns, bags.weights, order, rivals, state, weights, cost)
        active = np.sort(order[moved])
        if turn is everyone and not len(active):
            break
    del bags  # before more room is needed
    codes = _codes(len(categories), settings.size, random)
    table = np.empty((len(rows), settings.size), np.float32)
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        table[part] = (weights[part] @ codes) * rarity[part, None]
    # A product of which the SVM knows half as much as usual, or more, gets a vector of length 1, others shorter ones.
    # Taking columns adds up features that share a row, for which a byte is too small.
    some = features[products[:: max(len(labels) // SAMPLE, 1)]].astype(np.float32)
    means = (some[:, rows] @ table) / np.maximum(some.sum(axis=1), 1)[:, None]
    usual = max(float(np.median(np.linalg.norm(means, axis=1))), 1e-30)
    return MarginView(rows.astype(np.int32), (table / (KNOWN * usual)).astype(np.float16))


def drawn_for_margin(features: int, labels: IntArray, seed: int) -> IntArray:
    """Of products with so many features in all, the places (m,) of those to learn from: all, or as many as are allowed.

    Of every category the first few are drawn, then the same part of the others.
    """
    count = int(len(labels) * min(MAX_FEATURES / max(features, 1), 1))
    if count == len(labels):
        return np.arange(count)
    order = np.random.default_rng(seed).permutation(len(labels))
    by_category = order[np.argsort(labels[order], kind="stable")]
    sizes = np.bincount(labels)
    place = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    rank = np.maximum(place - AT_LEAST, 0) / np.repeat(sizes, sizes)
    return np.sort(by_category[np.argsort(rank, kind="stable")[:count]])


def _rivals(labels: IntArray, vectors: FloatArray, categories: FloatArray, count: int) -> NDArray[np.int32]:
    """For each product (n, count): its own category, then the others most similar to it, by falling similarity."""
    found = np.empty((len(labels), count), np.int32)
    for start in range(0, len(labels), CHUNK):
        own = labels[start : start + CHUNK]
        similarity = vectors[start : start + CHUNK] @ categories.T
        similarity[np.arange(len(own)), own] = np.inf
        nearest = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(similarity, nearest, 1), axis=1, kind="stable")
        found[start : start + CHUNK] = np.take_along_axis(nearest, order, 1)
    return found


def _codes(count: int, size: int, random: np.random.Generator) -> FloatArray:
    """A direction for each of `count` categories, float32 (count, size): at right angles where there is room."""
    drawn = random.standard_normal((count, size))
    if count <= size:
        return np.asarray(np.linalg.qr(drawn.T)[0].T, np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float32)


@compiled
def _level(gradient: FloatArray, bonus: float) -> Any:  # noqa: ANN401  # pragma: no cover - compiled
    """The common level of those dual variables that are not at their bounds (algorithm 3 of Keerthi et al.)."""
    falling = gradient.copy()
    falling[0] += bonus
    falling = np.sort(falling)[::-1]
    total, taken = falling[0] - bonus, 1
    while taken < len(falling) and total < taken * falling[taken]:
        total += falling[taken]
        taken += 1
    return total / taken


@compiled
def _add_scores(
    columns: NDArray[np.int32],
    values: FloatArray,
    weights: FloatArray,
    rivals: NDArray[np.int32],
    total: FloatArray,
    room: FloatArray,
) -> None:  # pragma: no cover - compiled
    """Add the scores of a product for its rivals to `total`; there is `room` for those of all categories."""
    if len(room) > DENSE * len(rivals):
        for place, column in enumerate(columns):
            for number, rival in enumerate(rivals):
                total[number] += values[place] * weights[column, rival]
        return
    # A whole row of weights is read sooner than some numbers here and there in it.
    room[:] = 0
    for place, column in enumerate(columns):
        for category in range(len(room)):
            room[category] += values[place] * weights[column, category]
    for number, rival in enumerate(rivals):
        total[number] += room[rival]


@compiled
def _epoch(
    offsets: NDArray[np.int64],
    columns: NDArray[np.int32],
    values: FloatArray,
    order: IntArray,
    rivals: NDArray[np.int32],
    state: FloatArray,
    weights: FloatArray,
    cost: float,
) -> NDArray[np.bool_]:  # pragma: no cover - compiled
    """Solve the problem of each product in its turn; True for those that changed, in the order given.

    `state` are the dual variables (n, rivals); their own category's is at most `cost`, and they sum to 0.
    """
    width = rivals.shape[1]
    moved = np.zeros(len(order), np.bool_)
    scores = np.empty(weights.shape[1], np.float32)
    gradient, steps, changed = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.int64)
    for turn in range(len(order)):
        product = order[turn]
        start, end = offsets[product], offsets[product + 1]
        if start == end:
            continue
        for rival in range(width):
            gradient[rival] = np.float32(1 if rival else 0) - LENGTH * state[product, rival]
        _add_scores(columns[start:end], values[start:end], weights, rivals[product], gradient, scores)
        level = _level(gradient, LENGTH * cost)
        count, largest = 0, np.float32(0)
        for rival in range(width):
            wanted = min((level - gradient[rival]) / LENGTH, cost if rival == 0 else np.float32(0))
            step = wanted - state[product, rival]
            if abs(step) > 1e-6:
                changed[count], steps[count] = rival, step
                count += 1
                state[product, rival] = wanted
                largest = max(largest, abs(step))
        for place in range(start, end):
            for number in range(count):
                weights[columns[place], rivals[product, changed[number]]] += values[place] * steps[number]
        moved[turn] = largest > 1e-3
    return moved
