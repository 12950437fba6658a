"""`rubrika delete` and `rubrika relabel`: changes to an index that encode nothing."""

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


def delete(
    products: Annotated[
        list[str], typer.Argument(metavar="ID...|FILE", help="Ids of products, or a parquet file with product_id.")
    ],
    index: IndexFolder = INDEX,
    url: Url = None,
    collection: Collection = None,
    cache: Cache = CACHE,
    as_json: AsJson = False,
) -> None:
    """Delete products from the index."""
    from rubrika.ingest.maintain import delete as run

    result = run(Location(index, server_of(url, collection), cache.expanduser(), api_key()), _ids(products))
    unknown = f", {result.unknown:,} were not there" if result.unknown else ""
    answer(result.to_dict(), as_json, f"{index}: {result.deleted:,} products deleted{unknown}")


def relabel(
    source: Annotated[int, typer.Option("--from", metavar="ID", help="The category that products leave.")],
    target: Annotated[int, typer.Option("--to", metavar="ID", min=0, max=2**63 - 1, help="The category they get.")],
    path: Annotated[
        str | None, typer.Option(metavar="PATH", help="The full path of --to, when it is new or gets another name.")
    ] = None,
    index: IndexFolder = INDEX,
    url: Url = None,
    collection: Collection = None,
    cache: Cache = CACHE,
    as_json: AsJson = False,
) -> None:
    """Move all products of a category to another one, or rename a category (--from and --to the same)."""
    from rubrika.ingest.maintain import relabel as run

    result = run(Location(index, server_of(url, collection), cache.expanduser(), api_key()), source, target, path)
    moved = f"{result.relabelled:,} products moved from category {source} to {target}"
    answer(result.to_dict(), as_json, f"{index}: {moved}")


def _ids(products: list[str]) -> list[int]:
    from rubrika.products.reader import read_ids

    ids = [id for each in products for id in ([int(each)] if each.isdecimal() else read_ids(Path(each)))]
    if max(ids, default=0) >= 2**64:
        raise typer.BadParameter(f"{max(ids)} is not the id of a product: they are below 2^64")
    return list(dict.fromkeys(ids))
