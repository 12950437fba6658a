"""Opens an index to change it; while a change lasts, or when it was cut short, the manifest says so."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rubrika.errors import IndexFolderError
from rubrika.index.disk import check_room
from rubrika.index.index import Index
from rubrika.index.manifest import Manifest
from rubrika.store.connection import Connection


@contextmanager
def changing(
    folder: Path,
    cache: Path,
    server: Connection | None = None,
    api_key: str | None = None,
    sources: Sequence[Path] = (),
    recount: bool = True,
) -> Iterator[Index]:
    """Open an index for a change; hold it with `lock.writing` meanwhile.

    Args:
        folder: the index folder.
        cache: as for `Index.open`, and so are `server` and `api_key`.
        server: where its points are, when not where the manifest says.
        api_key: of the server that the manifest names.
        sources: files that products come from now.
        recount: whether the number of products afterwards is the one there should be; else it stays as it was noted.

    Raises:
        IndexFolderError: there is no such index, its points are elsewhere, or there is too little room on its disk.
    """
    manifest = Manifest.read(folder)
    place = manifest.asked(folder, api_key, server)
    if server and not manifest.is_in(place):
        raise IndexFolderError(
            f"{folder}: its points are not in {server.collection} on {server.server}; "
            f"leave --url and QDRANT_URL out, or move it there with `rubrika push`"
        )
    check_room(folder, place if isinstance(place, Connection) else None)
    with Index.open(folder, cache, server, api_key) as index:
        manifest, contents = index.manifest, index.manifest.contents.with_sources(sources)
        contents, noted = replace(contents, fingerprint=None), contents.products
        replace(manifest, contents=replace(contents, products=None)).write(folder)
        yield index
        index.store.flush()
        replace(manifest, contents=replace(contents, products=index.store.count() if recount else noted)).write(folder)


def remember(folder: Path, fingerprint: str) -> None:
    """Keep what the change that has just ended well was made from."""
    manifest = Manifest.read(folder)
    replace(manifest, contents=replace(manifest.contents, fingerprint=fingerprint)).write(folder)
