"""Reads small tables, from parquet or CSV, whole: they are instructions, so one bad row refuses the file."""

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from rubrika.errors import InputError
from rubrika.products.reader import file_size, parquet_rows
from rubrika.products.row import Row
from rubrika.products.text import RowError, first_line

# What may stand between the columns of a CSV file.
DELIMITERS = ",;\t"
# Of so many characters of its first line their names are read.
MAX_HEADER = 100_000

Columns = Sequence[str]
Item = TypeVar("Item")


def read_table(file: Path, choices: Sequence[Columns], item_of: Callable[[Row], Item]) -> Iterator[tuple[int, Item]]:
    """What `item_of` makes of every row, with its number from 1; a RowError of it is an InputError that names the row.

    The file is CSV when its name ends so, else parquet; it has all columns of one of `choices`, of which the first that
    it has are read. Numbers in CSV are whole numbers where they can be.
    """
    rows = _csv_rows if file.suffix.lower() == ".csv" else _parquet_rows
    for number, row in enumerate(rows(file, choices), 1):
        try:
            yield number, item_of(row)
        except RowError as error:
            raise InputError(f"{file} row {number}: {error}; nothing was changed, correct it and try again") from None


def number_in(cell: object) -> object:
    """A cell of CSV as the number that it shows, any other as it is."""
    if not isinstance(cell, str):
        return cell
    text = cell.strip()
    if text.isascii() and text.isdecimal() and len(text) <= 20:
        return int(text)
    # As pandas writes whole numbers of a column with an empty cell.
    return math.nan if not text else float(text) if text.endswith(".0") and text[:-2].isdecimal() else text


def _parquet_rows(file: Path, choices: Sequence[Columns]) -> Iterator[Row]:
    return parquet_rows(file, lambda parquet: _chosen(file, choices, parquet.schema_arrow.names))


def _csv_rows(file: Path, choices: Sequence[Columns]) -> Iterator[Row]:
    file_size(file)
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            header = lines.readline(MAX_HEADER)
            named = {mark: next(csv.reader([header], delimiter=mark), []) for mark in DELIMITERS}
            mark = max(DELIMITERS, key=lambda mark: len(named[mark]))
            columns, names = _chosen(file, choices, named[mark]), named[mark]
            places = [names.index(name) for name in columns]
            for cells in csv.reader(lines, delimiter=mark, strict=True):
                if cells:
                    yield {name: cells[place] for name, place in zip(columns, places, strict=True)}
    except (OSError, ValueError, IndexError, csv.Error) as error:
        reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else first_line(str(error))
        raise InputError(f"{file}: not a readable CSV file ({reason}); save it as CSV in UTF-8") from None


def _chosen(file: Path, choices: Sequence[Columns], names: Columns) -> Columns:
    for columns in choices:
        if all(names.count(name) == 1 for name in columns):
            return columns
    wanted, there = ", or ".join(map(" and ".join, choices)), first_line(", ".join(names)) or "none"
    raise InputError(f"{file}: it needs the columns {wanted}, each once (it has {there})")
