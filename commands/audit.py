"""`rubrika audit` finds labels that are probably wrong."""

from pathlib import Path
from typing import Annotated

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
    from rubrika.commands.contradictions import contradictions_text
    from rubrika.index.folder import Index
    from rubrika.retrieve.audit import write_audit
    from rubrika.terminal import Terminal

    with Index.open(Location(index, server_of(url, collection), cache.expanduser(), api_key())) as opened:
        found = write_audit(opened, output, duplicates, limit, Terminal())
    tables = contradictions_text(found.first_suspects, found.confused, found.first_duplicates)
    answer(
        found.to_dict(),
        as_json,
        (f"{tables}\n\n" if tables else "")
        + f"{output}: {found.suspects:,} of {found.products:,} labels are contradicted, "
        f"{found.duplicates:,} pairs of near duplicates have different categories; {found.seconds:.1f} s",
    )
