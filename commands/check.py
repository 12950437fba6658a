"""`rubrika check` reads a whole index and says what is wrong with it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rubrika.commands.options import (
    CACHE,
    INDEX,
    AsJson,
    Cache,
    Collection,
    Images,
    IndexFolder,
    Url,
    answer,
    api_key,
    pictures_of,
    server_of,
)
from rubrika.index.location import Location

if TYPE_CHECKING:
    from rubrika.ingest.maintain import Checked


def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE...]", help="Files to compare with; by default those that were ingested."),
    ] = None,
    index: IndexFolder = INDEX,
    url: Url = None,
    collection: Collection = None,
    images: Images = None,
    cache: Cache = CACHE,
    repair: Annotated[bool, typer.Option("--repair", help="Write what is damaged anew from those files.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read the whole index and say what is wrong; exit 1 when something is."""
    from rubrika.ingest.maintain import check as run

    at = Location(index, server_of(url, collection), cache.expanduser(), api_key())
    result = run(at, files or (), pictures_of(images) if repair else None, repair)
    _say(index, result, as_json)
    if result.problems:
        raise typer.Exit(1)


def _say(index: Path, result: "Checked", as_json: bool) -> None:
    repaired = [f"{result.repaired:,} written anew"] if result.repaired else []
    lines = [f"{index}: {result.products:,} products read", *repaired]
    lines += [f"{count:,} × {what}" for what, count in sorted(result.problems.items())] or ["nothing is wrong"]
    lines += [f"such as {', '.join(map(str, result.examples))}"] if result.examples else []
    answer(result.to_dict(), as_json, "\n".join(lines))
