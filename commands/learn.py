"""`rubrika learn` learns an index's encoders again, from all products that it has now."""

from pathlib import Path
from typing import Annotated

import typer

from rubrika.commands.options import CACHE, INDEX, AsJson, Cache, IndexFolder, answer, api_key
from rubrika.index.location import Location


def learn(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE...]", help="Where the products' texts are; by default the files ingested."),
    ] = None,
    index: IndexFolder = INDEX,
    cache: Cache = CACHE,
    as_json: AsJson = False,
) -> None:
    """Learn the encoder again from all products in the index, and switch over when that has succeeded."""
    from rubrika.ingest.maintain import relearn
    from rubrika.terminal import Terminal

    learned = relearn(Location(index, None, cache.expanduser(), api_key()), files or (), progress=Terminal())
    said = f"{index}: learned from {learned.products:,} products of {learned.categories:,} categories"
    answer(learned.to_dict(), as_json, said)
