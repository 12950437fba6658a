"""Where an index is, and where its points are: in its folder, or on a server that may be told the key."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from rubrika.errors import StoreError
from rubrika.index.manifest import SERVER, Manifest, edge_folder
from rubrika.store.connection import Connection
from rubrika.store.open import Place

CACHE = Path("~/.cache/rubrika")


@dataclass(frozen=True)
class Location:
    """Where an index is, and how it is reached.

    Args:
        folder: the index folder.
        server: where its points are, when not where its manifest says.
        cache: a folder for vectors of pretrained encoders.
        api_key: of the server that the manifest names.
    """

    folder: Path
    server: Connection | None = None
    cache: Path = field(default_factory=CACHE.expanduser)
    api_key: str | None = field(default=None, repr=False)


def place_of(manifest: Manifest, at: Location, environment: Mapping[str, str]) -> Place:
    """Where to look for the points of an index: on the server asked for, where one is, else where the manifest says.

    Raises:
        StoreError: the key would go to a server that only the manifest names, or its url is none.
    """
    if at.server is None:
        return source_of(manifest, at, environment)
    if manifest.store == SERVER and at.server.assumed and at.server.is_on(str(manifest.url)):
        return replace(at.server, collection=manifest.collection)
    return at.server


def source_of(manifest: Manifest, at: Location, environment: Mapping[str, str]) -> Place:
    """Where the manifest says that the points are, whatever server is asked for.

    The folder may be a stranger's, and so may the server that it names: the key goes to this machine, or to a server
    that the user names too, in `at` or as QDRANT_URL in the environment.

    Raises:
        StoreError: the key would go to a server that only the manifest names, or its url is none.
    """
    if manifest.store != SERVER:
        return edge_folder(at.folder, manifest.generation)
    own = Connection(str(manifest.url), manifest.collection, at.api_key)
    named = (at.server.url if at.server else None, environment.get("QDRANT_URL"))
    if at.api_key and not own.is_loopback and not any(own.is_on(url) for url in named if url):
        raise StoreError(
            f"{at.folder}: its points are on {own.url}, which only the index itself names, so your API key is not "
            f"sent there; if it is your server, set QDRANT_URL={own.url} (or give it as --url)"
        )
    return own
