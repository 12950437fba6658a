"""Puts texts of like length together, so that hardly any time goes into padding, and their vectors back into order."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from rubrika.encode.encoder import FloatArray

IntArray = NDArray[np.int64]
# Token ids and attention mask, both (n, longest), to vectors (n, size).
Run = Callable[[IntArray, IntArray], FloatArray]
Tokenise = Callable[[Sequence[str]], list[list[int]]]

# Tokens a batch, padding included, measured with multilingual-e5-small: int8 pays little for a batch and gains by
# staying in the cache; a GPU wants more at once.
CPU_TOKENS, INT8_TOKENS, GPU_TOKENS = 2_048, 512, 32_768
# Texts tokenised and sorted together: enough for batches of equal length, little enough for memory.
WINDOW = 16_384


def encode_batches(texts: Sequence[str], tokenise: Tokenise, run: Run, pad: int, budget: int) -> FloatArray:
    """Encode texts, each batch padded to its own longest text only.

    Args:
        texts: at least one.
        tokenise: texts to token ids, cut to what the model takes.
        run: a batch to vectors.
        pad: the token id that fills rows up.
        budget: tokens a batch, padding included; a longer text is a batch of its own.
    """
    windows = []
    for start in range(0, len(texts), WINDOW):
        # A text without a token still needs a column.
        tokens = [ids or [pad] for ids in tokenise(texts[start : start + WINDOW])]
        batches = list(batches_of([len(ids) for ids in tokens], budget))
        parts = [run(*_padded([tokens[row] for row in rows], pad)) for rows in batches]
        vectors = np.empty((len(tokens), parts[0].shape[1]), np.float32)
        vectors[np.concatenate(batches)] = np.concatenate(parts)
        windows.append(vectors)
    return np.concatenate(windows)


def batches_of(lengths: Sequence[int], budget: int) -> Iterator[IntArray]:
    """Split rows into batches of at most `budget` tokens, longest first, so that memory runs out early or never."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    start = 0
    while start < len(order):
        end = start + max(1, budget // lengths[order[start]])
        yield order[start:end]
        start = end


def _padded(tokens: Sequence[Sequence[int]], pad: int) -> tuple[IntArray, IntArray]:
    shape = (len(tokens), max(map(len, tokens)))
    ids, mask = np.full(shape, pad, np.int64), np.zeros(shape, np.int64)
    for row, known in enumerate(tokens):
        ids[row, : len(known)] = known
        mask[row, : len(known)] = 1
    return ids, mask
