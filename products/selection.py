"""A part of a reader's products, such as the rows to learn from or the rows held out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rubrika.products.product import Batch


class Products(Protocol):
    """Batches of products that can be read as often as needed; its length is the number of rows."""

    @property
    def files(self) -> Sequence[Path]:
        """Where they come from."""

    def __len__(self) -> int:
        """How many rows will come, good and bad."""

    def __iter__(self) -> Iterator[Batch]:
        """Yield the rows in order."""

    def check(self) -> None:
        """Fail early, with an InputError, when the files are not what they should be."""


@dataclass(frozen=True)
class Selection:
    """The good products of a reader whose place among all good ones is marked in `chosen`; rejects stay behind."""

    products: Products
    chosen: NDArray[np.bool_]

    @property
    def files(self) -> Sequence[Path]:
        """As in Products."""
        return self.products.files

    def __len__(self) -> int:
        """How many products were chosen."""
        return int(self.chosen.sum())

    def __iter__(self) -> Iterator[Batch]:
        """Yield the chosen products in order."""
        place = 0
        for batch in self.products:
            here = self.chosen[place : place + len(batch.products)]
            place += len(batch.products)
            kept = [product for product, keep in zip(batch.products, here, strict=True) if keep]
            if kept:
                yield Batch(batch.file, kept, [])

    def check(self) -> None:
        """As in Products."""
        self.products.check()
