"""Reads products from parquet in batches: memory is bounded by a batch, and a bad row costs only itself."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rubrika.errors import InputError
from rubrika.products.fields import FieldsError, parse_fields
from rubrika.products.product import SEPARATOR, Batch, Category, Product, Reject
from rubrika.products.text import product_text, product_title

BATCH_ROWS = 2_048
MAX_ID = 2**64 - 1
MAX_CATEGORY = 2**63 - 1

_REQUIRED = ("product_id", "text_fields")
_LABEL = ("category_id", "category_name")
_OPTIONAL = ("shop_id", "shop_title", "rating", "sale")
_WHOLE_NUMBERS = ("product_id", "category_id")


class RowError(ValueError):
    """Why one row cannot be used."""


@dataclass(frozen=True)
class Reader:
    """Products of one or several parquet files, read as often as needed.

    Args:
        files: parquet files in the KazanExpress format.
        labelled: whether every row must carry category_id and category_name.
        group_by: a column whose value marks rows that belong together, kept as `Product.group`.
        batch_rows: how many rows are in memory at once.
    """

    files: Sequence[Path]
    labelled: bool
    group_by: str | None = None
    batch_rows: int = BATCH_ROWS

    def __len__(self) -> int:
        """How many rows the files hold, good and bad, without reading them."""
        return sum(self._open(file).metadata.num_rows for file in self.files)

    def check(self) -> None:
        """Open every file and look at its columns, so that a wrong file is known before any work is done."""
        for file in self.files:
            self._columns(file, self._open(file).schema_arrow)

    def id_type(self) -> pa.DataType:
        """The integer type of product_id in the first file; int64 where it was written as something else."""
        kind = self._open(self.files[0]).schema_arrow.field("product_id").type
        return kind if pa.types.is_integer(kind) else pa.int64()

    def __iter__(self) -> Iterator[Batch]:
        """Yield the rows in file order, `batch_rows` at a time.

        Raises:
            InputError: a file is missing, not parquet, damaged, or lacks a column.
        """
        for file in self.files:
            row = 1
            with self._open(file) as parquet:
                columns = self._columns(file, parquet.schema_arrow)
                try:
                    for table in parquet.iter_batches(self.batch_rows, columns=columns, use_threads=False):
                        yield self._batch(file, row, table)
                        row += table.num_rows
                except (pa.ArrowException, OSError) as error:
                    raise InputError(
                        f"{file}: damaged after row {row - 1} ({_first_line(error)}); export it again"
                    ) from None

    def _open(self, file: Path) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(file)
        except FileNotFoundError:
            raise InputError(f"{file}: no such file; check the path") from None
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file}: not a readable parquet file ({_first_line(error)}); export it again") from None

    def _columns(self, file: Path, schema: pa.Schema) -> list[str]:
        wanted = (*_REQUIRED, *(_LABEL if self.labelled else ()), *([self.group_by] if self.group_by else ()))
        missing = [name for name in wanted if name not in schema.names]
        if missing:
            raise InputError(
                f"{file}: no column {', '.join(missing)} (it has {', '.join(schema.names) or 'none'}); "
                f"rename or add {'it' if len(missing) == 1 else 'them'}"
            )
        for name in wanted:
            _check_type(file, name, schema.field(name).type)
        return [*dict.fromkeys(wanted), *(name for name in _OPTIONAL if name in schema.names and name not in wanted)]

    def _batch(self, file: Path, first_row: int, table: pa.RecordBatch) -> Batch:
        products, rejects = [], []
        cells = {name: _values(table.column(name)) for name in table.schema.names}
        for offset in range(table.num_rows):
            row = {name: column[offset] for name, column in cells.items()}
            try:
                products.append(self._product(row, first_row + offset))
            except (RowError, FieldsError) as error:
                rejects.append(Reject(file, first_row + offset, _shown(row["product_id"]), str(error)))
        return Batch(file, products, rejects)

    def _product(self, row: dict[str, Any], number: int) -> Product:
        product_id = _whole("product_id", row["product_id"])
        try:
            fields = parse_fields(row["text_fields"])
        except FieldsError as error:
            raise RowError(f"text_fields {error}") from None
        title = product_title(fields)
        if not title:
            raise RowError("text_fields has no title")
        category = None
        if self.labelled:
            name = row["category_name"]
            if not isinstance(name, str) or not name.strip(f" {SEPARATOR}"):
                raise RowError("category_name is empty")
            category = Category(_whole("category_id", row["category_id"], MAX_CATEGORY), name.strip())
        return Product(
            id=product_id,
            title=title,
            text=product_text(fields),
            row=number,
            category=category,
            shop_id=_optional_whole(row.get("shop_id")),
            shop_title=str(row.get("shop_title") or ""),
            rating=_optional_number(row.get("rating")),
            sale=None if row.get("sale") is None else bool(row["sale"]),
            group=str(row[self.group_by]) if self.group_by else "",
        )


def _check_type(file: Path, name: str, kind: pa.DataType) -> None:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_null(kind):
        return
    if name in _WHOLE_NUMBERS and not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise InputError(f"{file}: column {name} is {kind}, not a whole number; convert it first")
    if name in ("text_fields", "category_name") and not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise InputError(f"{file}: column {name} is {kind}, not text; convert it first")


def _values(column: pa.Array) -> list[Any]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return [_value(cell) for cell in column]


def _value(cell: pa.Scalar) -> Any:  # noqa: ANN401 - a cell can hold anything
    try:
        return cell.as_py()
    except UnicodeDecodeError:
        return None


def _whole(name: str, value: object, largest: int = MAX_ID) -> int:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise RowError(f"{name} is empty")
    if not isinstance(value, int | float) or (isinstance(value, float) and not value.is_integer()):
        raise RowError(f"{name} {value} is not a whole number")
    number = int(value)
    if not 0 <= number <= largest:
        raise RowError(f"{name} {number} is outside 0 … {largest}")
    return number


def _shown(value: object) -> str:
    """An id as its owner wrote it: a column with an empty place holds even whole numbers as 2.0."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _optional_whole(value: object) -> int | None:
    number = _optional_number(value)
    return None if number is None else int(number)


def _optional_number(value: object) -> float | None:
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
