"""The products to learn from, as bags of hashed features."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from rubrika.encode.duplicates import group_number
from rubrika.encode.hashing import WORD_WEIGHT, Words, rich_features_of
from rubrika.encode.learned import bags_of, sparse_rows
from rubrika.errors import EncoderError
from rubrika.products.product import Products
from rubrika.progress import Progress

IntArray = NDArray[np.int64]

MIN_BITS, MAX_BITS = 10, 21


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


def read_feature_bags(products: Products, bits: int | None, progress: Progress) -> FeatureBags:
    """Read labelled products once, keeping hashed features alone; without `bits` the table has a row for about each.

    Memory is some 5 bytes a feature, 700 a product with a short title.
    """
    rows, weights, counts, vocabulary = [], [], [], Vocabulary()
    ids, groups, categories = list[int](), list[int](), list[int]()
    with progress.stage("reading products to learn from", len(products)) as advance:
        for batch in products:
            features = rich_features_of([product.text for product in batch.products])
            bags = bags_of(features, bits or MAX_BITS)
            rows.append(bags.indices)
            weights.append(np.minimum(bags.data, 255).astype(np.uint8))
            counts.append(np.diff(bags.indptr))
            owner, is_word = (
                np.repeat(np.arange(len(counts[-1])), np.diff(features.offsets)),
                features.weights == WORD_WEIGHT,
            )
            vocabulary.add(features.hashes[is_word].astype(np.uint32), owner[is_word])
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
    return FeatureBags(bits, table, order, np.array(groups, np.int64), labels, known, *vocabulary.counted())


def _joined(parts: list[NDArray[Any]], kind: type[np.generic]) -> NDArray[Any]:
    """All parts as one, each let go as soon as it is copied: of a million products all of them are a gigabyte."""
    whole, start = np.empty(sum(map(len, parts)), kind), 0
    parts.reverse()
    while parts:
        part = parts.pop()
        whole[start : start + len(part)] = part
        start += len(part)
    return whole


class Vocabulary:
    """The words of products, read batch by batch."""

    def __init__(self) -> None:
        self._batches = list[tuple[Words, IntArray, IntArray]]()

    def add(self, words: Words, owners: IntArray) -> None:
        """Add the words of a batch, with the product that has each, both (n,)."""
        known, code = np.unique(words, return_inverse=True)
        products = np.bincount(np.unique(owners * len(known) + code) % max(len(known), 1), minlength=len(known))
        self._batches.append((known, products, np.bincount(code, minlength=len(known))))

    def counted(self) -> tuple[Words, float]:
        """All words, ascending, and the part of all that stands in one product alone."""
        words, products, times = map(np.concatenate, zip(*self._batches, strict=True))
        known, code = np.unique(words, return_inverse=True)
        alone = np.bincount(code, products)[code] == 1
        return known, round(float(times[alone].sum() / max(times.sum(), 1)), 4)
