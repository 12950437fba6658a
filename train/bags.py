"""What learning works on: the features of all products in flat arrays, and batches of them as sparse matrices."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from rubrika.encode.features import features_of
from rubrika.encode.learned import feature_rows
from rubrika.errors import EncoderError
from rubrika.products.selection import Products
from rubrika.progress import Progress

MIN_BITS, MAX_BITS = 10, 21


@dataclass(frozen=True, slots=True)
class Bags:
    """Features of all products: product i has rows[offsets[i]:offsets[i + 1]].

    Args:
        bits: rows are numbers below 2^bits.
        rows: int32, the table row of each feature.
        weights: uint8, how much each feature counts: whole numbers, as there are hundreds of millions of them.
        totals: float64 (n,), the weights of each product added up.
        offsets: int64 (n + 1,).
        labels: int64 (n,), categories numbered from 0.
        categories: int64, the id of each category, ascending.
    """

    bits: int
    rows: NDArray[np.int32]
    weights: NDArray[np.uint8]
    totals: NDArray[np.float64]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]
    categories: NDArray[np.int64]

    def __len__(self) -> int:
        """How many products there are."""
        return len(self.labels)

    def batch(self, chosen: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The table rows that these products need, the matrix that averages them, (n, rows), and its transpose.

        Each product's weights sum to 1 there.
        """
        start, length = self.offsets[chosen], self.offsets[chosen + 1] - self.offsets[chosen]
        ends = np.cumsum(length)
        flat = np.arange(ends[-1]) + np.repeat(start - (ends - length), length)
        needed = self.rows[flat]
        used = np.zeros(2**self.bits, bool)
        used[needed] = True
        rows = np.flatnonzero(used)
        place = np.empty(2**self.bits, np.int32)
        place[rows] = np.arange(len(rows), dtype=np.int32)
        offsets = np.concatenate([[0], ends]).astype(np.int32)
        weights = (self.weights[flat] / np.repeat(self.totals[chosen], length)).astype(np.float32)
        matrix = csr_array((weights, place[needed], offsets), (len(chosen), len(rows)))
        return torch.from_numpy(rows), _sparse(matrix), _sparse(csr_array(matrix.T))


def read_bags(products: Products, bits: int | None, progress: Progress) -> Bags:
    """Read labelled products, keeping hashed features alone.

    Args:
        products: read once; memory is some 5 bytes a feature, 700 a product with a short title, and twice the rows'
            4 bytes while they are put together.
        bits: of the table; None: about as many rows as there are different features.
        progress: where to show how far it is.

    Raises:
        EncoderError: there is not one labelled product.
    """
    rows, weights, counts, totals, labels = [], [], [], [], list[int]()
    with progress.stage("reading products to learn from", len(products)) as advance:
        for batch in products:
            features = features_of([product.text for product in batch.products])
            count = np.diff(features.offsets)
            owner = np.repeat(np.arange(len(count)), count)
            rows.append(feature_rows(features.hashes, bits or MAX_BITS).astype(np.int32))
            weights.append(features.weights.astype(np.uint8))
            totals.append(np.bincount(owner, features.weights, minlength=len(count)))
            counts.append(count)
            labels += [product.category.id for product in batch.products if product.category]
            advance(batch.rows)
    if not labels:
        raise EncoderError("there is no readable labelled product to learn from; see the rows set aside")
    flat = np.concatenate(rows)
    rows.clear()
    categories, codes = np.unique(np.array(labels, np.int64), return_inverse=True)
    bits = bits or _bits_for(flat)
    flat &= np.int32(2**bits - 1)
    return Bags(
        bits=bits,
        rows=flat,
        weights=np.concatenate(weights),
        totals=np.concatenate(totals),
        offsets=np.concatenate([[0], np.cumsum(np.concatenate(counts))]),
        labels=codes,
        categories=categories,
    )


def _bits_for(rows: NDArray[np.int32]) -> int:
    different = int(np.count_nonzero(np.bincount(rows, minlength=2**MAX_BITS)))
    return int(np.clip(round(np.log2(max(different, 1))), MIN_BITS, MAX_BITS))


def _sparse(matrix: csr_array) -> torch.Tensor:
    offsets, columns, values = (torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data))
    with warnings.catch_warnings():
        # torch says of every first sparse matrix that its support is in beta.
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(offsets, columns, values, size=matrix.shape, check_invariants=False)
