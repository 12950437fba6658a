"""Makes, opens and deletes the store of an index: in a folder, or on a server."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
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
    sizes: Mapping[str, int] | None = None,
    search: SearchOptions | None = None,
    recall: Mapping[str, Recall] | None = None,
    shared: bool = False,
) -> Store:
    """Open an existing store whose named vectors should be as in `sizes`, if that is given.

    Each is searched as `recall` says, when that was measured; else a server by `search`, a folder in its own way. A
    folder is opened by this process alone, for a change, or `shared`, by any number that only read.
    """
    if isinstance(location, Connection):
        from rubrika.store.server import ServerStore

        return ServerStore(location, sizes, search, recall)
    from rubrika.store.edge import EdgeStore

    return EdgeStore.open(location, recall=recall, shared=shared)


def stands_for(server: Connection) -> str | None:
    """The collection that a name on a server stands for: another one where it is an alias; None: there is none."""
    from rubrika.store.faults import NoCollectionError, RefusedError
    from rubrika.store.server import ServerStore

    with suppress(NoCollectionError), closing(ServerStore(server)) as store:
        # A key for one collection alone may not ask, and what it names is that one.
        with suppress(RefusedError):
            return store.aliases().get(server.collection, server.collection)
        return server.collection
    return None


def may_make(server: Connection) -> bool:
    """Whether the key may make collections and aliases on a server."""
    from rubrika.store import look

    return look.may_make(server)


def check_name(server: Connection, name: str) -> None:
    """Refuse, before hours of work, a name that is no alias of ours and cannot become one."""
    from rubrika.store.server import check_alias

    check_alias(server, name)


def switch_name(server: Connection, name: str) -> None:
    """Let a name of ours, an alias or none yet, stand for a collection from one request to the next."""
    from rubrika.store.server import switch_alias

    switch_alias(server, name)


def aliases_of(server: Connection) -> set[str]:
    """The aliases that a collection has."""
    from rubrika.store.server import ServerStore

    with closing(ServerStore(server)) as store:
        return {name for name, collection in store.aliases().items() if collection == server.collection}


def note_on(server: Connection, key: str, text: str) -> None:
    """Keep a text in the metadata of a collection."""
    from rubrika.store.server import ServerStore

    with closing(ServerStore(server)) as store:
        store.note(key, text)


def noted_on(server: Connection, key: str) -> str | None:
    """A text that was kept there; None: none was."""
    from rubrika.store.server import ServerStore

    with closing(ServerStore(server)) as store:
        return store.noted(key)


def layout_of(store: Store) -> ServerOptions | None:
    """How the collection of a store is laid out; None in a folder."""
    from rubrika.store.server import ServerStore

    return store.layout() if isinstance(store, ServerStore) else None


def arrange(store: Store, options: ServerOptions) -> str:
    """Have the next `optimise` make the graph asked for; what a collection that is there keeps as it is, in words."""
    from rubrika.store.server import ServerStore

    if not isinstance(store, ServerStore):
        return ""
    store.arrange(options)
    return kept_by(store)


def kept_by(store: Store) -> str:
    """What a collection that was there keeps, though something else was asked for; empty when nothing."""
    kept = ", ".join(getattr(store, "kept", ()))
    return f"the collection is laid out already and stays so ({kept}); push to another `collection`" if kept else ""


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
        from rubrika.store.shared import remove

        remove(location)


@contextmanager
def temporary_collection(server: Connection) -> Iterator[Connection]:
    """Name a new collection after the one of `server`; in the end it is deleted, or StoreError says that it is left."""
    temporary = replace(server, collection=f"{server.collection}-evaluate-{uuid4().hex}", fixed=True)
    try:
        yield temporary
    finally:
        try:
            delete_store(temporary)
        except StoreError as error:
            left = f"the temporary collection «{temporary.collection}» may be left there, to be deleted by hand"
            raise StoreError(f"{error}; {left}") from None
