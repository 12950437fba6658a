"""`rubrika info` says what is in an index."""

from typing import Any

from rubrika import __version__
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


def info(
    index: IndexFolder = INDEX,
    url: Url = None,
    collection: Collection = None,
    cache: Cache = CACHE,
    as_json: AsJson = False,
) -> None:
    """Say what is in the index: products, categories, vectors and how they vote."""
    from dataclasses import asdict

    from rubrika.commands.tables import info_table
    from rubrika.index.folder import Index, staleness

    with Index.open(Location(index, server_of(url, collection), cache.expanduser(), api_key())) as opened:
        grown = staleness(opened)
        found: dict[str, Any] = opened.manifest.to_dict() | {
            "products": opened.store.count(),
            "categories": len(opened.store.facet("category_id")),
            "since_learning": asdict(grown) if grown else None,
            "rubrika": __version__,
        }
    answer(found, as_json, info_table(index, found))
