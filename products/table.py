"""Reads small tables of any format whole: they are instructions, so one bad row refuses the file."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from rubrika.errors import InputError
from rubrika.products.columns import times
from rubrika.products.identity import identity
from rubrika.products.parquet import Row, parquet_rows
from rubrika.products.reader import Spool
from rubrika.products.row import BROKEN, LINE
from rubrika.products.text import RowError, first_line

Columns = Sequence[str]
Item = TypeVar("Item")


def read_table(file: Path, choices: Sequence[Columns], item_of: Callable[[Row], Item]) -> Iterator[tuple[int, Item]]:
    """What `item_of` makes of every row, with its number from 1; a RowError of it is an InputError that names the row.

    The file has all columns of one of `choices`, of which the first that it has are read. In CSV all cells are texts.
    """
    spool, advice = Spool(), "nothing was changed, correct it and try again"
    path = spool.parquet(file)
    for number, row in enumerate(
        parquet_rows(path, lambda parquet: _chosen(file, choices, parquet.schema_arrow.names), shown=file), 1
    ):
        if broken := row.get(BROKEN):
            raise InputError(f"{file} row {number}: {broken}; {advice}")
        line = f"line {row[LINE]}: " if LINE in row else ""
        try:
            yield number, item_of({name: cell for name, cell in row.items() if name not in (BROKEN, LINE)})
        except RowError as error:
            raise InputError(f"{file} row {number}: {line}{error}; {advice}") from None


def read_ids(file: Path) -> list[int]:
    """The numbers of the distinct product ids of a table, in their order; empty cells are passed over."""
    if not file.exists():
        raise InputError(f"{file}: no such file, and not a product's id either; check the path")

    def id_of(row: Row) -> int | None:
        return None if row["product_id"] is None else identity("product_id", row["product_id"])[0]

    return list(dict.fromkeys(id for _, id in read_table(file, [["product_id"]], id_of) if id is not None))


def _chosen(file: Path, choices: Sequence[Columns], names: Columns) -> Columns:
    own = [name for name in (BROKEN, LINE) if name in names]
    for columns in choices:
        if all(times(name, names) == 1 for name in columns):
            return [*columns, *own]
    wanted, there = (
        ", or ".join(map(" and ".join, choices)),
        first_line(", ".join(name for name in names if name not in own)) or "none",
    )
    raise InputError(f"{file}: it needs the columns {wanted}, each once (it has {there})")
