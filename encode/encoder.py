"""What every encoder can do: texts in, unit vectors out."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


class Encoder(Protocol):
    """Turns texts into vectors whose cosine says how alike two products are."""

    @property
    def size(self) -> int:
        """The width of a vector."""

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Encode texts into float32 (n, size), every row of length 1; the same text always gives the same row."""


def unit_rows(vectors: FloatArray) -> FloatArray:
    """Scale rows to length 1; a product of which nothing is known gets a direction that all such products share."""
    empty = np.full(vectors.shape[1], vectors.shape[1] ** -0.5, np.float32)
    rows: FloatArray = np.where(vectors.any(axis=1, keepdims=True), unit_or_zero(vectors), empty)
    return rows


def unit_or_zero(vectors: FloatArray) -> FloatArray:
    """Scale rows to length 1; a row of zeros stays one."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    rows: FloatArray = (vectors / np.maximum(norms, 1e-30)).astype(np.float32)
    return rows
