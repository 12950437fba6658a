"""Parts of parquet files, which several processes read side by side, and the ids that several rows have."""

from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice, repeat
from pathlib import Path

import numpy as np

from rubrika.products.identity import MAX_EXACT, identity
from rubrika.products.parquet import decoded, explained, open_parquet, values_of
from rubrika.products.product import Batch
from rubrika.products.reader import LABEL_ROWS, Reader, batches, partitions
from rubrika.products.row import product_of
from rubrika.products.text import RowError


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of a file, counted from 0: from `start` to before `stop`."""

    file: Path
    start: int
    stop: int


def parts_of(reader: Reader, rows: int) -> list[Part]:
    """The files of a reader in parts of so many rows, in their order."""
    found = list[Part]()
    for file in reader.files:
        with open_parquet(file) as parquet:
            total = parquet.metadata.num_rows
        found += [Part(file, start, min(start + rows, total)) for start in range(0, total, rows)]
    return found


@dataclass(frozen=True)
class PartReader:
    """The products of some parts, as `Products`; their rows have the numbers that they have in the whole file."""

    reader: Reader
    parts: Sequence[Part]

    @property
    def files(self) -> Sequence[Path]:
        """As in Products."""
        return list(dict.fromkeys(part.file for part in self.parts))

    def __len__(self) -> int:
        return sum(part.stop - part.start for part in self.parts)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the rows in order; at damage an InputError, after the rows before it."""
        for part in self.parts:
            layout = self.reader.layout(part.file)
            rows, to_product = self.reader.rows(layout, part.start, part.stop), partial(product_of, layout=layout)
            yield from batches(layout, rows, to_product, self.reader.batch_rows, part.start + 1)

    def check(self) -> None:
        """As in Products."""
        self.reader.check()


def repeated_ids(reader: Reader, parts: Sequence[Part]) -> tuple[frozenset[int], list[Part]]:
    """The ids that more than one row has, and the parts with such rows; only the column of ids is read.

    Takes eight bytes a row while it counts.
    """
    found, ends = array("Q"), list[int]()
    for file, parts_of_file in groupby(parts, lambda part: part.file):
        layout, values = reader.layout(file), _id_cells(reader, file)
        exact = layout.exact.get(layout.at["product_id"], MAX_EXACT)
        for part in parts_of_file:
            for value in islice(values, part.stop - part.start):
                with suppress(RowError):
                    found.append(identity("product_id", value, exact=exact)[0])
            ends.append(len(found))
    ids = np.array(found, np.uint64)
    unique, counts = np.unique(ids, return_counts=True)
    repeated = unique[counts > 1]
    having = np.unique(np.searchsorted(ends, np.flatnonzero(np.isin(ids, repeated)), side="right"))
    return frozenset(repeated.tolist()), [parts[place] for place in having.tolist()]


def _id_cells(reader: Reader, file: Path) -> Iterator[object]:
    """The cells of the column of ids, row by row."""
    column = reader.layout(file).at["product_id"]
    if column in partitions(file):
        yield from repeat(partitions(file)[column])
        return
    with open_parquet(file) as parquet, explained(file, "damaged"):
        for table in decoded(parquet, [column], LABEL_ROWS):
            yield from values_of(table.column(column))
