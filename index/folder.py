"""An index folder: opened, made, locked and changed."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TextIO
from urllib.parse import quote

import numpy as np
import portalocker
from numpy.typing import NDArray
from safetensors import SafetensorError

from rubrika.encode.base import Encoder
from rubrika.encode.learned import LearnedConfig, LearnedEncoder, read_config
from rubrika.encode.registry import default_pictures, picture_encoder, text_encoder
from rubrika.encode.text import Backend
from rubrika.errors import IndexFolderError, StoppedError, StoreError
from rubrika.files import check_room, sync, unwritable, writable
from rubrika.index.encoders import Encoders
from rubrika.index.location import Location, place_of
from rubrika.index.manifest import (
    IMAGE,
    JOINT,
    LOCK,
    MANIFEST,
    TEXT,
    Manifest,
    VectorSpec,
    VoteSettings,
    edge_folder,
    encoder_folder,
    folder_hash,
    is_ours,
)
from rubrika.store.base import Store
from rubrika.store.connection import Connection
from rubrika.store.open import Place, create_store, delete_store, open_store


@contextmanager
def writing(folder: Path, what: str) -> Iterator[None]:
    """Hold the index for a change to it.

    Args:
        folder: the index folder; made when there is none, and removed again when nothing was put into it.
        what: the command, as another one would be told.

    Raises:
        IndexFolderError: the folder is a file, another process is changing the index, or its disk refuses to be
            written.
        StoppedError: Ctrl-C.
    """
    path = folder / LOCK
    with writable(folder), _opened(path) as file:
        try:
            portalocker.lock(file, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
        except portalocker.LockException:
            raise IndexFolderError(f"{folder}: {holder(folder)} is changing this index; wait for it to end") from None
        file.truncate(0)
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        file.write(json.dumps({"what": what, "process": os.getpid(), "since": since}))
        file.flush()
        try:
            yield
        except KeyboardInterrupt:
            raise StoppedError(f"{folder}: stopped as asked; nothing is lost, run the same command again") from None
        finally:
            # What was made for nothing goes again.
            if not (folder / MANIFEST).exists():
                path.unlink()
                if not any(folder.iterdir()):
                    folder.absolute().rmdir()


def _opened(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise IndexFolderError(f"{path.parent}: a file, not a folder; choose another place for the index") from None
    # What somebody put there instead may be a link to a file of worth, or a pipe that never opens.
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise IndexFolderError(f"{path}: not the file that Rubrika makes there; remove it, or choose another folder")
    return open(path, "a+", encoding="utf-8", opener=_itself)


def _itself(path: str, flags: int) -> int:
    """Open a file, never through a link, not even one that was put there a moment ago."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def holder(folder: Path) -> str:
    """Who changes the index, or was the last to."""
    try:
        found = json.loads((folder / LOCK).read_text(encoding="utf-8"))
        return f"`rubrika {found['what']}` (process {found['process']}, since {found['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


LEARNED = "learned"


