"""Moves the points of an index to a server and back."""

import os
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rubrika.errors import StoreError
from rubrika.index.folder import writing
from rubrika.index.location import Location, edge_folder, source_of
from rubrika.index.manifest import Manifest
from rubrika.ingest.diff import INGESTED_AT
from rubrika.ingest.write import Counts
from rubrika.progress import Progress, Silent
from rubrika.store.base import Store
from rubrika.store.connection import SearchOptions, ServerOptions
from rubrika.store.open import StoreLocation, create_store, delete_store, open_store

BATCH = 512


@dataclass(frozen=True, slots=True)
class Moved(Counts):
    """What became of the points: copied now, or skipped since the target had them; together the total."""

    copied: int
    skipped: int
    total: int


def move_index(
    at: Location, progress: Progress | None = None, options: ServerOptions | None = None, alias: str | None = None
) -> Moved:
    """Move an index's points to a server or, when `at` names none, from its server into its folder.

    The manifest is changed last: until all points have arrived, the index goes on working from where it was. The old
    points stay where they are. An `alias` is switched to the collection at the end; the index then goes by it.
    """
    folder, server = at.folder, at.server
    with writing(folder, "push" if server else "pull"):
        manifest = Manifest.read(folder)
        source, target = source_of(manifest, at, os.environ), server or edge_folder(folder, manifest.generation)
        search = options.search if options else SearchOptions()
        stays = manifest.at(target, manifest.search, manifest.recall) == manifest
        if stays and search == SearchOptions():
            search = manifest.search
        if stays and search == manifest.search and alias is None:
            raise StoreError(f"{folder}: its points are in {manifest.collection if server else 'this folder'} already")
        if server and alias:
            from rubrika.store.server import check_alias, switch_alias

            check_alias(server, alias)
        with closing(open_store(source, manifest.sizes, search)) as store:
            if stays:
                # Points that stay only change their collection's name or how they are searched.
                count, recall = store.count(), manifest.recall
                moved = Moved(0, count, count)
                if search != manifest.search:
                    store.optimise()
                    recall = store.recall
            else:
                with closing(_target(target, manifest.sizes, options)) as other:
                    # Points that only the folder has are from before the index moved away.
                    moved = push(store, other, progress, mirror=isinstance(target, Path))
                    recall = other.recall
                    for remark in other.remarks:
                        (progress or Silent()).note(remark)
        if server and alias:
            switch_alias(server, alias)
            target = replace(server, collection=alias)
        manifest.at(target, search, recall).write(folder)
    return moved


def _target(target: StoreLocation, sizes: Mapping[str, int], options: ServerOptions | None) -> Store:
    return _resumed(target, sizes) if isinstance(target, Path) else create_store(target, sizes, options)


def _resumed(folder: Path, sizes: Mapping[str, int]) -> Store:
    """The store that an earlier move began in the folder; one without points is replaced."""
    with suppress(StoreError):
        store = open_store(folder, sizes)
        if store.count():
            return store
        # The move may have been killed before there were payload indexes.
        store.close()
    delete_store(folder)
    return create_store(folder, sizes)


def push(source: Store, target: Store, progress: Progress | None = None, mirror: bool = False) -> Moved:
    """Copy every point that the target has not as it was written; after a failure, run it again and it goes on.

    Nobody should change the source meanwhile. Points that only the target has are deleted to `mirror` the source; else
    they are a StoreError.
    """
    copied = skipped = 0
    with (progress or Silent()).stage("moving products", source.count()) as advance:
        pages = source.scroll(payload=True, vectors=True)
        # Few points at a time, so that progress shows and little is done twice.
        for batch in (page[start : start + BATCH] for page in pages for start in range(0, len(page), BATCH)):
            stored = {id: point.payload for id, point in target.fetch([point.id for point in batch]).items()}
            # Equal payloads with the time of their writing mean equal vectors.
            fresh = [each for each in batch if INGESTED_AT not in each.payload or stored.get(each.id) != each.payload]
            if fresh:
                target.upsert(fresh)
            copied += len(fresh)
            skipped += len(batch) - len(fresh)
            advance(len(batch))
    moved = Moved(copied, skipped, copied + skipped)
    if mirror:
        there, kept = ({point.id for page in each.scroll(payload=False) for point in page} for each in (target, source))
        if there - kept:
            target.delete(sorted(there - kept))
    count = target.count()
    if count < moved.total:
        raise StoreError(f"the target holds {count} products of {moved.total}; run it again to move the missing ones")
    if count > moved.total:
        others = f"{count - moved.total} products that the source has not"
        raise StoreError(f"the target holds {others}, so they would vote too; move into an empty collection")
    # An earlier run may have been stopped before this.
    target.optimise()
    target.flush()
    return moved
