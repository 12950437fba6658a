"""Reads products from parquet files and DataFrames, in batches, with every unreadable row set aside."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rubrika.errors import InputError
from rubrika.products.product import Batch, Category, Product, Reject
from rubrika.products.row import LABEL, ColumnType, Row, label_of, product_of, shown_id, wanted_columns
from rubrika.products.text import RowError, first_line, joined

if TYPE_CHECKING:
    import pandas as pd

BATCH_ROWS = 2_048
# So much is decoded at once: a cell may be megabytes, and a dictionary stores it once for thousands of rows.
DECODED_ROWS, DECODED_BYTES = 16, 32_000_000
# Of the columns of a label, whose texts stay in their dictionary.
LABEL_ROWS = 65_536
# No file of products holds more rows a byte than this; one that promises more is damaged, or a bomb.
MAX_ROWS_A_BYTE = 100
# Nor are texts compressed a thousandfold, unless they are short in all.
MAX_BYTES_A_BYTE, SHORT_BYTES = 1_000, 64_000_000

# Arrow's own; the others come from turning damaged names and values into Python's.
_FAULTS = (pa.ArrowException, OSError, KeyError, ValueError, OverflowError, MemoryError)


@dataclass(frozen=True)
class Reader:
    """Products of parquet files in the KazanExpress format, as `Products`."""

    files: Sequence[Path]
    labelled: bool  # whether every row must carry category_id and category_name
    group_by: str | None = None  # a column whose value marks rows that belong together, kept as `Product.group`
    batch_rows: int = BATCH_ROWS

    def __len__(self) -> int:
        """How many rows the files hold, good and bad, without reading them."""
        return sum(open_parquet(file).metadata.num_rows for file in self.files)

    def check(self) -> None:
        """Open every file and look at its columns, so that a wrong file is known before any work is done."""
        for file in self.files:
            with open_parquet(file) as parquet:
                self._columns(file, parquet)

    def id_type(self) -> pa.DataType:
        """The integer type of product_id in the first file; int64 if it is stored as something else."""
        kind = open_parquet(self.files[0]).schema_arrow.field("product_id").type
        return kind if pa.types.is_integer(kind) else pa.int64()

    def __iter__(self) -> Iterator[Batch]:
        """Yield the rows in file order, `batch_rows` at a time; at damage an InputError, after the rows before it."""
        to_product = partial(product_of, labelled=self.labelled, group_by=self.group_by)
        for file in self.files:
            yield from _batches(file, self.rows(file), to_product, self.batch_rows)

    def rows(self, file: Path) -> Iterator[Row]:
        """Every row of one of the files as values by column name."""
        return parquet_rows(file, partial(self._columns, file), self.batch_rows)

    def labels(self) -> Counter[Category]:
        """How many rows have each label; only these columns are read, and what is damaged is passed over."""
        counts = Counter[Category]()
        for file in self.files:
            with suppress(InputError):
                for category, count in _labels(file):
                    counts[category] += count
        return counts

    def _columns(self, file: Path, parquet: pq.ParquetFile) -> list[str]:
        with _explained(file, "not a readable parquet file"):
            schema = parquet.schema_arrow
            names: list[str] = schema.names
        return wanted_columns(file, names, lambda name: _type_of(schema.field(name).type), self.labelled, self.group_by)


def parquet_rows(
    file: Path, columns_of: Callable[[pq.ParquetFile], Sequence[str]], max_rows: int = DECODED_ROWS
) -> Iterator[Row]:
    """Every row of a file as values by column name; an InputError at damage, after the rows before it."""
    number = 0
    with open_parquet(file) as parquet:
        columns, promised = columns_of(parquet), parquet.metadata.num_rows
        tables = _decoded(parquet, columns, min(DECODED_ROWS, max_rows))
        while True:
            with _explained(file, f"damaged after row {number}"):
                table = next(tables, None)
                if table is None:
                    break
                values = [_values(table.column(name)) for name in columns]
            yield from _rows(columns, values)
            number += table.num_rows
    if number != promised:
        raise InputError(f"{file}: damaged: {number:,} of its {promised:,} rows are left; export it again")


def _labels(file: Path) -> Iterator[tuple[Category, int]]:
    """The labels of a file, part by part, each with its number of rows there."""
    with open_parquet(file, [LABEL[1]]) as parquet, _explained(file, "damaged"):
        for table in _decoded(parquet, LABEL, LABEL_ROWS):
            ids, names = (table.column(name) for name in LABEL)
            names = names if pa.types.is_dictionary(names.type) else names.dictionary_encode()
            pairs = pa.table({"id": ids, "name": names.indices}).group_by(["id", "name"], use_threads=False)
            texts = dict(enumerate(_values(names.dictionary)))
            for row in pairs.aggregate([([], "count_all")]).to_pylist():
                with suppress(RowError):
                    yield label_of(row["id"], texts[row["name"]] if row["name"] is not None else None), row["count_all"]


def _rows(names: Sequence[str], columns: Sequence[Sequence[object]]) -> Iterator[Row]:
    return (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))


def _batches(
    source: Path, rows: Iterator[Row], to_product: Callable[[Row, int], Product], batch_rows: int
) -> Iterator[Batch]:
    """Products and rejects of rows; where reading fails, the rows before the damage come first."""
    numbered = enumerate(rows, 1)
    while True:
        products, rejects, damage = list[Product](), list[Reject](), None
        try:
            for number, row in islice(numbered, batch_rows):
                try:
                    products.append(to_product(row, number))
                except RowError as error:
                    rejects.append(Reject(source, number, shown_id(row["product_id"]), str(error)))
        except InputError as error:
            damage = error
        if products or rejects:
            yield Batch(source, products, rejects)
        if damage:
            raise damage
        if len(products) + len(rejects) < batch_rows:
            return


def is_labelled(files: Sequence[Path]) -> bool:
    """Whether all files have the columns of a label."""
    return all(set(LABEL) <= set(open_parquet(file).schema_arrow.names) for file in files)


def file_size(file: Path) -> int:
    """The bytes of a file; InputError when there is none that can be read."""
    try:
        # Checked first, because opening a pipe would wait for ever.
        if not file.is_file():
            raise InputError(f"{file}: {'not a file' if file.exists() else 'no such file'}; check the path")
        return file.stat().st_size
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); check the path and its permissions") from None


def open_parquet(file: Path, as_dictionaries: Sequence[str] = ()) -> pq.ParquetFile:
    """Open a parquet file, to be closed by the caller; InputError when it promises more than it can hold, too.

    A text that many rows of a column in `as_dictionaries` have is in memory once.
    """
    size = file_size(file)
    with _explained(file, "not a readable parquet file"):
        parquet = pq.ParquetFile(file, page_checksum_verification=True, read_dictionary=list(as_dictionaries))
        rows, groups = parquet.metadata.num_rows, range(parquet.num_row_groups)
        # Asking the columns for their sizes would end the process where their statistics are damaged.
        unpacked = sum(parquet.metadata.row_group(group).total_byte_size for group in groups)
    if not 0 <= rows <= MAX_ROWS_A_BYTE * size:
        raise InputError(f"{file}: damaged: it promises {rows:,} rows in {size:,} bytes; export it again")
    if unpacked > max(SHORT_BYTES, MAX_BYTES_A_BYTE * size):
        raise InputError(f"{file}: damaged: it promises {unpacked:,} bytes in {size:,}; export it again")
    return parquet


@contextmanager
def _explained(file: Path, what: str, advice: str = "export it again") -> Iterator[None]:
    try:
        yield
    except _FAULTS as error:
        reason = first_line(str(error)) or type(error).__name__
        raise InputError(f"{file}: {what} ({reason}); {advice}") from None


def _type_of(kind: pa.DataType) -> ColumnType:
    types = pa.types
    kind = kind.value_type if types.is_dictionary(kind) else kind
    nothing = types.is_null(kind)
    has_numbers = types.is_integer(kind) or types.is_floating(kind)
    has_texts = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return ColumnType(kind, has_numbers or nothing, has_texts or nothing)


def _decoded(parquet: pq.ParquetFile, columns: Sequence[str], max_rows: int) -> Iterator[pa.RecordBatch]:
    """All rows, at most `max_rows` at a time, and fewer where they would not fit into `DECODED_BYTES`."""
    for number in range(parquet.num_row_groups):
        group = parquet.metadata.row_group(number)
        row_bytes = max(group.total_byte_size // max(group.num_rows, 1), 1)
        rows = max(1, min(max_rows, DECODED_BYTES // row_bytes))
        yield from parquet.iter_batches(rows, [number], columns, use_threads=False)


def _values(column: pa.Array) -> list[Any]:
    """A cell that Python cannot hold, such as text that is not UTF-8 or a day in the year 200000, is None."""
    with suppress(ValueError, OverflowError, pa.ArrowException):
        return list(column.to_pylist())
    values: list[Any] = [None] * len(column)
    for row, cell in enumerate(column):
        with suppress(ValueError, OverflowError, pa.ArrowException):
            values[row] = cell.as_py()
    return values


def read_ids(file: Path) -> list[int]:
    """The distinct product_ids of a file, in their order; InputError when it has no such column of whole numbers."""
    if not file.exists():
        raise InputError(f"{file}: no such file, and not a product's id either; check the path")
    ids: dict[int, None] = {}
    with open_parquet(file) as parquet, _explained(file, "no product_id can be read", "give a file that has some"):
        for table in parquet.iter_batches(columns=["product_id"], use_threads=False):
            column = pc.drop_null(table.column("product_id")).cast(pa.uint64())
            ids.update(dict.fromkeys(pc.unique(column).to_pylist()))
    return list(ids)


DATA_FRAME = Path("DataFrame")  # in messages and rejects, where otherwise a file stands


@dataclass(frozen=True)
class Frame:
    """Products of a DataFrame with the columns of a parquet file of products, as `Products`; its index is not used.

    A cell of `text_fields` may be a dictionary as well as its notation in a string; else see `Reader`.
    """

    frame: "pd.DataFrame"
    labelled: bool
    group_by: str | None = None
    batch_rows: int = BATCH_ROWS

    @property
    def files(self) -> Sequence[Path]:
        """None: nothing can be read again once the DataFrame is gone."""
        return ()

    def __len__(self) -> int:
        """How many rows there are, good and bad."""
        return len(self.frame)

    def check(self) -> None:
        """Fail, with an InputError, when a column is missing, there twice, or cannot hold what it should."""
        self._columns()

    def __iter__(self) -> Iterator[Batch]:
        """Yield the rows in order, `batch_rows` at a time; fails as `check` does."""
        return _batches(DATA_FRAME, self._rows(), self._product, self.batch_rows)

    def labels(self) -> Counter[Category]:
        """How many rows have each label."""
        counts = Counter[Category]()
        for id, name in zip(*(self.frame[name].astype(object).tolist() for name in LABEL), strict=True):
            with suppress(Exception):  # A cell may be any object, and raise whatever it likes.
                counts[label_of(_cell(id), _cell(name))] += 1
        return counts

    def _rows(self) -> Iterator[Row]:
        columns = self._columns()
        for start in range(0, len(self.frame), self.batch_rows):
            part = self.frame.iloc[start : start + self.batch_rows]
            yield from _rows(columns, [list(map(_cell, part[name].astype(object).tolist())) for name in columns])

    def _product(self, row: Row, number: int) -> Product:
        try:
            plain = {**row, "text_fields": _notation(row["text_fields"])}
            return product_of(plain, number, self.labelled, self.group_by)
        except RowError:
            raise
        except Exception as error:  # A cell may be any object, and raise whatever it likes.
            raise RowError(f"a cell cannot be read ({type(error).__name__})") from None

    def _columns(self) -> list[str]:
        names = [str(name) for name in self.frame.columns]
        return wanted_columns(DATA_FRAME, names, self._type, self.labelled, self.group_by)

    def _type(self, name: str) -> ColumnType:
        from pandas.api import types

        kind = self.frame[name].dtype
        # In a column of Python objects, every cell is judged by itself.
        anything = types.is_object_dtype(kind) or not len(self.frame)
        has_numbers = types.is_numeric_dtype(kind) and not types.is_bool_dtype(kind)
        has_texts = types.is_string_dtype(kind) or isinstance(kind, types.CategoricalDtype)
        return ColumnType(kind, has_numbers or anything, has_texts or anything)


def _cell(cell: object) -> object:
    """A cell as a parquet file would give it: a number of Python's own, and None where there is nothing."""
    import pandas as pd

    cell = cell.item() if isinstance(cell, np.generic) else cell
    empty = cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and math.isnan(cell))
    # `pandas.isna` fails on a signalling NaN.
    return None if empty or (isinstance(cell, Decimal) and cell.is_nan()) else cell


def _notation(cell: object) -> object:
    """A dictionary as JSON, so that it is read like any other cell: the same text, the same limits."""
    if not isinstance(cell, dict):
        return cell
    try:
        return json.dumps(_plain(cell), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        raise RowError("text_fields is a dictionary that cannot be written as JSON") from None


def _plain(value: object) -> object:
    """What JSON can hold of a nested value; anything else as text."""
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, set | frozenset):
        # Sorted as text, since a set has another order in every process.
        return sorted(map(_plain, value), key=joined)
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    value = _cell(value)
    return value if value is None or isinstance(value, str | int | float) else str(value)