@dataclass(frozen=True)
class Index:
    """An open index; closing it lets another process in.

    Args:
        folder: where it is.
        manifest: what it says of itself.
        store: where its points live.
        cache: a folder for vectors of pretrained encoders.
        server: where the store is, when it is on a server.
    """

    folder: Path
    manifest: Manifest
    store: Store
    cache: Path
    server: Connection | None = None

    @classmethod
    def open(cls, at: Location) -> "Index":
        """Open an existing index.

        Raises:
            IndexFolderError: there is none, it is newer than this Rubrika, or a learned encoder's files were changed.
            StoreError: another process holds the store.
        """
        manifest = Manifest.read(at.folder)
        for name, spec in manifest.vectors.items():
            if spec.encoder == LEARNED:
                _check(encoder_folder(at.folder, name, manifest.generation), spec)
        place = place_of(manifest, at, os.environ)
        store = open_store(place, manifest.sizes, manifest.search)
        return cls(at.folder, manifest, store, at.cache, place if isinstance(place, Connection) else None)

    @cached_property
    def encoders(self) -> Encoders:
        """The encoders of its named vectors.

        Raises:
            EncoderError: one cannot be loaded.
            IndexFolderError: a pretrained one is not the one that the index was made with.
        """
        specs = self.manifest.vectors
        joint = self._learned(JOINT) if JOINT in specs else None
        image = picture_encoder(specs[IMAGE].encoder, self.cache) if IMAGE in specs else None
        if image is not None:
            _check_identity(IMAGE, specs[IMAGE], image.identity)
        return Encoders(self._text(specs[TEXT]), image, joint, self.cache)

    @cached_property
    def learned(self) -> dict[str, LearnedConfig]:
        """By learned vector, what its encoder is made of and learned from."""
        names = (name for name, spec in self.manifest.vectors.items() if spec.encoder == LEARNED)
        return {name: read_config(encoder_folder(self.folder, name, self.manifest.generation)) for name in names}

    @cached_property
    def seen(self) -> dict[str, NDArray[np.int64]]:
        """By learned vector, the categories that its encoder learned from, ascending."""
        return {name: np.array(config.categories, np.int64) for name, config in self.learned.items()}

    def dashboard(self, product_id: int | None) -> str:
        """Where Qdrant's web UI shows the collection, and what to type there to see one product.

        Raises:
            IndexFolderError: the points are in the folder, which has no web UI.
        """
        if self.server is None:
            raise IndexFolderError(
                f"{self.folder}: only a server has a web UI; move the index to one with `rubrika push`"
            )
        page = f"{self.server.server}/dashboard#/collections/{quote(self.server.collection)}"
        return page if product_id is None else f"{page} (filter by id:{product_id})"

    def __enter__(self) -> "Index":
        """Use as `with Index.open(Location(folder)) as index`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the store."""
        self.store.close()

    def _learned(self, vector: str) -> LearnedEncoder:
        return LearnedEncoder.load(encoder_folder(self.folder, vector, self.manifest.generation))

    def _text(self, spec: VectorSpec) -> Encoder:
        if spec.encoder == LEARNED:
            return self._learned(TEXT)
        encoder = text_encoder(spec.encoder, backend=spec.backend, cache=self.cache, identity=spec.sha256)
        _check_identity(TEXT, spec, encoder.identity)
        return encoder


def has_index(folder: Path) -> bool:
    """Whether an index was ever made here."""
    return (folder / MANIFEST).exists()


def _check(files: Path, spec: VectorSpec) -> None:
    if folder_hash(files) != spec.sha256:
        raise IndexFolderError(
            f"{files}: not the encoder this index was made with (its hash differs); "
            f"restore it or ingest into a new folder"
        )


def _check_identity(vector: str, spec: VectorSpec, identity: str) -> None:
    if identity != spec.sha256:
        raise IndexFolderError(
            f"{spec.encoder}: not the encoder that the vector {vector} was made with (its files or settings changed); "
            f"restore it or ingest into a new folder"
        )


LATE = "late"


@dataclass(frozen=True)
class Choice:
    """What a user chose for a new index; None is what was left to Rubrika.

    Args:
        text: `learned`, or what `encode.specs.text_encoder` takes.
        image: what `encode.specs.picture_encoder` takes; left out: no pictures.
        backend: of a pretrained text encoder, `torch` or `onnx-int8`.
        vote: `joint`, `text`, `image`, or `late`, which fuses the votes of text and image.
    """

    text: str | None = None
    image: str | None = None
    backend: Backend = "torch"
    vote: str | None = None

    @classmethod
    def of(cls, manifest: Manifest) -> "Choice":
        """What was chosen when an index was made."""
        text, image = manifest.vectors[TEXT], manifest.vectors.get(IMAGE)
        vote = LATE if len(manifest.vote.weights) > 1 else next(iter(manifest.vote.weights))
        return cls(text.encoder, image.encoder if image else None, text.backend, vote)

    @property
    def learns_joint(self) -> bool:
        """Whether a joint vector is learned: with pictures, unless another vote was chosen, or when asked for."""
        return self.vote == JOINT or (self.image is not None and self.vote is None)

    @property
    def settings(self) -> VoteSettings:
        """The vote that needs no tuning."""
        return VoteSettings({self.vote or (JOINT if self.learns_joint else TEXT): 1.0})


def completed(choice: Choice, folder: Path | None, pictures: bool, note: Callable[[str], None] | None = None) -> Choice:
    """What was asked for; with pictures and no word on their encoder, the best that can be had here.

    Args:
        choice: what was asked for.
        folder: of the index; one that is there already has its encoders.
        pictures: whether there is a folder of them.
        note: told why it is this encoder.
    """
    if not pictures or choice.image or (folder and has_index(folder)):
        return choice
    image, why = default_pictures()
    if note:
        note(why)
    return replace(choice, image=image)


def create_index(
    folder: Path, choice: Choice, encoders: Encoders, vote: VoteSettings, server: Connection | None = None
) -> Manifest:
    """Make an index without points; what an interrupted try left is replaced.

    Call `check_free` first, before anything is learned.
    """
    manifest = lay_out(folder, choice, encoders, vote, server)
    manifest.write(folder)
    return manifest


