"""The encoder learned from labelled products: a product's vector is the sum of its features' rows, in two views.

The learned view comes from a softmax over categories, the margin view from a linear SVM; side by side they err less
than either. The vectors of other encoders (of its picture, say) can be added to the learned view through projections:
it is then the encoder of the `joint` vector. It needs numpy and scipy alone, so that classifying starts at once;
`train/embed.py` makes it.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_array

from rubrika.encode.base import FloatArray, read_settings, unit_or_zero, unit_rows
from rubrika.encode.hashing import RICH_WEIGHTS, Features, Words, features_of, rich_features_of, words_of
from rubrika.errors import EncoderError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
TABLE, WORDS = "table", "words"
MARGIN, MARGIN_ROWS = "margin", "margin_rows"
PLAIN, RICH = "hashed-bag-1", "hashed-bag-2"  # how texts become features; the first one knows no margin view
BATCH_TEXTS = 1_024
MAX_THREADS = 8  # each takes some 100 MB while it works
# A million categories are listed in less; how wide Qdrant's vectors may be, and the bits of a table that memory holds.
MAX_CONFIG_BYTES = 64_000_000
MAX_SIZE, MAX_BITS = 65_536, 30

WEIGHT_UNIT = 8  # weights of features are whole numbers of eighths, so that a byte holds them

_RANKS = np.zeros(int(RICH_WEIGHTS.max()) + 1, np.int64)
_RANKS[RICH_WEIGHTS.astype(np.int64)] = np.arange(len(RICH_WEIGHTS))

IntArray = NDArray[np.int64]
Width = Annotated[int, Interval(ge=1, le=MAX_SIZE)]
Count = Annotated[int, Interval(ge=0, le=2**63 - 1)]


@dataclass(frozen=True)
class LearnedConfig:
    """What turns features into rows."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"strict": True, "extra": "forbid", "allow_inf_nan": False}

    size: Width  # of a view
    bits: Annotated[int, Interval(ge=1, le=MAX_BITS)]  # a feature's row is the lowest `bits` bits of its hash
    inputs: dict[str, Width] = field(default_factory=dict)  # other vectors that are projected and added: their widths
    input_weight: float = 0.67  # what each counts for beside the text, which counts for 1; chosen in docs/encoder.md
    products: Count = 0  # how many products there were to learn from
    categories: tuple[Count, ...] = ()  # the ids of their categories, ascending
    # The part of their words that no other of them has: of a new product, about so many will be new (Good, 1953).
    unseen_words: Annotated[float, Interval(ge=0, le=1)] | None = None
    # What the margin view counts for, the learned view counting for the rest: 0 is the learned one alone, 1 the other.
    margin: Annotated[float, Interval(ge=0, le=1)] = 0.0
    kind: str = RICH  # names this way of encoding, so that another is not mistaken for it

    @property
    def width(self) -> int:
        """Of a vector: one view, or two side by side."""
        return self.size * (2 if 0 < self.margin < 1 else 1)


@dataclass(frozen=True, slots=True)
class MarginView:
    """A vector for each of some rows of the features' table, float16 (m, size), and which rows, ascending (m,)."""

    rows: NDArray[np.int32]
    table: NDArray[np.float16]


@dataclass(frozen=True)
class _Kind:
    kind: str = LearnedConfig.kind


