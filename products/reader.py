"""Reads products from parquet files and DataFrames, in batches, with every unreadable row set aside."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rubrika.errors import InputError
from rubrika.products.product import Batch, Product, Reject
from rubrika.products.row import LABEL, RowError, check_type, product_of, shown_id, wanted_columns
from rubrika.products.text import FieldsError, first_line, joined, parse_fields, plain_text
from rubrika.progress import Advance

if TYPE_CHECKING:
    import pandas as pd

BATCH_ROWS = 2_048
# So much is decoded at once: a cell may be megabytes, and a dictionary writes it once for thousands of rows.
DECODED_ROWS = 16
DECODED_BYTES = 32_000_000
# No file of products holds more rows than this a byte; one that promises more is damaged, or a bomb.
MAX_ROWS_A_BYTE = 100
# Nor do texts become a thousand times as short, unless they are short in all.
MAX_BYTES_A_BYTE = 1_000
SHORT_BYTES = 64_000_000

# Arrow's own; ValueError and OverflowError come from turning damaged names and values into Python's.
_FAULTS = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)


@dataclass(frozen=True)
class Reader:
    """Products of one or several parquet files, read as often as needed.

    Args:
        files: parquet files in the KazanExpress format.
        labelled: whether every row must carry category_id and category_name.
        group_by: a column whose value marks rows that belong together, kept as `Product.group`.
        batch_rows: how many rows make a batch.
    """

    files: Sequence[Path]
    labelled: bool
    group_by: str | None = None
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
        """The integer type of product_id in the first file; int64 where it was written as something else."""
        kind = open_parquet(self.files[0]).schema_arrow.field("product_id").type
        return kind if pa.types.is_integer(kind) else pa.int64()

    def __iter__(self) -> Iterator[Batch]:
        """Yield the rows in file order, `batch_rows` at a time.

        Raises:
            InputError: a file is missing, not parquet, lacks a column, or is damaged, after the rows before the damage.
        """
        for file in self.files:
            products: list[Product] = []
            rejects: list[Reject] = []
            damage = None
            try:
                for number, row in self.rows(file):
                    try:
                        products.append(product_of(row, number, self.labelled, self.group_by))
                    except RowError as error:
                        rejects.append(Reject(file, number, shown_id(row["product_id"]), str(error)))
                    if number % self.batch_rows == 0:
                        yield Batch(file, products, rejects)
                        products, rejects = [], []
            except InputError as error:
                damage = error
            # What was read before the damage is as good as any other.
            if products or rejects:
                yield Batch(file, products, rejects)
            if damage:
                raise damage

    def rows(self, file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Every row of one of the files, with its number from 1, as cells by column name.

        Raises:
            InputError: as when iterating.
        """
        number = 0
        with open_parquet(file) as parquet:
            columns, promised = self._columns(file, parquet), parquet.metadata.num_rows
            tables = _decoded(parquet, columns, min(DECODED_ROWS, self.batch_rows))
            while True:
                with _explained(file, f"damaged after row {number}"):
                    table = next(tables, None)
                    if table is None:
                        break
                    cells = [_values(table.column(name)) for name in columns]
                for row in zip(*cells, strict=True):
                    number += 1
                    yield number, dict(zip(columns, row, strict=True))
        if number != promised:
            raise InputError(f"{file}: damaged: {number:,} of its {promised:,} rows are left; export it again")

    def _columns(self, file: Path, parquet: pq.ParquetFile) -> list[str]:
        with _explained(file, "not a readable parquet file"):
            schema = parquet.schema_arrow
            names: list[str] = schema.names
        columns = wanted_columns(file, names, self.labelled, self.group_by)
        for name in columns:
            _check_type(file, name, schema.field(name).type)
        return columns


def is_labelled(files: Sequence[Path]) -> bool:
    """Whether all files have the columns of a label.

    Raises:
        InputError: a file is missing or not parquet.
    """
    return all(set(LABEL) <= set(open_parquet(file).schema_arrow.names) for file in files)


