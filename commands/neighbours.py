"""`rubrika neighbours` shows what is most like a product."""

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


def neighbours(
    product_id: Annotated[
        int | None, typer.Argument(metavar="[PRODUCT_ID]", min=0, max=2**64 - 1, help="A stored product.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="A product's title, when it is not stored.")] = None,
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="A picture, to find what looks like it.")] = None,
    vector: Annotated[
        str | None, typer.Option(metavar="NAME", help="The named vector: text, image, joint; text or image by default.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many to show.")] = 10,
    show: Annotated[bool, typer.Option("--open", help="Print where the server's web UI shows this product.")] = False,
    index: IndexFolder = INDEX,
    url: Url = None,
    collection: Collection = None,
    cache: Cache = CACHE,
    as_json: AsJson = False,
) -> None:
    """Show the labelled products most like one, given by its id, a title, or a picture."""
    from dataclasses import asdict

    from rubrika.commands.tables import neighbours_table
    from rubrika.index.folder import Index
    from rubrika.retrieve.search import neighbours as run

    asked = [each for each in (product_id, title, image) if each is not None]
    if len(asked) != 1:
        raise typer.BadParameter("give one of PRODUCT_ID, --title and --image")
    with Index.open(Location(index, server_of(url, collection), cache.expanduser(), api_key())) as opened:
        found = run(opened, asked[0], vector, k)
        page = opened.dashboard(product_id) if show else None
    text = neighbours_table(found) + (f"\n{page}" if page else "")
    answer({"neighbours": [asdict(each) for each in found]} | ({"open": page} if show else {}), as_json, text)
