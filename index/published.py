"""An index whose state is on its server: index.json, names and encoders beside its points, for whoever has no folder.

The files are in chunks in a collection beside that of the points, called by their hashes; which of them belong to the
points is said in the metadata of their collection, in one request. So points and encoder change together, and a name
that is switched from one collection to another brings its encoder along.
"""

import hashlib
import json
import os
import shutil
from base64 import b64decode, b64encode
from binascii import Error as NoBase64
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp

from rubrika.encode.base import validated
from rubrika.errors import IndexFolderError, StoreError
from rubrika.files import sync, writable, write_in_one_step
from rubrika.index.location import CATEGORIES, COPY, Location, encoder_folder, store_location
from rubrika.index.manifest import MANIFEST, Manifest
from rubrika.store.base import Point, Store
from rubrika.store.connection import Connection
from rubrika.store.open import create_store, delete_store, note_on, noted_on, open_store, stands_for

# In the metadata of a collection.
KEY = "rubrika_index"
# Of a file; in base64 it is less than a request may have.
CHUNK = 600_000
# How large what is listed may be, and one file.
MAX_LISTING, MAX_FILE = 4_000_000, 8_000_000_000
FETCH = 8
# What is noted in a folder of encoders of how it came about, and is of no use elsewhere.
_NOTES = {"collection", "learned.json"}


@dataclass(frozen=True)
class Stored:
    """A file of an index, in chunks."""

    sha256: str
    size: int
    chunks: tuple[int, ...]  # the ids of the points that have them


@dataclass(frozen=True)
class Listing:
    """All files of an index, by their paths in its folder."""

    files: dict[str, Stored]
    format: int = 1


def write_manifest(at: Location, manifest: Manifest) -> None:
    """Replace index.json, and where the index is published, what its server has of it."""
    manifest.write(at.folder)
    if manifest.published:
        publish(at, manifest)


def publish(at: Location, manifest: Manifest) -> int:
    """Store the state of an index on its server, and return how many bytes of it were new there.

    Chunks that are there stay; what the collection's metadata list changes last, in one step.
    """
    server = server_of(at, manifest)
    files = {path.relative_to(at.folder).as_posix(): path for path in _files(at.folder, manifest)}
    listing, chunks = dict[str, Stored](), dict[int, tuple[Path, int]]()
    for name, path in files.items():
        stored, places = _chunked(path)
        listing[name] = stored
        chunks |= places
    with closing(create_store(_beside(server), {})) as store:
        there = {point.id for page in store.scroll(payload=False) for point in page}
        new = 0
        for id in sorted(chunks.keys() - there):
            path, start = chunks[id]
            data = _read(path, start)
            store.upsert([Point(id, {}, {"data": b64encode(data).decode()})])
            new += len(data)
        note_on(server, KEY, _json(Listing(listing)))
        if gone := sorted(there - chunks.keys()):
            store.delete(gone)
    return new


def fetched(server: Connection, cache: Path) -> Location:
    """Where an index is that was published: a folder of the cache, with all that its server has of it but the points.

    Its collection is asked for by itself, not by a name that may stand for another one a moment later.
    """
    name = stands_for(server)
    if name is None:
        raise StoreError(f"{server.server}: no collection is called «{server.collection}»; check `collection`")
    server = replace(server, collection=name, fixed=True)
    while True:
        listing = _listing(server)
        try:
            return Location(_copy(server, listing, cache), server, cache, server.api_key, server.transport)
        except StoreError:
            # Chunks that are no longer listed are deleted: it was published anew while this was read.
            if _listing(server) == listing:
                raise


def _copy(server: Connection, listing: Listing, cache: Path) -> Path:
    """The folder of the cache that has the files listed, made if it is not there."""
    folder = cache / "indexes" / hashlib.sha256(_json(listing).encode()).hexdigest()[:32]
    if not folder.exists():
        with writable(cache):
            folder.parent.mkdir(parents=True, exist_ok=True)
            fresh = Path(mkdtemp(dir=folder.parent, prefix=".new-"))
        try:
            _download(server, listing, fresh, cache)
            (fresh / COPY).touch()
            with writable(folder):
                fresh.rename(folder)
        except OSError:
            # Another process was quicker.
            if not folder.exists():
                raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return folder


def bring_back(server: Connection, folder: Path, cache: Path) -> Manifest:
    """Bring encoders and names of the index that a collection was published with into a folder; return its index.json.

    That is not replaced yet: until the caller does, the folder's encoders are those it had, of another generation.
    """
    copy = fetched(server, cache).folder
    manifest = Manifest.read(copy)
    source, target = (encoder_folder(each, "", manifest.generation) for each in (copy, folder))
    with writable(folder):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
        for path in (each for each in target.rglob("*") if each.is_file()):
            sync(path)
        if (names := copy / CATEGORIES).exists():
            write_in_one_step(folder / CATEGORIES, names.read_text(encoding="utf-8"))
    return manifest


