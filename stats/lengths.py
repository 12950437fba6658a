"""Lengths of texts, in characters and tokens, and what padding them costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rubrika.encode.hashing import WORD_WEIGHT, Features
from rubrika.encode.registry import RUBERT, explained
from rubrika.errors import EncoderError

PLACES = 64
ALIKE_FROM = 0.9
_SEED = 0

Sketches = NDArray[np.uint16]
Pairs = NDArray[np.int64]


def sketches_of(features: Features) -> Sketches:
    """Sketch n texts, uint16 (n, PLACES); a text without any feature is all zeros."""
    draw = np.random.default_rng(_SEED)
    salts, factors = draw.integers(0, 2**32, (2, PLACES), dtype=np.uint32)
    hashes = (features.hashes >> np.uint64(32)).astype(np.uint32)
    filled = np.flatnonzero(np.diff(features.offsets))
    sketches = np.zeros((len(features.offsets) - 1, PLACES), np.uint16)
    for place, (salt, factor) in enumerate(zip(salts, factors | np.uint32(1), strict=True)):
        # The lower half of a minimum is enough to tell it from another.
        sketches[filled, place] = np.minimum.reduceat((hashes ^ salt) * factor, features.offsets[filled]).astype(
            np.uint16
        )
    return sketches


def near_pairs(sketches: Sketches) -> Pairs:
    """Pairs of rows (m, 2) that are alike, enough of them to link every row to others like it.

    Of the rows that share a band only neighbours are compared, in the order of the next band, so that time does not
    grow with the square of a large group.
    """
    # Four places of 16 bits are one number of 64.
    bands = np.ascontiguousarray(sketches).view(np.uint64)
    found = []
    for band in range(bands.shape[1]):
        order = np.lexsort((bands[:, (band + 1) % bands.shape[1]], bands[:, band]))
        keys = bands[order, band]
        place = np.flatnonzero((keys[1:] == keys[:-1]) & (keys[1:] != 0))
        pairs = np.stack([order[place], order[place + 1]], axis=1)
        found.append(pairs[alike(sketches[pairs[:, 0]], sketches[pairs[:, 1]])])
    return np.concatenate(found)


def alike(sketches: Sketches, others: Sketches) -> NDArray[np.bool_]:
    """Whether the texts of two sketches are nearly the same, one pair a row (n,)."""
    same: NDArray[np.bool_] = (sketches == others).mean(axis=1) >= ALIKE_FROM
    return same


BINS = 30
# What is longer than all but one in a hundred would squeeze the rest of a histogram into its first bars.
DRAWN = 0.99

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many lie from each edge (n + 1,) up to the next; `beyond` are above the last."""

    edges: list[int]
    counts: list[int]
    beyond: int


@dataclass(frozen=True, slots=True)
class Spread:
    """How whole numbers from 0 up are spread; every quantile is one of them."""

    min: int
    median: int
    p90: int
    p95: int
    max: int
    mean: float
    histogram: Histogram

    @classmethod
    def of(cls, numbers: Numbers) -> "Spread":
        """Of numbers (n,), with bins of equal width, at least one number."""
        drawn = int(np.quantile(numbers, DRAWN, method="inverted_cdf"))
        width = drawn // BINS + 1
        return cls._with(numbers, np.arange(0, drawn + width + 1, width))

    @classmethod
    def doubling(cls, numbers: Numbers) -> "Spread":
        """Of numbers (n,) from 1 up, with bins 1, 2–3, 4–7 …: for a long tail; at least one number."""
        return cls._with(numbers, 2 ** np.arange(int(numbers.max()).bit_length() + 1))

    @classmethod
    def _with(cls, numbers: Numbers, edges: Numbers) -> "Spread":
        least, median, p90, p95, most = np.quantile(numbers, (0, 0.5, 0.9, 0.95, 1), method="inverted_cdf").tolist()
        # Not np.histogram, whose last bin holds its upper edge too.
        counts = np.bincount(np.searchsorted(edges, numbers, side="right"), minlength=len(edges) + 1)[1:].tolist()
        drawn = Histogram(edges.tolist(), counts[:-1], counts[-1])
        return cls(least, median, p90, p95, most, round(float(numbers.mean()), 2), drawn)


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


LEARNED = "learned"
LIMIT = 300


class Tokens(Protocol):
    """Counts the tokens of an `encoder`; `unit` is what they are, `limit` to how many of them a text is cut."""

    encoder: str
    unit: str
    limit: int

    def count(self, texts: Sequence[str], features: Features) -> Numbers:
        """The tokens of each text, uncut, int64 (n,); `features` are those of the texts."""


class Words:
    """The words and numbers of the learned encoder, of the characters that it reads."""

    encoder, unit = LEARNED, "words"
    limit = LIMIT

    def count(self, texts: Sequence[str], features: Features) -> Numbers:
        """As in Tokens."""
        before = np.concatenate([[0], np.cumsum(features.weights == WORD_WEIGHT)])
        counts: Numbers = np.diff(before[features.offsets])
        return counts


class Pieces:
    """What a transformer's own tokenizer makes of texts, with the marks that it adds."""

    def __init__(self, spec: str) -> None:
        """Load a tokenizer.

        Args:
            spec: `rubert`, or the name or folder of a sentence-transformers or transformers model.

        Raises:
            EncoderError: it has none, or it cannot be loaded.
        """
        from rubrika.encode.hub import model_folder, quiet_transformers
        from rubrika.encode.text import RECIPE, Recipe

        folder = model_folder(RUBERT if spec == "rubert" else spec)
        from transformers import AutoTokenizer

        quiet_transformers()
        recipe = Recipe.load(folder) if (folder / RECIPE).is_file() else Recipe(max_tokens=LIMIT)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        self._prompt = recipe.prompt
        self.encoder, self.unit = spec, "tokens"
        self.limit = min(recipe.max_tokens, self._tokenizer.model_max_length)

    def count(self, texts: Sequence[str], features: Features) -> Numbers:
        """As in Tokens."""
        ids = self._tokenizer([self._prompt + text for text in texts], truncation=False)["input_ids"]
        return np.array([len(each) for each in ids], np.int64)


def tokens_of(spec: str | None) -> Tokens:
    """What counts the tokens of a text encoder, named as for `--text-encoder`.

    Raises:
        EncoderError: its tokens cannot be counted, why, and what works.
    """
    if spec is None or spec == LEARNED:
        return Words()
    instead = "leave --text-encoder out to count words, or give a transformer's name or folder"
    if spec == "use":
        raise EncoderError(f"use: it has no tokenizer of its own; {instead}")
    with explained(spec, instead, "its tokenizer"):
        return Pieces(spec)
