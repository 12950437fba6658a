"""How an audit looks to a person: the surest suspects, the categories confused most, and near duplicates at odds."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from rubrika.products.product import display_path
from rubrika.retrieve.audit import Confusion

Row = Mapping[str, Any]


def contradictions_text(suspects: Sequence[Row], pairs: Sequence[Confusion], duplicates: Sequence[Row]) -> str:
    """All of it as text: coloured in a terminal only, and as wide as one; what is empty is left out.

    Args:
        suspects: rows with the columns of `findings.SUSPECTS`.
        pairs: of categories.
        duplicates: rows with the columns of `findings.DUPLICATES`.
    """
    tables = [table for rows, table in _tables(suspects, pairs, duplicates) if rows]
    parts: list[RenderableType] = [part for table in tables for part in (table, "")]
    console = Console(highlight=False)
    with console.capture() as captured:
        console.print(Group(*parts))
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())


def _tables(
    suspects: Sequence[Row], pairs: Sequence[Confusion], duplicates: Sequence[Row]
) -> list[tuple[Sequence[object], Table]]:
    return [
        (suspects, _suspects(suspects)),
        (pairs, _pairs(pairs)),
        (duplicates, _duplicates(duplicates)),
    ]


def _suspects(rows: Sequence[Row]) -> Table:
    table = _table("labels that their neighbours contradict", ["confidence"], ["title", "labelled", "neighbours say"])
    table.add_column("id", justify="right", no_wrap=True)
    for row in rows:
        names = (row["title"] or "", _shown(row["category_name"]), _shown(row["suggested_category_name"]))
        table.add_row(f"{row['confidence']:.2f}", *map(Text, names), str(row["product_id"]))
    return table


def _pairs(pairs: Sequence[Confusion]) -> Table:
    table = _table("pairs of categories confused most", ["suspects", "→", "←"], ["labelled", "neighbours say"])
    for pair in pairs:
        counts = (f"{pair.there + pair.back:,}", f"{pair.there:,}", f"{pair.back:,}")
        table.add_row(*counts, Text(_shown(pair.category_name)), Text(_shown(pair.other_category_name)))
    return table


def _duplicates(rows: Sequence[Row]) -> Table:
    table = _table("near duplicates with different categories", ["similarity"], ["title", "labelled"])
    table.add_column("id", justify="right", no_wrap=True)
    for row in rows:
        for half, similarity in (("", f"{row['similarity']:.3f}"), ("other_", "")):
            names = (row[f"{half}title"] or "", _shown(row[f"{half}category_name"]))
            table.add_row(similarity, *map(Text, names), str(row[f"{half}product_id"]))
        table.add_section()
    return table


def _table(title: str, figures: Sequence[str], texts: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    for name in texts:
        table.add_column(name, ratio=1)
    return table


def _shown(path: str) -> str:
    return display_path(path)
