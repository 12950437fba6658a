"""Where points live: a folder (Qdrant Edge in this process) or a collection on a server; and how each is reached."""

from collections.abc import Mapping
from pathlib import Path

from rubrika.store.connection import Connection, ServerOptions
from rubrika.store.store import Store

Place = Path | Connection


def create_store(place: Place, sizes: Mapping[str, int], options: ServerOptions | None = None) -> Store:
    """Make an empty store with one named vector for each entry of `sizes`; `options` are for one on a server."""
    # The engines are imported where used: each takes a moment to load, and a run needs one of them.
    if isinstance(place, Connection):
        from rubrika.store.server import ServerStore

        return ServerStore.create(place, sizes, options)
    from rubrika.store.edge import EdgeStore

    return EdgeStore.create(place, sizes)


def open_store(place: Place, sizes: Mapping[str, int]) -> Store:
    """Open an existing store whose named vectors should be as in `sizes`."""
    if isinstance(place, Connection):
        from rubrika.store.server import ServerStore

        return ServerStore.open(place, sizes)
    from rubrika.store.edge import EdgeStore

    return EdgeStore.open(place)
