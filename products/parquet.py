"""Reads parquet files that may be anybody's: bounded in rows and bytes, and with one sentence at any damage."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rubrika.errors import InputError
from rubrika.products.remote import is_remote, reached, size_of, source_of
from rubrika.products.text import first_line

# So much is decoded at once: a cell may be megabytes, and a dictionary stores it once for thousands of rows.
DECODED_ROWS, DECODED_BYTES = 16, 32_000_000
# And of a part of a file, before which others must be decoded and passed over.
PASSED_ROWS = 256
# A group of rows of which columns of dictionaries, which have every value once, are decoded as a whole.
CODED_ROWS = 4_000_000
# No file of products holds more rows a byte than this; one that promises more is damaged, or a bomb.
MAX_ROWS_A_BYTE = 100
# Nor are texts compressed a thousandfold, unless they are short in all.
MAX_BYTES_A_BYTE, SHORT_BYTES = 1_000, 64_000_000


Row = Mapping[str, object]

# Arrow's own; the others come from turning damaged names and values into Python's.
_FAULTS = (pa.ArrowException, OSError, KeyError, ValueError, OverflowError, MemoryError)


def parquet_rows(
    path: Path,
    columns_of: Callable[[pq.ParquetFile], Sequence[str]],
    max_rows: int = DECODED_ROWS,
    shown: Path | None = None,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[Row]:
    """Every row of a file as values by column name; an InputError at damage, after the rows before it.

    `shown` is what errors call the file. Of rows numbered from 0, those from `start` to before `stop`, by default all.
    """
    file, end = shown or path, sys.maxsize if stop is None else stop
    with open_parquet(path, shown=shown) as parquet:
        columns, promised = columns_of(parquet), parquet.metadata.num_rows
        (groups, number), step = _groups_with(parquet, start, end), min(DECODED_ROWS, max_rows)
        tables = decoded(parquet, columns, PASSED_ROWS if start else step, groups)
        while number < end:
            with explained(file, f"damaged after row {number}"):
                table = next(tables, None)
                if table is None:
                    break
                first, number = number, number + table.num_rows
            for place in range(max(start - first, 0), min(end, number) - first, step):
                with explained(file, f"damaged after row {first + place}"):
                    wanted = table.slice(place, min(step, end - first - place))
                    values = [values_of(wanted.column(name)) for name in columns]
                yield from rows_of(columns, values)
    if number < end and number != promised:
        raise InputError(f"{file}: damaged: {number:,} of its {promised:,} rows are left; export it again")


def rows_of(names: Sequence[str], columns: Sequence[Sequence[object]]) -> Iterator[Row]:
    """Rows from columns of equal length."""
    return (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))


def file_size(file: Path) -> int:
    """The bytes of a file; InputError when there is none that can be read."""
    if is_remote(file):
        return size_of(file)
    try:
        # Checked first, because opening a pipe would wait for ever.
        if not file.is_file():
            raise InputError(f"{file}: {'not a file' if file.exists() else 'no such file'}; check the path")
        return file.stat().st_size
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); check the path and its permissions") from None


def open_parquet(path: Path, as_dictionaries: Sequence[str] = (), shown: Path | None = None) -> pq.ParquetFile:
    """Open a parquet file, to be closed by the caller; InputError when it promises more than it can hold, too.

    A text that many rows of a column in `as_dictionaries` have is in memory once. `shown` is what errors call the file.
    """
    size, file = file_size(path), shown or path
    with explained(file, "not a readable parquet file"):
        parquet = pq.ParquetFile(
            **source_of(path), page_checksum_verification=True, read_dictionary=list(as_dictionaries)
        )
        rows, groups = parquet.metadata.num_rows, range(parquet.num_row_groups)
        # Asking the columns for their sizes would end the process where their statistics are damaged.
        unpacked = sum(parquet.metadata.row_group(group).total_byte_size for group in groups)
    if not 0 <= rows <= MAX_ROWS_A_BYTE * size:
        raise InputError(f"{file}: damaged: it promises {rows:,} rows in {size:,} bytes; export it again")
    if unpacked > most_unpacked(size):
        raise InputError(f"{file}: damaged: it promises {unpacked:,} bytes in {size:,}; export it again")
    return parquet


def most_unpacked(size: int) -> int:
    """How many bytes texts in a file of so many may unpack to."""
    return max(SHORT_BYTES, MAX_BYTES_A_BYTE * size)


@contextmanager
def explained(file: Path, what: str, advice: str = "export it again") -> Iterator[None]:
    """Turn whatever is wrong with a file into one sentence."""
    with reached(file):
        try:
            yield
        except _FAULTS as error:
            reason = first_line(str(error)) or type(error).__name__
            raise InputError(f"{file}: {what} ({reason}); {advice}") from None


def _groups_with(parquet: pq.ParquetFile, start: int, end: int) -> tuple[list[int], int]:
    """The row groups that have rows from `start` to before `end`, and the number of the first row of the first."""
    groups, first, number = list[int](), 0, 0
    for group in range(parquet.num_row_groups):
        rows = parquet.metadata.row_group(group).num_rows
        if number < end and number + rows > start:
            groups.append(group)
        elif not groups:
            first = number + rows
        number += rows
    return groups, first


def decoded(
    parquet: pq.ParquetFile, columns: Sequence[str], max_rows: int, groups: Sequence[int] | None = None
) -> Iterator[pa.RecordBatch]:
    """All rows, or those of some row groups, at most `max_rows` at a time, and no more than `DECODED_BYTES`."""
    coded = [name for name in columns if pa.types.is_dictionary(parquet.schema_arrow.field(name).type)]
    plain = [name for name in columns if name not in coded]
    for number in range(parquet.num_row_groups) if groups is None else groups:
        group = parquet.metadata.row_group(number)
        row_bytes = max(group.total_byte_size // max(group.num_rows, 1), 1)
        rows = max(1, min(max_rows, DECODED_BYTES // row_bytes))
        if not (coded and plain and group.num_rows <= CODED_ROWS):
            yield from parquet.iter_batches(rows, [number], columns, use_threads=False)
            continue
        # Decoding a column of dictionaries costs its whole dictionary each time, however few the rows.
        others = parquet.read_row_group(number, coded, use_threads=False).to_batches()
        for one, other in _aligned(parquet.iter_batches(rows, [number], plain, use_threads=False), iter(others)):
            arrays = {**dict(zip(plain, one.columns, strict=True)), **dict(zip(coded, other.columns, strict=True))}
            yield pa.RecordBatch.from_arrays([arrays[name] for name in columns], list(columns))


def _aligned(
    batches: Iterator[pa.RecordBatch], others: Iterator[pa.RecordBatch]
) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """The same rows of both, in batches cut where either ends; nothing is copied."""
    other = next(others, None)
    for batch in batches:
        while batch.num_rows and other is not None:
            rows = min(batch.num_rows, other.num_rows)
            if rows:
                yield batch.slice(0, rows), other.slice(0, rows)
            batch, other = batch.slice(rows), other.slice(rows)
            other = other if other.num_rows else next(others, None)


def values_of(column: pa.Array) -> list[Any]:
    """A cell that Python cannot hold, such as text that is not UTF-8 or a day in the year 200000, is None."""
    with suppress(ValueError, OverflowError, pa.ArrowException):
        return list(column.to_pylist())
    values: list[Any] = [None] * len(column)
    for row, cell in enumerate(column):
        with suppress(ValueError, OverflowError, pa.ArrowException):
            values[row] = cell.as_py()
    return values
