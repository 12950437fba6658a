"""Reads products from parquet in batches: memory is bounded by a batch, and a bad row costs only itself."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rubrika.errors import InputError
from rubrika.products.product import Batch, Product, Reject
from rubrika.products.row import RowError, product_of, shown_id
from rubrika.products.text import one_line, shortened

BATCH_ROWS = 2_048
# So many are decoded at once: a cell may be megabytes, and a dictionary writes it once for thousands of rows.
DECODED_ROWS = 64
# No file of products holds more rows than this a byte; one that promises more is damaged, or a bomb.
MAX_ROWS_A_BYTE = 100
LONGEST_REASON = 200

_REQUIRED = ("product_id", "text_fields")
_LABEL = ("category_id", "category_name")
_OPTIONAL = ("shop_id", "shop_title", "rating", "sale")
_WHOLE_NUMBERS = ("product_id", "category_id")
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
        return sum(_open(file).metadata.num_rows for file in self.files)

    def check(self) -> None:
        """Open every file and look at its columns, so that a wrong file is known before any work is done."""
        for file in self.files:
            with _open(file) as parquet:
                self._columns(file, parquet)

    def id_type(self) -> pa.DataType:
        """The integer type of product_id in the first file; int64 where it was written as something else."""
        kind = _open(self.files[0]).schema_arrow.field("product_id").type
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
        with _open(file) as parquet:
            columns, promised = self._columns(file, parquet), parquet.metadata.num_rows
            tables = parquet.iter_batches(min(DECODED_ROWS, self.batch_rows), columns=columns, use_threads=False)
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
        wanted = (*_REQUIRED, *(_LABEL if self.labelled else ()), *([self.group_by] if self.group_by else ()))
        missing = [name for name in wanted if name not in names]
        if missing:
            raise InputError(
                f"{file}: no column {', '.join(missing)} (it has {_said(', '.join(names)) or 'none'}); "
                f"rename or add {'it' if len(missing) == 1 else 'them'}"
            )
        columns = [*dict.fromkeys(wanted), *(name for name in _OPTIONAL if name in names and name not in wanted)]
        for name in columns:
            if names.count(name) > 1:
                raise InputError(f"{file}: {names.count(name)} columns are called {name}; keep one")
            _check_type(file, name, schema.field(name).type)
        return columns


def is_labelled(files: Sequence[Path]) -> bool:
    """Whether all files have the columns of a label.

    Raises:
        InputError: a file is missing or not parquet.
    """
    return all(set(_LABEL) <= set(_open(file).schema_arrow.names) for file in files)


@contextmanager
def _explained(file: Path, what: str) -> Iterator[None]:
    """Say in a sentence what Arrow stumbles over."""
    try:
        yield
    except _FAULTS as error:
        raise InputError(f"{file}: {what} ({_said(str(error)) or type(error).__name__}); export it again") from None


def _open(file: Path) -> pq.ParquetFile:
    try:
        # Asked first, because opening a pipe would wait for ever.
        if not file.is_file():
            raise InputError(f"{file}: {'not a file' if file.exists() else 'no such file'}; check the path")
        size = file.stat().st_size
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); check the path and its permissions") from None
    with _explained(file, "not a readable parquet file"):
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
        rows = parquet.metadata.num_rows
    if not 0 <= rows <= MAX_ROWS_A_BYTE * size:
        raise InputError(f"{file}: damaged: it promises {rows:,} rows in {size:,} bytes; export it again")
    return parquet


def _check_type(file: Path, name: str, kind: pa.DataType) -> None:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if name in _WHOLE_NUMBERS and not (number or pa.types.is_null(kind)):
        raise InputError(f"{file}: column {name} is {_said(str(kind))}, not a whole number; convert it first")
    if name in ("text_fields", "category_name") and not (text or pa.types.is_null(kind)):
        raise InputError(f"{file}: column {name} is {_said(str(kind))}, not text; convert it first")


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


def _said(text: str) -> str:
    """The first line of what a library says, fit for a terminal: a damaged file's names can hold anything."""
    return shortened(one_line((text.splitlines() or [""])[0]), LONGEST_REASON).rstrip(".")
