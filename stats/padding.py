"""How much of a batch is padding, and what sorting by length saves."""

from dataclasses import dataclass

import numpy as np

from rubrika.stats.lengths import Numbers

BATCH_ROWS = 64


@dataclass(frozen=True, slots=True)
class Padding:
    """Density is tokens over places, 0 … 1, in batches of `batch_rows` texts cut to `limit` tokens.

    Args:
        batch_rows: texts a batch.
        limit: tokens that a text is cut to.
        fixed: density when every text is padded to the limit.
        shuffled: density when batches are drawn at random and padded to their own longest text.
        sorted: density when texts are sorted by length first.
        saved: the part of the places of shuffled batches that sorting saves.
    """

    batch_rows: int
    limit: int
    fixed: float
    shuffled: float
    sorted: float
    saved: float


def padding_of(tokens: Numbers, limit: int) -> Padding:
    """Batch texts of so many tokens (n,), at least one text."""
    # A text without a token still takes a place.
    cut = np.clip(tokens, 1, limit)
    tokens_kept = int(cut.sum())
    shuffled, ordered = _places(np.random.default_rng(0).permutation(cut)), _places(np.sort(cut))
    densities = [round(tokens_kept / places, 4) for places in (len(cut) * limit, shuffled, ordered)]
    return Padding(BATCH_ROWS, limit, densities[0], densities[1], densities[2], round(1 - ordered / shuffled, 4))


def _places(lengths: Numbers) -> int:
    starts = np.arange(0, len(lengths), BATCH_ROWS)
    rows = np.diff(starts, append=len(lengths))
    return int((np.maximum.reduceat(lengths, starts) * rows).sum())