def open_parquet(file: Path) -> pq.ParquetFile:
    """Open a parquet file, to be closed by the caller.

    Raises:
        InputError: it is missing, not a file, not parquet, or promises more than it can hold.
    """
    try:
        # Asked first, because opening a pipe would wait for ever.
        if not file.is_file():
            raise InputError(f"{file}: {'not a file' if file.exists() else 'no such file'}; check the path")
        size = file.stat().st_size
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); check the path and its permissions") from None
    with _explained(file, "not a readable parquet file"):
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
        rows, unpacked = parquet.metadata.num_rows, _unpacked(parquet)
    if not 0 <= rows <= MAX_ROWS_A_BYTE * size:
        raise InputError(f"{file}: damaged: it promises {rows:,} rows in {size:,} bytes; export it again")
    if unpacked > max(SHORT_BYTES, MAX_BYTES_A_BYTE * size):
        raise InputError(f"{file}: damaged: it promises {unpacked:,} bytes in {size:,}; export it again")
    return parquet


@contextmanager
def _explained(file: Path, what: str) -> Iterator[None]:
    """Say in a sentence what Arrow stumbles over."""
    try:
        yield
    except _FAULTS as error:
        reason = first_line(str(error)) or type(error).__name__
        raise InputError(f"{file}: {what} ({reason}); export it again") from None


def _check_type(file: Path, name: str, kind: pa.DataType) -> None:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    types, nothing = pa.types, pa.types.is_null(kind)
    number = types.is_integer(kind) or types.is_floating(kind)
    text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    check_type(file, name, kind, number or nothing, text or nothing)


