"""Decides before training starts which products make up every step, and how far the learning rate has come."""

import numpy as np
from numpy.typing import NDArray

from rubrika.train.settings import FinetuneSettings

IntArray = NDArray[np.int64]

# Batches whose products are sorted by length together: enough for little padding, few enough for a mixed order.
WINDOW = 32


def batches_of_epochs(rows: IntArray, lengths: IntArray, settings: FinetuneSettings) -> list[IntArray]:
    """The rows of every step: all rows once an epoch, texts of like length together, the batches shuffled.

    Args:
        rows: the rows to learn from.
        lengths: tokens of every row there is.
        settings: for epochs, sizes and seed.
    """
    random = np.random.default_rng(settings.seed)
    steps: list[IntArray] = []
    for _ in range(settings.epochs):
        order, epoch = random.permutation(rows), list[IntArray]()
        for start in range(0, len(order), WINDOW * settings.batch):
            window = order[start : start + WINDOW * settings.batch]
            epoch += _cut(window[np.argsort(-lengths[window], kind="stable")], lengths, settings)
        steps += [epoch[i] for i in random.permutation(len(epoch))]
    return steps


def rate_at(done: float, warmup: float) -> float:
    """The part of the full learning rate after a part of the way: a rise, then a straight fall to nothing."""
    return done / warmup if done < warmup else (1 - done) / (1 - warmup)


def _cut(rows: IntArray, lengths: IntArray, settings: FinetuneSettings) -> list[IntArray]:
    parts, start = [], 0
    while start < len(rows):
        size = int(np.clip(settings.batch_tokens // lengths[rows[start]], 1, settings.batch))
        parts.append(rows[start : start + size])
        start += size
    return parts
