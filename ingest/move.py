"""Moves the points of an index to a server and back."""

import os
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rubrika.errors import IndexFolderError, RubrikaError, StoreError
from rubrika.index.folder import writing
from rubrika.index.location import Location, edge_folder, source_of
from rubrika.index.manifest import EDGE, SERVER, Manifest
from rubrika.index.published import bring_back, publish, server_of, write_manifest
from rubrika.index.versions import collection_for, forget_collection, note_collection
from rubrika.ingest.diff import INGESTED_AT
from rubrika.ingest.write import Counts
from rubrika.progress import Progress, Silent
from rubrika.store.base import Point, Store
from rubrika.store.connection import Connection, SearchOptions, ServerOptions
from rubrika.store.open import (
    StoreLocation,
    arrange,
    check_name,
    create_store,
    delete_store,
    kept_by,
    open_store,
    stands_for,
    switch_name,
)
from rubrika.store.streams import in_order

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
    points stay where they are. The name that the user gave a collection, or else the `alias`, is switched to it at the
    end; the index then goes by it.
    """
    folder, server, options, progress = at.folder, at.server, options or ServerOptions(), progress or Silent()
    with writing(folder, "push" if server else "pull"):
        manifest = Manifest.read(folder)
        source = source_of(manifest, at, os.environ)
        stays = manifest.is_in(server) if server else manifest.store == EDGE
        search = options.search_over(manifest.search if server and manifest.store == SERVER else SearchOptions())
        graph = (options.hnsw_m, options.ef_construct, options.graph_from) != (None, None, None)
        again = search != manifest.search or graph
        if stays and not again and alias is None:
            raise StoreError(f"{folder}: its points are in {manifest.collection if server else 'this folder'} already")
        target, name = (
            _destination(at, manifest, source, alias) if server else (edge_folder(folder, manifest.generation), None)
        )
        with closing(open_store(source, manifest.sizes, search, shared=not stays)) as store:
            if stays:
                # Points that stay only change their collection's name or how they are searched.
                count, recall, kept = store.count(), manifest.recall, ""
                moved = Moved(0, count, count)
                if again:
                    kept = arrange(store, options)
                    store.optimise()
                    recall = store.recall
            else:
                with closing(_target(target, manifest.sizes, options)) as other:
                    kept = kept_by(other)
                    # Points that only the folder has are from before the index moved away.
                    moved = push(store, other, progress, mirror=isinstance(target, Path))
                    recall = other.recall
                    for remark in other.remarks:
                        progress.note(remark)
        if kept:
            progress.note(f"{folder}: {kept}")
        if isinstance(target, Connection) and name and (alias or stands_for(replace(target, collection=name)) is None):
            switch_name(target, name)
        moved_to = manifest.at(target, search, recall, name)
        write_manifest(at, replace(moved_to, previous=manifest.previous if stays else None))
        if not server:
            forget_collection(folder, manifest)
    return moved


@dataclass(frozen=True, slots=True)
class Published(Counts):
    """How many bytes of an index its server had not yet."""

    bytes: int


def publish_index(at: Location) -> Published:
    """Store index.json, the names and the encoders of an index on its server, now and after every change."""
    with writing(at.folder, "publish"):
        before = Manifest.read(at.folder)
        server_of(at, before)
        try:
            manifest = replace(before, published=True)
            manifest.write(at.folder)
            return Published(publish(at, manifest))
        except RubrikaError:
            # Else every later change would try the same, and fail.
            before.write(at.folder)
            raise


@dataclass(frozen=True, slots=True)
class RolledBack(Counts):
    """The collection that an index uses from now on, and the one that it used."""

    collection: str
    before: str
    products: int


def rollback(at: Location) -> RolledBack:
    """Go back to the encoder before, and its points, in one switch of the name; once more, and it is as it was."""
    with writing(at.folder, "rollback"):
        manifest = Manifest.read(at.folder)
        source = source_of(manifest, at, os.environ)
        if manifest.previous is None or not isinstance(source, Connection):
            keeps = "of a published index, `rubrika learn` keeps the encoder before"
            raise IndexFolderError(f"{at.folder}: there is no earlier encoder to go back to; {keeps}")
        before = stands_for(source) or source.collection
        earlier = replace(source, collection=manifest.previous, fixed=True)
        back = bring_back(earlier, at.folder, at.cache)
        back = back.at(earlier, back.search, back.recall, manifest.collection)
        # Should this be cut short, the next change gives the name to the collection that index.json says.
        note_collection(at.folder, manifest, before)
        write_manifest(at, replace(back, previous=before))
        if manifest.collection != earlier.collection:
            switch_name(earlier, manifest.collection)
        with closing(open_store(earlier)) as store:
            return RolledBack(earlier.collection, before, store.count())


def _destination(at: Location, manifest: Manifest, source: StoreLocation, alias: str | None) -> tuple[Connection, str]:
    """The collection that an index moves to, or is in already, and the name that it goes by then."""
    assert at.server is not None  # noqa: S101 - for the type checker
    if manifest.is_in(at.server) and isinstance(source, Connection):
        target, name = replace(source, collection=stands_for(source) or source.collection), manifest.collection
    else:
        # With an alias, the collection is called as it was said; else its name is the alias.
        fixed = replace(at.server, fixed=alias is not None)
        target, name = collection_for(fixed, at.folder, manifest.generation, resume=True), at.server.collection
    if alias:
        check_name(target, alias)
    return target, alias or name


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

    def copy(batch: list[Point]) -> tuple[int, int]:
        stored = {id: point.payload for id, point in target.fetch([point.id for point in batch]).items()}
        # Equal payloads with the time of their writing mean equal vectors.
        fresh = [each for each in batch if INGESTED_AT not in each.payload or stored.get(each.id) != each.payload]
        if fresh:
            target.upsert(fresh)
        return len(fresh), len(batch)

    copied = total = 0
    with (progress or Silent()).stage("moving products", source.count()) as advance:
        pages = source.scroll(payload=True, vectors=True)
        # Few points at a time, so that progress shows and little is done twice.
        batches = (page[start : start + BATCH] for page in pages for start in range(0, len(page), BATCH))
        for fresh, seen in in_order(copy, batches, target.streams):
            copied, total = copied + fresh, total + seen
            advance(seen)
    moved = Moved(copied, total - copied, total)
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
