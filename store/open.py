"""Opens the store that an index names: embedded, or on a server."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from rubrika.errors import StoreError
from rubrika.store.base import Store
from rubrika.store.connection import Connection, SearchOptions, ServerOptions

Place = Path | Connection


def create_store(place: Place, sizes: Mapping[str, int], options: ServerOptions | None = None) -> Store:
    """Make an empty store with one named vector for each entry of `sizes`; `options` are for one on a server."""
    # The engines are imported where used: each takes a moment to load, and a run needs one of them.
    if isinstance(place, Connection):
        from rubrika.store.server import ServerStore

        return ServerStore.create(place, sizes, options)
    from rubrika.store.edge import EdgeStore

    return EdgeStore.create(place, sizes)


def open_store(place: Place, sizes: Mapping[str, int], search: SearchOptions | None = None) -> Store:
    """Open an existing store whose named vectors should be as in `sizes`; `search` is for one on a server."""
    if isinstance(place, Connection):
        from rubrika.store.server import ServerStore

        return ServerStore.open(place, sizes, search)
    from rubrika.store.edge import EdgeStore

    return EdgeStore.open(place)


def is_alias(server: Connection) -> bool:
    """Whether a collection goes by an alias."""
    from rubrika.store.collection import Collection

    collection = Collection.open(server)
    try:
        return server.collection in collection.aliases()
    finally:
        collection.close()


def delete_store(place: Place) -> None:
    """Remove a store with all its points; one that does not exist is no error."""
    if isinstance(place, Connection):
        from rubrika.store.collection import delete_collection

        delete_collection(place)
    else:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def temporary_collection(server: Connection) -> Iterator[Connection]:
    """Name a collection that nobody has, after the one of `server`; in the end it is deleted, also after a failure.

    Raises:
        StoreError: it could not be deleted.
    """
    place = replace(server, collection=f"{server.collection}-evaluate-{uuid4().hex}")
    try:
        yield place
    finally:
        try:
            delete_store(place)
        except StoreError as error:
            left = f"the temporary collection «{place.collection}» may be left there, to be deleted by hand"
            raise StoreError(f"{error}; {left}") from None
