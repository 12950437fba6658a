"""`rubrika explain` shows what a prediction rests on."""

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
    TopK,
    Url,
    answer,
    api_key,
    server_of,
)
from rubrika.index.location import Location


def explain(
    product_id: Annotated[
        int | None, typer.Argument(metavar="[PRODUCT_ID]", min=0, max=2**64 - 1, help="A stored product.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="A product's title, when it is not stored.")] = None,
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="Its picture, beside its title or alone.")] = None,
    index: IndexFolder = INDEX,
    url: Url = None,
    collection: Collection = None,
    cache: Cache = CACHE,
    top_k: TopK = None,
    as_json: AsJson = False,
) -> None:
    """Explain a prediction: the vote, the neighbours behind it, and the words that mattered most."""
    from rubrika.commands.explanation import explanation_text
    from rubrika.index.folder import Index
    from rubrika.retrieve.explain import explain as run
    from rubrika.retrieve.search import Query

    if (product_id is None) == (title is None and image is None):
        raise typer.BadParameter("give a PRODUCT_ID, or --title and --image, one of them or both")
    with Index.open(Location(index, server_of(url, collection), cache.expanduser(), api_key())) as opened:
        stored = product_id is not None
        query = (
            Query.of_product(opened, int(product_id or 0)) if stored else Query.of_content(opened, title or "", image)
        )
        found = run(opened, query, top_k)
    answer(found.to_dict(), as_json, explanation_text(found))