def lay_out(
    folder: Path,
    choice: Choice,
    encoders: Encoders,
    vote: VoteSettings,
    server: Connection | None = None,
    generation: int = 1,
) -> Manifest:
    """Write learned encoders and an empty store; they are an index once the manifest is written, by the caller."""
    delete_store(edge_folder(folder, generation))
    files = {name: encoder_folder(folder, name, generation) for name in (TEXT, JOINT)}
    specs = {TEXT: _spec(files[TEXT], encoders.text, choice.text or LEARNED, choice.backend)}
    if encoders.image is not None:
        specs[IMAGE] = VectorSpec(str(choice.image), encoders.image.size, encoders.image.identity)
    if encoders.joint is not None:
        specs[JOINT] = _spec(files[JOINT], encoders.joint, LEARNED, choice.backend)
    place = server or edge_folder(folder, generation)
    store = create_store(place, encoders.sizes)
    try:
        # Points come after the manifest: if there are some, they are another index's.
        if store.count():
            raise StoreError(f"{_said(place)} holds products of another index; choose another --collection")
    finally:
        store.close()
    return Manifest(specs, vote=vote, generation=generation).at(place)


def check_free(folder: Path) -> None:
    """Refuse a folder in which a new index would replace somebody's own files.

    Raises:
        IndexFolderError: it holds something that is not Rubrika's.
    """
    strangers = [path.name for path in folder.iterdir() if not is_ours(path)] if folder.is_dir() else []
    if strangers:
        raise IndexFolderError(
            f"{folder}: not an index, but not empty either ({sorted(strangers)[0]} is in it); choose a new folder"
        )


def _said(place: Place) -> str:
    return f"collection «{place.collection}» on {place.server}" if isinstance(place, Connection) else str(place)


def _spec(files: Path, encoder: object, name: str, backend: Backend) -> VectorSpec:
    if not isinstance(encoder, LearnedEncoder):
        return VectorSpec(name, encoder.size, encoder.identity, backend)  # type: ignore[attr-defined]
    fresh = files.with_name(files.name + ".new")
    for leftover in (files, fresh):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        encoder.save(fresh)
    except SafetensorError as error:
        raise unwritable(fresh, str(error)) from None
    # The manifest will rely on them.
    for path in (*fresh.iterdir(), fresh):
        sync(path)
    fresh.replace(files)
    return VectorSpec(name, encoder.size, folder_hash(files))


@contextmanager
def changing(at: Location, sources: Sequence[Path] = (), recount: bool = True) -> Iterator[Index]:
    """Open an index for a change; hold it with `lock.writing` meanwhile.

    Args:
        at: where it is.
        sources: files that products come from now.
        recount: whether the number of products afterwards is the one there should be; else it stays as it was noted.

    Raises:
        IndexFolderError: there is no such index, its points are elsewhere, or there is too little room on its disk.
    """
    folder, server = at.folder, at.server
    manifest = Manifest.read(folder)
    place = place_of(manifest, at, os.environ)
    if server and not manifest.is_in(place):
        raise IndexFolderError(
            f"{folder}: its points are not in {server.collection} on {server.server}; "
            f"leave --url and QDRANT_URL out, or move it there with `rubrika push`"
        )
    check_room(folder, place if isinstance(place, Connection) else None)
    with Index.open(at) as index:
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


# Products of new categories are found, but less surely than after learning again: see docs/ingesting.md.
NEW_SHARE = 0.01
GROWN = 1.5


@dataclass(frozen=True, slots=True)
class Staleness:
    """What has come since the encoder learned.

    Args:
        learned_from: how many products it learned from.
        products: how many there are more (or fewer) now.
        categories: how many categories it has never seen.
        unseen: how many products are in those.
        learning_pays: whether they are many enough to learn again.
    """

    learned_from: int
    products: int
    categories: int
    unseen: int
    learning_pays: bool


def staleness(index: Index) -> Staleness | None:
    """Compare an open index with what its encoder learned from; None when no encoder of it is learned."""
    config = next(iter(index.learned.values()), None)
    if config is None:
        return None
    known = set(config.categories)
    unseen = {category: count for category, count in index.store.facet("category_id").items() if category not in known}
    total, count = sum(unseen.values()), index.store.count()
    pays = total > NEW_SHARE * count or count > GROWN * config.products
    return Staleness(config.products, count - config.products, len(unseen), total, pays)
