"""Moves the points of an index to a server and back."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rubrika.errors import StoreError
from rubrika.index.location import Location, edge_folder, source_of
from rubrika.index.manifest import Manifest
from rubrika.progress import Progress, Silent
from rubrika.store.base import Point, Store
from rubrika.store.connection import SearchOptions, ServerOptions
from rubrika.store.open import StoreLocation, create_store, delete_store, open_store

# The time of the run that wrote a point: with it, equal payloads mean the same write, hence the same vectors.
WRITTEN = "ingested_at"
BATCH = 512


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of the points: copied now, or skipped since the target had them; together the total."""

    copied: int
    skipped: int
    total: int


def move_index(
    at: Location,
    progress: Progress | None = None,
    options: ServerOptions | None = None,
    alias: str | None = None,
) -> Moved:
    """Move an index's points to a server, or, when none is given, from its server into its folder.

    The manifest is changed last: until all points have arrived, the index goes on working from where it was. The old
    points are left where they are.

    Args:
        at: where the index is, and the server to which its points go; without one, into the folder.
        progress: shown how far it is.
        options: how a new collection is laid out, and how it is searched from now on.
        alias: of the server, switched to the collection once all points have arrived; the index then goes by it.

    Raises:
        StoreError: a store failed, the points are there already, or the alias is not one that may be switched.
    """
    folder, server = at.folder, at.server
    manifest = Manifest.read(folder)
    source, target = source_of(manifest, at, os.environ), server or edge_folder(folder, manifest.generation)
    search = options.search if options else SearchOptions()
    stays = manifest.at(target, manifest.search) == manifest
    if stays and search == SearchOptions():
        search = manifest.search
    if stays and search == manifest.search and alias is None:
        raise StoreError(f"{folder}: its points are in {manifest.collection if server else 'this folder'} already")
    if server and alias:
        from rubrika.store.server import check_alias, switch_alias

        check_alias(server, alias)
    opened = open_store(source, manifest.sizes)
    try:
        moved = _unmoved(opened) if stays else _copy(opened, target, manifest.sizes, options, progress)
    finally:
        opened.close()
    if server and alias:
        switch_alias(server, alias)
        target = replace(server, collection=alias)
    manifest.at(target, search).write(folder)
    return moved


def push(source: Store, target: Store, progress: Progress | None = None, mirror: bool = False) -> Moved:
    """Copy every point with its vectors and payload; run it again after a failure, and it goes on.

    Args:
        source: the points, which nobody should change meanwhile.
        target: where they go; a point that it has as it was written is left alone, any other is replaced.
        progress: shown how far it is.
        mirror: delete what the target has and the source has not.

    Raises:
        StoreError: a store failed, or in the end the target does not hold as many points as the source.
    """
    copied = skipped = 0
    with (progress or Silent()).stage("moving products", source.count()) as advance:
        for batch in _batches(source):
            known = target.fetch([point.id for point in batch], payload=True)
            fresh = [point for point in batch if not _same(point, known)]
            if fresh:
                target.upsert(fresh)
            copied += len(fresh)
            skipped += len(batch) - len(fresh)
            advance(len(batch))
    moved = Moved(copied, skipped, copied + skipped)
    if mirror:
        _forget_others(source, target)
    _verify(target.count(), moved.total)
    if moved.copied:
        target.optimise()
    target.flush()
    return moved


def _copy(
    source: Store,
    target: StoreLocation,
    sizes: Mapping[str, int],
    options: ServerOptions | None,
    progress: Progress | None,
) -> Moved:
    arrived = _begun(target, sizes) if isinstance(target, Path) else create_store(target, sizes, options)
    try:
        # What is still in the folder is from before the index moved away.
        return push(source, arrived, progress, mirror=isinstance(target, Path))
    finally:
        arrived.close()


def _begun(folder: Path, sizes: Mapping[str, int]) -> Store:
    """What an earlier move has brought into the folder; what it left there of no use is replaced by an empty store."""
    try:
        store = open_store(folder, sizes)
        if store.count():
            return store
        # It may have been killed before there were payload indexes.
        store.close()
    except StoreError:
        pass
    delete_store(folder)
    return create_store(folder, sizes)


def _forget_others(source: Store, target: Store) -> None:
    there, kept = ({point.id for page in store.scroll(payload=False) for point in page} for store in (target, source))
    if there - kept:
        target.delete(sorted(there - kept))


def _unmoved(store: Store) -> Moved:
    """Of points that stay where they are, while it changes how they are named or searched."""
    count = store.count()
    return Moved(copied=0, skipped=count, total=count)


def _batches(source: Store) -> Iterator[list[Point]]:
    """Points with all they have, few enough at a time that progress shows and little is done twice."""
    for page in source.scroll(payload=True, vectors=True):
        yield from (page[start : start + BATCH] for start in range(0, len(page), BATCH))


def _same(point: Point, known: Mapping[int, Point]) -> bool:
    return WRITTEN in point.payload and point.id in known and known[point.id].payload == point.payload


def _verify(found: int, expected: int) -> None:
    if found < expected:
        raise StoreError(f"the target holds {found} products of {expected}; run it again to move the missing ones")
    if found > expected:
        raise StoreError(
            f"the target holds {found - expected} products that the source has not, so they would vote too; "
            f"move into an empty collection"
        )