class LearnedEncoder:
    """A table of feature vectors, float16 (2^bits, size), and how to read it, as an `Encoder`.

    The projection of an input is a matrix, float32 (width + 1, size); its last row is for having one. `words` are the
    hashes of all words learned from, ascending; an encoder of an earlier version does not know them.
    """

    def __init__(
        self,
        config: LearnedConfig,
        table: NDArray[np.float16],
        projections: Mapping[str, FloatArray] | None = None,
        words: Words | None = None,
        margin: MarginView | None = None,
    ) -> None:
        self.config, self.size = config, config.width
        self._table, self._projections, self._words = table, dict(projections or {}), words
        self._margin = margin or MarginView(np.zeros(0, np.int32), np.zeros((0, config.size), np.float16))
        shapes = {name: matrix.shape for name, matrix in self._projections.items()} | {TABLE: table.shape}
        rows = {name: width + 1 for name, width in config.inputs.items()} | {TABLE: 2**config.bits}
        expected = {name: (count, config.size) for name, count in rows.items()}
        if shapes != expected:
            raise EncoderError(f"the learned encoder's weights are {shapes}, not {expected}")
        if self._margin.table.shape != (len(self._margin.rows), config.size):
            raise EncoderError(
                f"the margin view's weights are {self._margin.table.shape} for {len(self._margin.rows)} rows"
            )

    def encode(self, texts: Sequence[str], inputs: Mapping[str, FloatArray] | None = None) -> FloatArray:
        """Encode products into float32 (n, size), every row of length 1.

        `inputs` are other encoders' vectors (n, width) by name; a row of zeros, or no input, is a product without one.
        """
        features = rich_features_of if self.config.kind == RICH else features_of

        def bags(part: slice) -> csr_array:
            return bags_of(features(texts[part]), self.config.bits, self.config.kind)

        return self._encoded(len(texts), bags, inputs or {})

    def encode_bags(self, bags: csr_array, inputs: Mapping[str, FloatArray] | None = None) -> FloatArray:
        """As `encode`, of bags of features (n, 2^bits)."""
        return self._encoded(bags.shape[0], lambda part: bags[part], inputs or {})

    def _encoded(self, count: int, bags: Callable[[slice], csr_array], inputs: Mapping[str, FloatArray]) -> FloatArray:
        vectors = np.empty((count, self.size), np.float32)

        def work(start: int) -> None:
            part = slice(start, start + BATCH_TEXTS)
            views = self.views(bags(part), {name: rows[part] for name, rows in inputs.items()})
            vectors[part] = unit_rows(side_by_side(*views, self.config.margin))

        if count <= BATCH_TEXTS:
            work(0)
            return vectors
        # Nearly all of the work is numpy's and scipy's, which release the interpreter's lock meanwhile.
        with ThreadPoolExecutor(max_workers=min(cores(), MAX_THREADS)) as pool:
            list(pool.map(work, range(0, count, BATCH_TEXTS)))
        return vectors

    def with_margin(self, margin: MarginView) -> "LearnedEncoder":
        """The same encoder with a margin view."""
        return LearnedEncoder(self.config, self._table, self._projections, self._words, margin)

    def with_config(self, config: LearnedConfig) -> "LearnedEncoder":
        """The same encoder under other settings of the same widths, as other ids of categories."""
        return LearnedEncoder(config, self._table, self._projections, self._words, self._margin)

    def unseen_words(self, texts: Sequence[str]) -> tuple[int, int] | None:
        """How many words of texts were not learned from, of how many in all; None when that is not known."""
        if self._words is None or not len(self._words):
            return None
        words = words_of(texts)
        places = np.minimum(np.searchsorted(self._words, words), len(self._words) - 1)
        return int((self._words[places] != words).sum()), len(words)

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors into a folder, making it."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_text(json.dumps(asdict(self.config), indent=2) + "\n", encoding="utf-8")
        words = {} if self._words is None else {WORDS: self._words}
        margin: dict[str, NDArray[Any]] = {}
        if len(self._margin.rows):
            margin = {MARGIN: self._margin.table, MARGIN_ROWS: self._margin.rows}
        save_file({TABLE: self._table, **self._projections, **words, **margin}, folder / WEIGHTS)

    @classmethod
    def load(cls, folder: Path) -> "LearnedEncoder":
        """Read an encoder that `save` wrote; EncoderError when files are missing or damaged."""
        config = read_config(folder)
        try:
            weights = load_file(folder / WEIGHTS)
            margin = MarginView(weights.pop(MARGIN_ROWS), weights.pop(MARGIN)) if MARGIN in weights else None
            return cls(config, weights.pop(TABLE), weights, words=weights.pop(WORDS, None), margin=margin)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise _unreadable(folder, error) from None

    def views(self, bags: csr_array, inputs: Mapping[str, FloatArray] | None = None) -> tuple[FloatArray, FloatArray]:
        """The learned and the margin view of bags of features (n, 2^bits), both float32 (n, size).

        Rows have length 1 or, of products of which nothing is known, 0; of the margin view some length between.
        """
        rows, columns = _used(bags)
        used = sparse_rows(bags.data.astype(np.float32), columns, bags.indptr, len(rows))
        size = self.config.size
        both = np.zeros((len(rows), 2 * size if len(self._margin.rows) else size), np.float32)
        both[:, :size] = self._table[rows]
        places = np.searchsorted(self._margin.rows, rows)
        known = np.flatnonzero(places < len(self._margin.rows))
        known = known[self._margin.rows[places[known]] == rows[known]]
        if len(known):
            both[known, size:] = self._margin.table[places[known]]
        sums = used @ both
        learned = unit_or_zero(sums[:, :size])
        margin = sums[:, size:] if both.shape[1] > size else np.zeros_like(learned)
        for name, vectors in (inputs or {}).items():
            # A row of zeros stays one.
            present, projection = vectors.any(axis=1, keepdims=True).astype(np.float32), self._projections[name]
            projected = vectors @ projection[:-1] + present * projection[-1]
            learned += self.config.input_weight * unit_or_zero(projected)
        owner = np.repeat(np.arange(bags.shape[0]), np.diff(bags.indptr))
        totals = np.bincount(owner, used.data, minlength=bags.shape[0]).astype(np.float32)
        means = margin / np.maximum(totals, 1)[:, None]
        return unit_or_zero(learned), means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1)