def _decoded(parquet: pq.ParquetFile, columns: Sequence[str], most: int) -> Iterator[pa.RecordBatch]:
    """All rows, at most `most` at a time, and fewer where they would not fit into `DECODED_BYTES`."""
    for place in range(parquet.num_row_groups):
        group = parquet.metadata.row_group(place)
        row_bytes = max(group.total_byte_size // max(group.num_rows, 1), 1)
        rows = max(1, min(most, DECODED_BYTES // row_bytes))
        yield from parquet.iter_batches(rows, [place], columns, use_threads=False)


def _unpacked(parquet: pq.ParquetFile) -> int:
    """How many bytes all columns have when they are decompressed, as the file says."""
    # Asking its columns, one by one, would end the process where their statistics are damaged.
    return sum(parquet.metadata.row_group(place).total_byte_size for place in range(parquet.num_row_groups))


def _values(column: pa.Array) -> list[Any]:
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError, pa.ArrowException):
        return [_value(cell) for cell in column]


def _value(cell: pa.Scalar) -> Any:  # noqa: ANN401 - a cell can hold anything
    """A cell that Python cannot hold, such as text that is not UTF-8 or a day in the year 200000, is empty."""
    try:
        return cell.as_py()
    except (ValueError, OverflowError, pa.ArrowException):
        return None


# What stands in messages where otherwise a file does.
PLACE = Path("DataFrame")


@dataclass(frozen=True)
class Frame:
    """Products of a DataFrame with the columns of a parquet file of products, as `Products`; its index says nothing.

    Args:
        frame: a row a product; a cell of `text_fields` may be a dictionary as well as its notation in a string.
        labelled: whether every row must carry category_id and category_name.
        batch_rows: how many rows make a batch.
    """

    frame: "pd.DataFrame"
    labelled: bool
    batch_rows: int = BATCH_ROWS

    @property
    def files(self) -> Sequence[Path]:
        """None: nothing can be read again once the DataFrame is gone."""
        return ()

    def __len__(self) -> int:
        """How many rows there are, good and bad."""
        return len(self.frame)

    def check(self) -> None:
        """Look at the columns.

        Raises:
            InputError: one is missing, twice there, or cannot hold what it should.
        """
        self._columns()

    def __iter__(self) -> Iterator[Batch]:
        """Yield the rows in order, numbered from 1, `batch_rows` at a time.

        Raises:
            InputError: as `check` does.
        """
        columns = self._columns()
        for start in range(0, len(self.frame), self.batch_rows):
            part = self.frame.iloc[start : start + self.batch_rows]
            cells = [_cells(part[name]) for name in columns]
            products, rejects = list[Product](), list[Reject]()
            for number, values in enumerate(zip(*cells, strict=True), start + 1):
                row = dict(zip(columns, values, strict=True))
                try:
                    row["text_fields"] = _notation(row["text_fields"])
                    products.append(product_of(row, number, self.labelled, None))
                except Exception as error:  # A cell may be anybody's object, and raise whatever it likes.
                    reason = (
                        str(error) if isinstance(error, RowError) else f"a cell cannot be read ({type(error).__name__})"
                    )
                    rejects.append(Reject(PLACE, number, shown_id(row["product_id"]), reason))
            yield Batch(PLACE, products, rejects)

    def _columns(self) -> list[str]:
        columns = wanted_columns(PLACE, [str(name) for name in self.frame.columns], self.labelled)
        for name in columns:
            self._check_type(name)
        return columns

    def _check_type(self, name: str) -> None:
        from pandas.api import types

        kind = self.frame[name].dtype
        # Of a column of Python's own objects, every cell is judged by itself.
        anything = types.is_object_dtype(kind) or not len(self.frame)
        number = types.is_numeric_dtype(kind) and not types.is_bool_dtype(kind)
        text = types.is_string_dtype(kind) or isinstance(kind, types.CategoricalDtype)
        check_type(PLACE, name, kind, number or anything, text or anything)


def _cells(column: "pd.Series[Any]") -> list[Any]:
    """Cells as a parquet file would give them: Python's own numbers, and None where there is nothing."""
    cells = column.astype(object).tolist()
    return [_cell(cell.item() if isinstance(cell, np.generic) else cell) for cell in cells]


def _cell(cell: object) -> object:
    import pandas as pd

    empty = cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and math.isnan(cell))
    # `pandas.isna` stumbles over a Decimal's NaN that signals.
    return None if empty or (isinstance(cell, Decimal) and cell.is_nan()) else cell


def _notation(cell: object) -> object:
    """A dictionary as JSON, so that it goes the way of all cells: the same text, the same bounds."""
    if not isinstance(cell, dict):
        return cell
    try:
        return json.dumps(_plain(cell), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        raise RowError("text_fields is a dictionary that cannot be written as JSON") from None


def _plain(value: object) -> object:
    """What JSON can hold, of what tables do; anything else counts as its words."""
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, set | frozenset):
        # In the order of the text that is made of it, as a set has another one in every process.
        return sorted(map(_plain, value), key=joined)
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    value = _cell(value.item() if isinstance(value, np.generic) else value)
    return value if value is None or isinstance(value, str | int | float) else str(value)


def read_ids(file: Path) -> list[int]:
    """The different product_ids of the rows that have one, in their order.

    Raises:
        InputError: the file cannot be read, or has no such column of whole numbers.
    """
    if not file.exists():
        raise InputError(f"{file}: no such file, and not a product's id either; check the path")
    ids: dict[int, None] = {}
    with open_parquet(file) as parquet:
        try:
            for table in parquet.iter_batches(columns=["product_id"], use_threads=False):
                column = pc.drop_null(table.column("product_id")).cast(pa.uint64())
                ids.update(dict.fromkeys(pc.unique(column).to_pylist()))
        # Arrow's own, and what turning damaged names into Python's comes to.
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            reason = first_line(str(error))
            raise InputError(
                f"{file}: no product_id can be read ({reason}); give a parquet file that has them"
            ) from None
    return list(ids)


INSIDE = ("title", "description", "attributes", "custom_characteristics", "defined_characteristics", "filters")
COLUMNS = ("shop_id", "shop_title", "rating", "sale")
ADVANCE_ROWS = 1_024


def empty_fields(reader: Reader, advance: Advance = lambda rows: None) -> dict[str, int]:
    """How many of all rows, good and bad, leave each field empty; a field or column that is not there is empty.

    Raises:
        InputError: as when iterating over the reader.
    """
    counts = Counter(dict.fromkeys((*INSIDE, *COLUMNS), 0))
    for file in reader.files:
        number = 0
        for number, row in reader.rows(file):
            counts.update(_empty_of(row))
            if number % ADVANCE_ROWS == 0:
                advance(ADVANCE_ROWS)
        advance(number % ADVANCE_ROWS)
    return dict(counts)


def _empty_of(row: Mapping[str, object]) -> Iterator[str]:
    try:
        fields = parse_fields(row["text_fields"])
    except FieldsError:
        fields = {}
    yield from (name for name in INSIDE if _is_empty(fields.get(name)))
    # A rating begins at one star: 0 is written where nobody gave any.
    yield from (name for name in COLUMNS if _is_empty(row.get(name)) or (name == "rating" and row[name] == 0))


def _is_empty(value: object) -> bool:
    """Whether nothing can be read there; the depth of nested values is capped by the parser."""
    if isinstance(value, str):
        return not plain_text(value)
    if isinstance(value, dict):
        return all(map(_is_empty, value.values()))
    if isinstance(value, list | tuple | set):
        return all(map(_is_empty, value))
    return value is None or value != value
