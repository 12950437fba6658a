"""The products to learn from, as bags of hashed features."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from rubrika.encode.duplicates import group_number
from rubrika.encode.hashing import WORD_WEIGHT, Words, rich_features_of
from rubrika.encode.learned import MAX_THREADS, bags_of, cores, sparse_rows
from rubrika.errors import EncoderError
from rubrika.products.product import Batch, Products
from rubrika.progress import Progress
from rubrika.store.streams import in_order

IntArray = NDArray[np.int64]

MIN_BITS, MAX_BITS = 10, 21
THREADS = min(cores(), MAX_THREADS)


@dataclass(frozen=True, slots=True)
class FeatureBags:
    """Features of all products, as hashed rows of a table."""

    bits: int  # the table has 2^bits rows
    features: csr_array  # uint8 (n, 2^bits), how much each counts: whole numbers, as there are hundreds of millions
    order: IntArray  # the rows by product id, (n,): what is learned does not depend on the order of a file
    groups: IntArray  # equal for near duplicates, (n,)
    labels: IntArray  # categories numbered from 0, (n,)
    categories: IntArray  # the id of each category, ascending
    words: Words  # the hash of every word, ascending
    unseen_words: float  # the part of each product's words that no other product has

    def of(self, rows: IntArray) -> "FeatureBags":
        """The same features with the labels of some products (m,) alone, -1 for the others, and their categories."""
        labels = np.full(len(self.labels), -1, np.int64)
        known, labels[rows] = np.unique(self.labels[rows], return_inverse=True)
        return replace(self, labels=labels, categories=self.categories[known])


_Words = tuple[Words, IntArray, IntArray]  # each word once, in how many products it is, and how often


@dataclass(frozen=True, slots=True)
class _Hashed:
    """The features of the products of a batch, one product after another."""

    rows: NDArray[np.int32]  # of the table, one a feature
    weights: NDArray[np.uint8]  # how much each counts
    counts: IntArray  # how many each product has
    words: _Words

    @classmethod
    def of(cls, texts: Sequence[str], bits: int) -> "_Hashed":
        features = rich_features_of(texts)
        bags = bags_of(features, bits)
        is_word = features.weights == WORD_WEIGHT
        words, code = np.unique(features.hashes[is_word].astype(np.uint32), return_inverse=True)
        owners = np.repeat(np.arange(len(texts)), np.diff(features.offsets))[is_word]
        products = np.bincount(np.unique(owners * len(words) + code) % max(len(words), 1), minlength=len(words))
        counted = words, products, np.bincount(code, minlength=len(words))
        return cls(bags.indices, np.minimum(bags.data, 255).astype(np.uint8), np.diff(bags.indptr), counted)


def read_feature_bags(products: Products, bits: int | None, progress: Progress) -> FeatureBags:
    """Read labelled products once, keeping hashed features alone; without `bits` the table has a row for about each.

    Memory is some 5 bytes a feature, 700 a product with a short title.
    """
    rows, weights, counts, words = [], [], [], []
    ids, groups, categories = list[int](), list[int](), list[int]()

    def hashed(batch: Batch) -> tuple[Batch, _Hashed]:
        return batch, _Hashed.of([product.text for product in batch.products], bits or MAX_BITS)

    with progress.stage("reading products to learn from", len(products)) as advance:
        # The next batches are read while these are hashed, by arrays, which leaves the interpreter's lock alone.
        for batch, part in in_order(hashed, products, THREADS + 1):
            rows.append(part.rows)
            weights.append(part.weights)
            counts.append(part.counts)
            words.append(part.words)
            ids += [product.id for product in batch.products]
            groups += [group_number(product.title, product.group, product.id) for product in batch.products]
            categories += [product.category.id for product in batch.products if product.category]
            advance(batch.rows)
    if not ids:
        raise EncoderError("there is no readable labelled product to learn from; see the rows set aside")
    flat = _joined(rows, np.int32)
    if bits is None:
        seen = np.zeros(2**MAX_BITS, bool)
        seen[flat] = True
        different = int(np.count_nonzero(seen))
        bits = int(np.clip(round(np.log2(max(different, 1))), MIN_BITS, MAX_BITS))
        flat &= np.int32(2**bits - 1)
    known, labels = np.unique(np.array(categories, np.int64), return_inverse=True)
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    table = sparse_rows(_joined(weights, np.uint8), flat, offsets, 2**bits)
    order = np.argsort(np.array(ids, np.uint64), kind="stable")
    return FeatureBags(bits, table, order, np.array(groups, np.int64), labels, known, *_vocabulary(words))


def _joined(parts: list[NDArray[Any]], kind: type[np.generic]) -> NDArray[Any]:
    """All parts as one, each let go as soon as it is copied: of a million products all of them are a gigabyte."""
    whole, start = np.empty(sum(map(len, parts)), kind), 0
    parts.reverse()
    while parts:
        part = parts.pop()
        whole[start : start + len(part)] = part
        start += len(part)
    return whole


def _vocabulary(batches: Sequence[_Words]) -> tuple[Words, float]:
    """All words, ascending, and the part of all that stands in one product alone."""
    words, products, times = map(np.concatenate, zip(*batches, strict=True))
    known, code = np.unique(words, return_inverse=True)
    alone = np.bincount(code, products)[code] == 1
    return known, round(float(times[alone].sum() / max(times.sum(), 1)), 4)