def _download(server: Connection, listing: Listing, folder: Path, cache: Path) -> None:
    """Bring files into a folder; one that the cache has, as encoders that stay, is not read again."""
    with closing(open_store(_beside(server), {})) as store, writable(folder):
        for name, stored in listing.files.items():
            kept = cache / "indexes" / "files" / stored.sha256
            if not kept.exists():
                kept.parent.mkdir(parents=True, exist_ok=True)
                if not _assembled(store, stored, kept):
                    raise _damaged(server, name)
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            # Never a link: an index that is changed must not change the cache.
            shutil.copyfile(kept, target)
            sync(target)


def _assembled(store: Store, stored: Stored, path: Path) -> bool:
    """Put the chunks of a file together, and say whether it is what was published."""
    digest, fresh = hashlib.sha256(), path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with fresh.open("wb") as file:
            for start in range(0, len(stored.chunks), FETCH):
                ids = stored.chunks[start : start + FETCH]
                points = store.fetch(ids)
                for data in (_data(points.get(id)) for id in ids):
                    digest.update(data)
                    file.write(data)
                # A list that names a chunk very often would fill the disk.
                if file.tell() > stored.size:
                    return False
        if digest.hexdigest() != stored.sha256:
            return False
        fresh.replace(path)
        return True
    finally:
        fresh.unlink(missing_ok=True)


def forget(server: Connection) -> None:
    """Delete what a server has of an index beside its points."""
    delete_store(_beside(server))


def _files(folder: Path, manifest: Manifest) -> Iterator[Path]:
    yield folder / MANIFEST
    if (folder / CATEGORIES).exists():
        yield folder / CATEGORIES
    encoders = encoder_folder(folder, "", manifest.generation)
    yield from (path for path in sorted(encoders.rglob("*")) if path.is_file() and path.name not in _NOTES)


def _chunked(path: Path) -> tuple[Stored, dict[int, tuple[Path, int]]]:
    digest, ids, places, size = hashlib.sha256(), list[int](), dict[int, tuple[Path, int]](), path.stat().st_size
    for start in range(0, size, CHUNK):
        data = _read(path, start)
        digest.update(data)
        ids.append(int.from_bytes(hashlib.sha256(data).digest()[:8]))
        places[ids[-1]] = path, start
    return Stored(digest.hexdigest(), size, tuple(ids)), places


def _read(path: Path, start: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(CHUNK)


def _data(point: Point | None) -> bytes:
    try:
        return b64decode(str(point.payload["data"]) if point else "", validate=True)
    except (KeyError, NoBase64):
        return b""


def _listing(server: Connection) -> Listing:
    text = noted_on(server, KEY)
    if text is None:
        advice = "run `rubrika publish` where its folder is, or name that folder as `index`"
        raise StoreError(f"collection «{server.collection}» on {server.server}: no index was published there; {advice}")
    try:
        if len(text) > MAX_LISTING:
            raise ValueError("too long")
        found = validated(Listing, text)
    except ValueError:
        raise _damaged(server, "its list of files") from None
    for name, stored in found.files.items():
        parts = Path(name).parts
        # Whoever else writes to the server may have written anything: no path leads out of the folder.
        if Path(name).is_absolute() or ".." in parts or len(parts) > 3 or not 0 <= stored.size <= MAX_FILE:
            raise _damaged(server, "its list of files")
        if len(stored.sha256) != 64 or not stored.sha256.isalnum():
            raise _damaged(server, "its list of files")
    return found


def server_of(at: Location, manifest: Manifest) -> Connection:
    """The collection, by itself, that the points of an index are in; IndexFolderError when they are in the folder."""
    location = store_location(manifest, at, os.environ)
    if not isinstance(location, Connection):
        raise IndexFolderError(f"{at.folder}: its points are in the folder; bring them to a server with `rubrika push`")
    return replace(location, collection=stands_for(location) or location.collection, fixed=True)


def _beside(server: Connection) -> Connection:
    return replace(server, collection=f"{server.collection}-index", fixed=True)


def _json(listing: Listing) -> str:
    files = {name: [it.sha256, it.size, list(it.chunks)] for name, it in sorted(listing.files.items())}
    plain = {name: dict(zip(("sha256", "size", "chunks"), each, strict=True)) for name, each in files.items()}
    return json.dumps({"files": plain, "format": listing.format})


def _damaged(server: Connection, what: str) -> StoreError:
    there = f"collection «{server.collection}» on {server.server}: {what} is damaged there"
    return StoreError(f"{there}; run `rubrika publish` again where its folder is")
