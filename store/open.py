"""Makes, opens and deletes the store of an index: in a folder, or on a server."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from rubrika.errors import StoreError
from rubrika.store.base import Store
from rubrika.store.connection import Connection, Recall, SearchOptions, ServerOptions

StoreLocation = Path | Connection  # where points are: a folder, or a collection on a server


def create_store(location: StoreLocation, sizes: Mapping[str, int], options: ServerOptions | None = None) -> Store:
    """Make an empty store with one named vector for each entry of `sizes`; `options` are for a server."""
    # An engine takes a moment to import, and a run needs one of them.
    if isinstance(location, Connection):
        from rubrika.store.server import ServerStore

        return ServerStore(location, sizes, create=options or ServerOptions())
    from rubrika.store.edge import EdgeStore

    return EdgeStore.create(location, sizes)


def open_store(
    location: StoreLocation,
    sizes: Mapping[str, int],
    search: SearchOptions | None = None,
    recall: Mapping[str, Recall] | None = None,
) -> Store:
    """Open an existing store whose named vectors should be as in `sizes`.

    Each is searched as `recall` says, when that was measured; else a server by `search`, a folder in its own way.
    """
    if isinstance(location, Connection):
        from rubrika.store.server import ServerStore

        return ServerStore(location, sizes, search, recall)
    from rubrika.store.edge import EdgeStore

    return EdgeStore.open(location, recall=recall)


def is_alias(server: Connection) -> bool:
    """Whether the collection of a connection is named by an alias."""
    from rubrika.store.server import ServerStore

    with closing(ServerStore(server)) as store:
        return server.collection in store.aliases()


def check_ready(server: Connection, is_temporary: bool = False) -> None:
    """Refuse, before anything is learned, a server that a new index cannot go to; see `look.check_ready`."""
    from rubrika.store import look

    look.check_ready(server, is_temporary)


def delete_store(location: StoreLocation) -> None:
    """Remove a store with all its points; one that does not exist is no error."""
    if isinstance(location, Connection):
        from rubrika.store.server import delete_collection

        delete_collection(location)
    else:
        shutil.rmtree(location, ignore_errors=True)


@contextmanager
def temporary_collection(server: Connection) -> Iterator[Connection]:
    """Name a new collection after the one of `server`; in the end it is deleted, or StoreError says that it is left."""
    temporary = replace(server, collection=f"{server.collection}-evaluate-{uuid4().hex}")
    try:
        yield temporary
    finally:
        try:
            delete_store(temporary)
        except StoreError as error:
            left = f"the temporary collection «{temporary.collection}» may be left there, to be deleted by hand"
            raise StoreError(f"{error}; {left}") from None
