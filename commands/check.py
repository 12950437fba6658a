"""`rubrika check` reads a whole index and says what is wrong with it."""

from collections.abc import Sequence
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
    from rubrika.errors import RubrikaError
    from rubrika.index.folder import changing, writing
    from rubrika.ingest.maintain import Checked
    from rubrika.ingest.maintain import repair as run
    from rubrika.ingest.write import source_files

    place = Location(index, server_of(url, collection), cache.expanduser(), api_key())
    repaired = 0
    try:
        found = _found(place, files or ())
        if repair and found.damaged:
            # How many products there should be is not what a damaged index says.
            with writing(index, "check --repair"), changing(place, recount=False) as opened:
                repaired = run(opened, source_files(opened, files or ()), pictures_of(images), found.damaged)
            found = _found(place, files or ())
    except RubrikaError as error:
        found = Checked()
        found.problems[str(error)] += 1
    _say(index, found, repaired, as_json)
    if found.problems:
        raise typer.Exit(1)


def _found(place: "Location", files: Sequence[Path]) -> "Checked":
    from rubrika.index.folder import Index
    from rubrika.ingest.maintain import check as read
    from rubrika.ingest.maintain import compare
    from rubrika.ingest.write import source_files

    with Index.open(place) as opened:
        found = read(opened)
        compare(opened, source_files(opened, files), found)
    return found


def _say(index: Path, found: "Checked", repaired: int, as_json: bool) -> None:
    problems = dict(sorted(found.problems.items()))
    lines = [f"{index}: {found.products:,} products read"] + ([f"{repaired:,} written anew"] if repaired else [])
    lines += [f"{count:,} × {what}" for what, count in problems.items()] or ["nothing is wrong"]
    examples = sorted(found.damaged)[:10]
    lines += [f"such as {', '.join(map(str, examples))}"] if examples else []
    answer(
        {"products": found.products, "problems": problems, "examples": examples, "repaired": repaired},
        as_json,
        "\n".join(lines),
    )
