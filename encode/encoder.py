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
