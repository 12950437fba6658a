"""Measures lengths of texts, in characters and in tokens of an encoder, and what padding them costs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubrika.encode.hashing import WORD_WEIGHT, Features
from rubrika.encode.registry import RUBERT, explained
from rubrika.errors import EncoderError

BINS = 30
# What is longer than all but one in a hundred would squeeze the rest of a histogram into its first bars.
DRAWN = 0.99
BATCH_ROWS = 64
LEARNED = "learned"
MAX_TOKENS = 300

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many lie from each edge (n + 1,) up to the next; `beyond` are above the last."""

    edges: list[int]
    counts: list[int]
    beyond: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The distribution of whole numbers from 0 up; every quantile is one of them."""

    min: int
    median: int
    p90: int
    p95: int
    max: int
    mean: float
    histogram: Histogram

    @classmethod
    def of(cls, numbers: Numbers, doubling: bool = False) -> "Summary":
        """Of numbers (n,), at least one, in bins of equal width; or in bins 1, 2–3, 4–7 … for a long tail from 1 up."""
        quantiles = np.quantile(numbers, (0, 0.5, 0.9, 0.95, DRAWN, 1), method="inverted_cdf")
        smallest, median, p90, p95, drawn, largest = quantiles.tolist()
        width = drawn // BINS + 1
        edges = 2 ** np.arange(largest.bit_length() + 1) if doubling else np.arange(0, drawn + width + 1, width)
        # Not np.histogram, whose last bin holds its upper edge too.
        counts = np.bincount(np.searchsorted(edges, numbers, side="right"), minlength=len(edges) + 1)[1:].tolist()
        histogram = Histogram(edges.tolist(), counts[:-1], counts[-1])
        return cls(smallest, median, p90, p95, largest, round(float(numbers.mean()), 2), histogram)


@dataclass(frozen=True, slots=True)
class Padding:
    """Density, 0 … 1: tokens over places in batches of texts that are cut to `limit` tokens."""

    batch_rows: int
    limit: int
    fixed: float  # every text is padded to the limit
    shuffled: float  # batches are drawn at random, and padded to their own longest text
    sorted: float  # texts are sorted by length first
    saved: float  # the share of the places of shuffled batches that sorting saves


def padding_of(tokens: Numbers, limit: int) -> Padding:
    """Batch texts of so many tokens (n,), at least one text."""
    # A text without a token still takes a place.
    cut = np.clip(tokens, 1, limit)
    shuffled, ordered = _places(np.random.default_rng(0).permutation(cut)), _places(np.sort(cut))
    fixed, mixed, best = (round(int(cut.sum()) / places, 4) for places in (len(cut) * limit, shuffled, ordered))
    return Padding(BATCH_ROWS, limit, fixed, mixed, best, round(1 - ordered / shuffled, 4))


def _places(lengths: Numbers) -> int:
    starts = np.arange(0, len(lengths), BATCH_ROWS)
    rows = np.diff(starts, append=len(lengths))
    return int((np.maximum.reduceat(lengths, starts) * rows).sum())


@dataclass(frozen=True, slots=True)
class Tokens:
    """Counts the tokens of an encoder's texts."""

    encoder: str
    unit: str  # `words` of the learned encoder, `tokens` of a transformer
    limit: int  # to how many of them the encoder cuts a text
    count: Callable[[Sequence[str], Features], Numbers]  # of texts and their features, uncut, (n,)


def tokens_of(spec: str | None) -> Tokens:
    """What counts the tokens of a text encoder, named as `text_encoder` is; an EncoderError says why none can."""
    if spec is None or spec == LEARNED:
        return Tokens(LEARNED, "words", MAX_TOKENS, _words)
    instead = "leave `text_encoder` out to count words, or use a transformer's name or folder"
    if spec == "use":
        raise EncoderError(f"use: it has no tokenizer of its own; {instead}")
    with explained(spec, instead, "its tokenizer"):
        return _transformer(spec)


def _words(texts: Sequence[str], features: Features) -> Numbers:
    """The words and numbers of the learned encoder, of the characters that it reads."""
    before = np.concatenate([[0], np.cumsum(features.weights == WORD_WEIGHT)])
    return np.asarray(np.diff(before[features.offsets]))


def _transformer(spec: str) -> Tokens:
    """What a transformer's own tokenizer makes of texts, with the marks that it adds."""
    from rubrika.encode.hub import model_folder, quiet_transformers
    from rubrika.encode.text import RECIPE, Recipe

    folder = model_folder(RUBERT if spec == "rubert" else spec)
    from transformers import AutoTokenizer

    quiet_transformers()
    recipe = Recipe.load(folder) if (folder / RECIPE).is_file() else Recipe(max_tokens=MAX_TOKENS)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)

    def count(texts: Sequence[str], features: Features) -> Numbers:
        ids = tokenizer([recipe.prompt + text for text in texts], truncation=False)["input_ids"]
        return np.array([len(each) for each in ids], np.int64)

    return Tokens(spec, "tokens", min(recipe.max_tokens, tokenizer.model_max_length), count)
