"""`rubrika audit` finds labels that are probably wrong."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rubrika.commands.options import (
    CACHE,
    INDEX,
    AsJson,
    Cache,
    Collection,
    IndexFolder,
    Url,
    answer,
    api_key,
    server_of,
)
from rubrika.index.location import Location

if TYPE_CHECKING:
    import pyarrow as pa


def audit(
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the suspects go.")] = Path("audit.parquet"),
    duplicates: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where near duplicates with different categories go.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, max=10_000, help="How many rows of each table to show.")] = 20,
    index: IndexFolder = INDEX,
    url: Url = None,
    collection: Collection = None,
    cache: Cache = CACHE,
    as_json: AsJson = False,
) -> None:
    """Find labelled products that their neighbours contradict, the surest first."""
    import time
    from contextlib import ExitStack
    from dataclasses import asdict

    from rubrika.commands.contradictions import contradictions_text
    from rubrika.files import parquet
    from rubrika.index.folder import Index
    from rubrika.retrieve.audit import DUPLICATES, SUSPECTS, confusions, duplicate_tables, suspect_tables
    from rubrika.retrieve.audit import audit as run
    from rubrika.terminal import Terminal

    started = time.monotonic()
    with ExitStack() as stack:
        opened = stack.enter_context(
            Index.open(Location(index, server_of(url, collection), cache.expanduser(), api_key()))
        )
        # Opened before the work: a place where nothing can be written is known at once.
        suspects = stack.enter_context(parquet(output, SUSPECTS))
        pairs = stack.enter_context(parquet(duplicates, DUPLICATES)) if duplicates else None
        found = run(opened, Terminal())
        for table in suspect_tables(opened.store, found.suspects, found.paths):
            suspects.write_table(table)
        if pairs:
            for table in duplicate_tables(opened.store, found.duplicates, found.paths):
                pairs.write_table(table)
        first = slice(limit)
        shown = suspect_tables(opened.store, found.suspects.take(first), found.paths)
        alike = duplicate_tables(opened.store, found.duplicates.take(first), found.paths)
        confused = confusions(found.suspects, found.paths, limit)
        tables = contradictions_text(_rows(shown), confused, _rows(alike))
    seconds = round(time.monotonic() - started, 3)
    counts = {"products": found.products, "suspects": len(found.suspects), "duplicates": len(found.duplicates)}
    written = {"output": str(output), "duplicates_output": str(duplicates) if duplicates else None}
    answer(
        counts | {"confused": [asdict(pair) for pair in confused], "seconds": seconds} | written,
        as_json,
        (f"{tables}\n\n" if tables else "")
        + f"{output}: {counts['suspects']:,} of {counts['products']:,} labels are contradicted, "
        f"{counts['duplicates']:,} pairs of near duplicates have different categories; {seconds:.1f} s",
    )


def _rows(tables: "Iterable[pa.Table]") -> list[dict[str, Any]]:
    return [row for table in tables for row in table.to_pylist()]