def _used(bags: csr_array) -> tuple[IntArray, IntArray]:
    """The columns that bags of features have, ascending, and for each feature which of them it is."""
    if len(bags.indices) < bags.shape[1] // 8:
        return np.unique(bags.indices, return_inverse=True)
    # Of many, marking them is quicker than sorting.
    there = np.zeros(bags.shape[1], bool)
    there[bags.indices] = True
    columns = np.flatnonzero(there)
    place = np.empty(bags.shape[1], np.int64)
    place[columns] = np.arange(len(columns))
    return columns, place[bags.indices]


def side_by_side(learned: FloatArray, margin: FloatArray, share: float) -> FloatArray:
    """Both views (n, size) as one (n, 2 · size), the margin view counting for `share`: of 0 or 1, one view alone."""
    if share in (0, 1):
        return margin if share else learned
    return np.concatenate([(1 - share) * learned, share * margin], axis=1)


def bags_of(features: Features, bits: int, kind: str = RICH) -> csr_array:
    """The features of n texts as rows of a table, and what each counts for: whole numbers, float32 (n, 2^bits).

    Of a feature that is there c times the weight is 1 + ln c times as much: long texts repeat themselves.
    """
    rows, weights, offsets = feature_rows(features.hashes, bits), features.weights, features.offsets
    count = len(offsets) - 1
    if kind == RICH:
        # Features of different weights that share a row count as the one that comes first among these.
        rank = _RANKS[weights.astype(np.int64)]
        owner = np.repeat(np.arange(count, dtype=np.int64) << (bits + 2), np.diff(offsets))
        keys = np.sort(owner | rows << 2 | rank)
        first = np.flatnonzero(np.diff(keys >> 2, prepend=-1))
        times = np.diff(first, append=len(keys))
        keys, weights = keys[first] >> 2, RICH_WEIGHTS[keys[first] & 3]
        rows, weights = keys & (2**bits - 1), np.rint(WEIGHT_UNIT * weights * (1 + np.log(times)))
        offsets = np.searchsorted(keys, np.arange(count + 1, dtype=np.int64) << bits)
    return sparse_rows(weights.astype(np.float32), rows, offsets, 2**bits)


def sparse_rows(values: NDArray[Any], columns: NDArray[Any], offsets: NDArray[Any], width: int) -> csr_array:
    """A sparse matrix of rows, numbered in 32 bits where that is enough: it takes half the memory."""
    kind = np.int32 if max(width, int(offsets[-1])) < 2**31 else np.int64
    return csr_array(
        (values, columns.astype(kind, copy=False), offsets.astype(kind, copy=False)), (len(offsets) - 1, width)
    )


def cores() -> int:
    """How many cores this process may use, where the system tells; else how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_config(folder: Path) -> LearnedConfig:
    """Read what `LearnedEncoder.save` wrote beside the weights; EncoderError when it encodes differently."""
    try:
        if (kind := read_settings(_Kind, folder / CONFIG, MAX_CONFIG_BYTES).kind) not in (PLAIN, RICH):
            raise EncoderError(f"{folder}: made by a Rubrika that encodes differently ({kind!r:.50}); ingest anew")
        return read_settings(LearnedConfig, folder / CONFIG, MAX_CONFIG_BYTES)
    except (OSError, ValueError) as error:
        raise _unreadable(folder, error) from None


def _unreadable(folder: Path, reason: object) -> EncoderError:
    return EncoderError(f"{folder}: the encoder's files cannot be read ({reason}); ingest into a new folder")


def feature_rows(hashes: NDArray[np.uint64], bits: int) -> NDArray[np.int64]:
    """The row of each feature in a table of 2^bits rows."""
    return (hashes & np.uint64(2**bits - 1)).astype(np.int64)
