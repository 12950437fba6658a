"""What a store already knows: its vectors as arrays, and its products read again from the files they came from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rubrika.errors import InputError
from rubrika.index.index import Index
from rubrika.ingest.change import Hasher
from rubrika.products.parquet import Reader
from rubrika.products.product import Batch, Category
from rubrika.store.store import FloatArray, Store


def stored_vectors(store: Store, ids: Sequence[int], sizes: Mapping[str, int]) -> dict[str, FloatArray]:
    """Vectors (n, size) of stored products, by name; a row of zeros is one that is not there."""
    vectors = {name: np.zeros((len(ids), size), np.float32) for name, size in sizes.items()}
    points = store.fetch(ids, payload=False, vectors=True) if vectors else {}
    for row, id in enumerate(ids):
        for name in vectors.keys() & points[id].vectors.keys() if id in points else ():
            vectors[name][row] = points[id].vectors[name]
    return vectors


def source_files(index: Index, files: Sequence[Path]) -> list[Path]:
    """The files to compare with, the latest last: those given, or those ingested, as far as they are still there."""
    return list(files) or [Path(file) for file in index.manifest.contents.sources if Path(file).exists()]


@dataclass(frozen=True)
class StoredProducts:
    """The products of an index: their texts from the files they came from, their categories from the index.

    Args:
        files: where to look, the latest first.
        hasher: of the index's encoders.
        known: of each product the hash of its text, and its category.
    """

    files: Sequence[Path]
    hasher: Hasher
    known: Mapping[int, tuple[str, Category]]

    @classmethod
    def of(cls, index: Index, files: Sequence[Path] = ()) -> "StoredProducts":
        """The products of an open index.

        Args:
            index: whose products.
            files: where their rows are, the latest last; by default the files that were ingested.
        """
        categories: dict[tuple[int, str], Category] = {}
        known = {}
        for page in index.store.scroll(payload=["text_hash", "category_id", "category_path"]):
            for point in page:
                key = (point.category_id, point.text("category_path"))
                category = categories.setdefault(key, Category(*key))
                known[point.id] = (point.text("text_hash"), category)
        return cls(source_files(index, files)[::-1], Hasher.of(index.manifest), known)

    def __len__(self) -> int:
        """How many products there are."""
        return len(self.known)

    def __iter__(self) -> Iterator[Batch]:
        """Yield each product once, from the latest file that says what the index says.

        Raises:
            InputError: a file cannot be read, or some products are in none of them.
        """
        missing = set(self.known)
        for batch in Reader(self.files, labelled=False) if self.files else ():
            found = []
            for product in batch.products:
                if product.id in missing and self.known[product.id][0] == self.hasher.text(product.text):
                    missing.remove(product.id)
                    found.append(replace(product, category=self.known[product.id][1]))
            if found:
                yield Batch(batch.file, found, [])
        if missing:
            raise InputError(
                f"{len(missing):,} products of the index, such as {min(missing)}, are in none of the files "
                f"{', '.join(map(str, self.files)) or 'it remembers'}; name files that have them, or delete them"
            )

    def check(self) -> None:
        """Read everything once, so that a missing product is known before any work is done."""
        for _ in self:
            pass
