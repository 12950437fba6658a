"""Labelled texts as products, so that an encoder can be learned from nothing else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rubrika.products.product import Batch, Category, Product

BATCH_ROWS = 2_048


@dataclass(frozen=True)
class Texts:
    """Texts with the numbers of their classes, as `Products`; a text's place is its id.

    Args:
        texts: n of them.
        labels: int64 (n,).
    """

    texts: Sequence[str]
    labels: NDArray[np.int64]

    @property
    def files(self) -> Sequence[Path]:
        """None."""
        return ()

    def __len__(self) -> int:
        """How many there are."""
        return len(self.texts)

    def __iter__(self) -> Iterator[Batch]:
        """Yield them in order."""
        for start in range(0, len(self.texts), BATCH_ROWS):
            part = zip(self.texts[start : start + BATCH_ROWS], self.labels[start : start + BATCH_ROWS], strict=True)
            products = [
                Product(place, "", text, place + 1, Category(int(label), str(label)))
                for place, (text, label) in enumerate(part, start)
            ]
            yield Batch(Path(), products, [])

    def check(self) -> None:
        """There is nothing to find out."""
