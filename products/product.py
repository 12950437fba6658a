"""What a product is, and where products come from: anything that yields batches of them."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    # Not imported at run time: numpy would slow the command line's help down.
    import numpy as np
    from numpy.typing import NDArray

ROOT_CATEGORY, SEPARATOR = "Все категории", "->"
BETWEEN_LEVELS = " › "  # for people
BATCH_ROWS = 2_048  # of products in memory


@dataclass(frozen=True, slots=True)
class Category:
    """A category: its id and its full path, such as `Все категории->Обувь->Кроссовки`."""

    id: int
    path: str
    key: str = ""  # how its owner calls it, where that is not the number

    @property
    def levels(self) -> list[str]:
        """The names from the top of the tree to the leaf, without the root that all paths share."""
        return list(_levels(self.path))


def display_path(path: str) -> str:
    """The path of a category for people: `Обувь › Кроссовки`."""
    return BETWEEN_LEVELS.join(_levels(path))


@lru_cache(maxsize=65_536)
def _levels(path: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in path.split(SEPARATOR) if name.strip())
    return names[1:] if len(names) > 1 and names[0] == ROOT_CATEGORY else names


@dataclass(frozen=True, slots=True)
class Product:
    """One row of a file: `row` counts from 1, and `category` is None when the row has no label.

    Two rows with the same content are equal, wherever they stand.
    """

    id: int
    title: str
    text: str
    row: int = field(compare=False)
    category: Category | None = None
    shop_id: int | None = None
    shop_title: str = ""
    rating: float | None = None
    sale: bool | None = None
    group: str = ""
    by_person: bool = False  # whether a person set its category
    key: str = ""  # its id as its owner writes it, where that is not the number
    image: str | bytes = ""  # the name of its picture's file, or the picture

    @property
    def own_id(self) -> int | str:
        """Its id as its owner writes it."""
        return self.key or self.id


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that was set aside, and why; `product_id` is shown as its owner wrote it."""

    file: Path
    row: int
    product_id: str
    reason: str
    id: int | None = field(default=None, compare=False)  # the number of its product_id, if that is valid


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one file read together: the good ones as products, the others as rejects, both in row order."""

    file: Path
    products: list[Product]
    rejects: list[Reject]

    @property
    def rows(self) -> int:
        """How many rows were read, good and bad."""
        return len(self.products) + len(self.rejects)


def text_hash(text: str, key: bytes = b"") -> str:
    """Sixteen hexadecimal digits that change when the text does, or the key."""
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8, key=key).hexdigest()


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
    """Some of the good products of a reader, by a mark for each in `chosen`; rejects are left out."""

    products: Products
    chosen: "NDArray[np.bool_]"

    @property
    def files(self) -> Sequence[Path]:
        """As in Products."""
        return self.products.files

    def __len__(self) -> int:
        """How many products were chosen."""
        return int(self.chosen.sum())

    def __iter__(self) -> Iterator[Batch]:
        """Yield the chosen products in order."""
        start = 0
        for batch in self.products:
            marks = self.chosen[start : start + len(batch.products)]
            start += len(batch.products)
            if kept := [product for product, keep in zip(batch.products, marks, strict=True) if keep]:
                yield Batch(batch.file, kept, [])

    def check(self) -> None:
        """As in Products."""
        self.products.check()


@dataclass(frozen=True)
class Filtered:
    """The good products of which something is true; its length is the number of all rows."""

    products: Products
    wanted: Callable[[Product], bool]

    @property
    def files(self) -> Sequence[Path]:
        """As in Products."""
        return self.products.files

    def __len__(self) -> int:
        return len(self.products)

    def __iter__(self) -> Iterator[Batch]:
        """Yield them in order."""
        for batch in self.products:
            yield Batch(batch.file, [product for product in batch.products if self.wanted(product)], [])

    def check(self) -> None:
        """As in Products."""
        self.products.check()


@dataclass(frozen=True)
class Kept:
    """Products in memory, as `Products`."""

    products: Sequence[Product]
    files: Sequence[Path] = ()

    @property
    def pictured(self) -> bool:
        """Whether a product brings its picture along."""
        return any(isinstance(product.image, bytes) for product in self.products)

    def __len__(self) -> int:
        return len(self.products)

    def __iter__(self) -> Iterator[Batch]:
        """Yield them in order."""
        for start in range(0, len(self.products), BATCH_ROWS):
            yield Batch(Path(), list(self.products[start : start + BATCH_ROWS]), [])

    def check(self) -> None:
        """All was checked before."""
