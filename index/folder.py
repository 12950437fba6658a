"""An index folder: locked, made, opened, and changed."""

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO, TypeVar, cast, get_args
from urllib.parse import quote

import numpy as np
import portalocker
from numpy.typing import NDArray
from safetensors import SafetensorError

from rubrika.encode.learned import RICH, LearnedConfig, LearnedEncoder, read_config
from rubrika.encode.registry import default_pictures, picture_encoder, text_encoder
from rubrika.encode.text import Backend, Pooling
from rubrika.errors import IndexFolderError, RubrikaError, StoppedError, StoreError
from rubrika.files import HELD, check_room, read_bounded, sync, unwritable, writable, write_in_one_step
from rubrika.index.encoders import Encoders
from rubrika.index.location import (
    COPY,
    LOCK,
    Location,
    edge_folder,
    encoder_folder,
    folder_hash,
    is_ours,
    store_location,
)
from rubrika.index.manifest import IMAGE, JOINT, MANIFEST, TEXT, Manifest, VectorSpec, VoteSettings
from rubrika.index.published import write_manifest
from rubrika.index.versions import settle
from rubrika.store.base import Store
from rubrika.store.connection import Connection, ServerOptions
from rubrika.store.open import create_store, delete_store, open_store

LEARNED, LATE = "learned", "late"
REMEMBERED = 10.0  # seconds, of what others may change
MAX_NOTE = 10_000
Made = TypeVar("Made")
_RESTORE = "restore it or ingest into a new folder"
_SEE_TO_DISK = "see to its disk, then run the same command again"
# How the system refuses to write; within a change, any other error of it is about something else.
_REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR}


@contextmanager
def writing(folder: Path, what: str) -> Iterator[None]:
    """Hold an index for a change by the command `what`; Ctrl-C within is a StoppedError.

    A folder is made when there is none, and removed again when no index was put into it. IndexFolderError: another
    process changes the index, or its folder cannot be written.
    """
    path = folder / LOCK
    if (folder / COPY).exists():
        raise IndexFolderError(f"{folder}: a copy of what its server has; `{what}` where the index has its own folder")
    with writable(folder, _SEE_TO_DISK, IndexFolderError, _REFUSALS), _open_lock(path) as file:
        try:
            portalocker.lock(file, HELD)
            # Whoever held it may have removed the file that was opened here, with a folder that it made nothing in.
            if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                raise portalocker.LockException
        except portalocker.LockException:
            raise IndexFolderError(f"{folder}: {_holder(path)} is changing this index; wait for it to end") from None
        file.truncate(0)
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        file.write(json.dumps({"what": what, "process": os.getpid(), "since": since}))
        file.flush()
        try:
            yield
        except KeyboardInterrupt:
            raise StoppedError(f"{folder}: stopped as asked; nothing is lost, run the same command again") from None
        finally:
            # A folder that no index was made in is left as it was.
            if not has_index(folder):
                path.unlink()
                if not any(folder.iterdir()):
                    folder.absolute().rmdir()


def _open_lock(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise IndexFolderError(f"{path.parent}: a file, not a folder; choose another place for the index") from None
    # What somebody put there instead may be a link to a file of worth, or a pipe that never opens.
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise IndexFolderError(f"{path}: not the file that Rubrika makes there; remove it, or choose another folder")
    # Never through a link, not even one that was put there a moment ago.
    no_link = getattr(os, "O_NOFOLLOW", 0)
    return open(path, "a+", encoding="utf-8", opener=lambda name, flags: os.open(name, flags | no_link, 0o666))


def _holder(lock: Path) -> str:
    """Which command changes the index, or was the last to."""
    try:
        found = json.loads(lock.read_text(encoding="utf-8"))
        return f"`rubrika {found['what']}` (process {found['process']}, since {found['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


@dataclass(frozen=True)
class Index:
    """An open index."""

    folder: Path
    manifest: Manifest
    store: Store
    cache: Path  # a folder for vectors of pretrained encoders
    server: Connection | None = None  # of the store, when it is not in the folder
    _memory: dict[object, tuple[float, Any]] = field(default_factory=dict, repr=False, compare=False)

    def remembered(self, make: "Callable[[Index], Made]") -> "Made":
        """What `make` finds in this index, found once: counting the categories of a million products takes 0.2 s.

        Others may write to a server meanwhile, so there it is found again after some seconds.
        """
        at, found = self._memory.get(make, (0.0, None))
        if found is None or (self.server and time.monotonic() - at > REMEMBERED):
            at, found = self._memory[make] = time.monotonic(), make(self)
        return cast("Made", found)

    @classmethod
    def open(cls, at: Location, manifest: Manifest | None = None, shared: bool = True) -> "Index":
        """Open an existing index; `manifest` spares reading index.json where that has just been done.

        Unless `shared`, this process alone has its store, to change it. Any number may read the index, as it is now:
        what another process changes meanwhile is seen when it is opened again.
        """
        manifest = manifest or Manifest.read(at.folder)
        try:
            return cls._open(at, manifest, shared)
        except RubrikaError:
            # Learned again a moment ago, so that what index.json named is gone.
            fresh = Manifest.read(at.folder)
            if fresh.generation == manifest.generation:
                raise
            return cls._open(at, fresh, shared)

    @classmethod
    def _open(cls, at: Location, manifest: Manifest, shared: bool) -> "Index":
        for name, spec in manifest.vectors.items():
            files = encoder_folder(at.folder, name, manifest.generation)
            if spec.encoder == LEARNED and folder_hash(files) != spec.sha256:
                differs = "not the encoder this index was made with (its hash differs)"
                raise IndexFolderError(f"{files}: {differs}; {_RESTORE}")
        location = store_location(manifest, at, os.environ)
        store = open_store(location, manifest.sizes, manifest.search, manifest.recall, shared)
        return cls(at.folder, manifest, store, at.cache, location if isinstance(location, Connection) else None)

    @cached_property
    def encoders(self) -> Encoders:
        """The encoders of its named vectors, loaded; a pretrained one must be the one that the index was made with."""
        specs = self.manifest.vectors
        spec, joint = specs[TEXT], LearnedEncoder.load(self._files(JOINT)) if JOINT in specs else None
        image = picture_encoder(specs[IMAGE].encoder, self.cache) if IMAGE in specs else None
        if image is not None:
            _check_identity(IMAGE, specs[IMAGE], image.identity)
        if spec.encoder == LEARNED:
            return Encoders(LearnedEncoder.load(self._files(TEXT)), image, joint, self.cache)
        text = text_encoder(spec.encoder, backend=spec.backend, cache=self.cache, identity=spec.sha256)
        _check_identity(TEXT, spec, text.identity)
        return Encoders(text, image, joint, self.cache)

    @property
    def encoder_files(self) -> Path:
        """The folder of its generation's encoders and its calibration set."""
        return encoder_folder(self.folder, "", self.manifest.generation)

    @cached_property
    def learned(self) -> dict[str, LearnedConfig]:
        """The settings of each learned encoder, by vector, with the categories it learned from."""
        names = (name for name, spec in self.manifest.vectors.items() if spec.encoder == LEARNED)
        return {name: read_config(self._files(name)) for name in names}

    @cached_property
    def seen(self) -> dict[str, NDArray[np.int64]]:
        """The categories that each learned encoder learned from, by vector, ascending."""
        return {name: np.array(config.categories, np.int64) for name, config in self.learned.items()}

    def dashboard(self, product_id: int | None) -> str:
        """Where Qdrant's web UI shows the collection, and what to type there to see one product."""
        if self.server is None:
            raise IndexFolderError(f"{self.folder}: only a server has a web UI; move there with `rubrika push`")
        # By the name that stays, if it is the index's own collection.
        own = self.server.collection == self.manifest.behind
        name = self.manifest.collection if own else self.server.collection
        page = f"{self.server.server}/dashboard#/collections/{quote(name)}"
        return page if product_id is None else f"{page} (filter by id:{product_id})"

    def __enter__(self) -> "Index":
        """Use as `with Index.open(Location(folder)) as index`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the store."""
        self.store.close()

    def _files(self, vector: str) -> Path:
        return encoder_folder(self.folder, vector, self.manifest.generation)


def _check_identity(vector: str, spec: VectorSpec, identity: str) -> None:
    if identity != spec.sha256:
        differs = f"not the encoder that the vector {vector} was made with (its files or settings changed)"
        raise IndexFolderError(f"{spec.encoder}: {differs}; {_RESTORE}")


def has_index(folder: Path) -> bool:
    """Whether an index was ever made here."""
    # A name that is too long for any folder is one where none is; `Path.exists` raises.
    return os.path.exists(folder / MANIFEST)


@dataclass(frozen=True)
class Choice:
    """The encoders and the vote of a new index, as far as a user chose them."""

    text: str | None = None  # `learned`, which is the default, or what `encode.registry.text_encoder` takes
    image: str | None = None  # what `encode.registry.picture_encoder` takes; None: no pictures
    backend: Backend = "torch"  # of a pretrained text encoder
    pooling: Pooling | None = None  # of its tokens; None: the model's own
    vote: str | None = None  # `joint`, `text`, `image`, or `late`, which fuses text and image; None: the best for these

    @classmethod
    def of(cls, manifest: Manifest) -> "Choice":
        """The choice that an index was made with."""
        text, image = manifest.vectors[TEXT], manifest.vectors.get(IMAGE)
        vote = LATE if len(manifest.vote.weights) > 1 else next(iter(manifest.vote.weights))
        pooling = next((each for each in get_args(Pooling) if each == text.pooling), None)
        return cls(text.encoder, image.encoder if image else None, text.backend, pooling, vote)

    @property
    def learns(self) -> bool:
        """Whether a vector that votes is learned from labels."""
        return self.learns_joint or (self.text in (None, LEARNED) and self.vote != IMAGE)

    @property
    def learns_joint(self) -> bool:
        """Whether a joint vector is learned: when its vote is chosen, and with pictures when none is."""
        return self.vote == JOINT or (self.image is not None and self.vote is None)

    @property
    def settings(self) -> VoteSettings:
        """How its vectors vote, untuned."""
        if self.vote == LATE:
            return VoteSettings({TEXT: 0.5, IMAGE: 0.5})
        return VoteSettings({self.vote or (JOINT if self.learns_joint else TEXT): 1.0})


def completed(choice: Choice, folder: Path | None, pictures: bool, note: Callable[[str], None]) -> Choice:
    """Choose the best picture encoder for a new index with pictures where none is chosen, and note why it is that."""
    if not pictures or choice.image or (folder and has_index(folder)):
        return choice
    image, reason = default_pictures()
    note(reason)
    return replace(choice, image=image)


def check_free(folder: Path) -> None:
    """Refuse a folder with files that are not Rubrika's, before a new index is learned for it."""
    for name in sorted(path.name for path in folder.iterdir() if not is_ours(path)) if folder.is_dir() else ():
        raise IndexFolderError(f"{folder}: not an index, but not empty either ({name} is in it); choose a new folder")


def lay_out(
    folder: Path,
    choice: Choice,
    encoders: Encoders,
    vote: VoteSettings,
    server: Connection | None = None,
    generation: int = 1,
    options: ServerOptions | None = None,
    learned_from: str | None = None,
) -> Manifest:
    """Write learned encoders and an empty store; they become the index when the caller writes the manifest returned.

    `options` are for a server. Should the store fail, `kept_encoders` finds the encoders by what they `learned_from`.
    """
    # What an interrupted try left is replaced.
    delete_store(edge_folder(folder, generation))
    text, image, joint = encoders.text, encoders.image, encoders.joint
    if isinstance(text, LearnedEncoder):
        specs = {TEXT: _save(text, encoder_folder(folder, TEXT, generation))}
    else:
        identity, pooling = text.identity, text.pooling or None  # type: ignore[attr-defined]
        specs = {TEXT: VectorSpec(str(choice.text), text.size, identity, choice.backend, pooling)}
    if image is not None:
        specs[IMAGE] = VectorSpec(str(choice.image), image.size, image.identity)
    if joint is not None:
        specs[JOINT] = _save(joint, encoder_folder(folder, JOINT, generation))
    if learned_from:
        hashes = {name: spec.sha256 for name, spec in specs.items() if spec.encoder == LEARNED}
        note = {"learned_from": learned_from, "vectors": hashes}
        write_in_one_step(_learned_note(folder, generation), json.dumps(note))
    location = server or edge_folder(folder, generation)
    with closing(create_store(location, encoders.sizes, options)) as store:
        # Points come after the manifest: if there are some, they are another index's.
        if store.count():
            where = f"collection «{server.collection}» on {server.server}" if server else location
            raise StoreError(f"{where} holds products of another index; choose another `collection`")
    return Manifest(specs, vote=vote, generation=generation).at(location, options.search if options else None)


def kept_encoders(folder: Path, learned_from: str) -> dict[str, LearnedEncoder]:
    """The encoders that an earlier try to make this index has learned, by vector, if from the same."""
    try:
        note = json.loads(read_bounded(_learned_note(folder, 1), MAX_NOTE))
        found = {name: encoder_folder(folder, name) for name in note["vectors"] if name in (TEXT, JOINT)}
        if note["learned_from"] == learned_from and all(
            folder_hash(files) == note["vectors"][name] for name, files in found.items()
        ):
            return {name: LearnedEncoder.load(files) for name, files in found.items()}
    except (OSError, ValueError, KeyError, TypeError, RubrikaError):
        pass
    return {}


def forget_learned(folder: Path) -> None:
    """Once the index is there, its manifest says all of its encoders."""
    _learned_note(folder, 1).unlink(missing_ok=True)


def _learned_note(folder: Path, generation: int) -> Path:
    return encoder_folder(folder, "learned.json", generation)


def _save(encoder: LearnedEncoder, files: Path) -> VectorSpec:
    """Save a learned encoder, whole or not at all."""
    fresh = files.with_name(files.name + ".new")
    for leftover in (files, fresh):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        encoder.save(fresh)
    except SafetensorError as error:
        raise unwritable(fresh, error, _SEE_TO_DISK, IndexFolderError) from None
    # The manifest will rely on them.
    for path in (*fresh.iterdir(), fresh):
        sync(path)
    fresh.replace(files)
    return VectorSpec(LEARNED, encoder.size, folder_hash(files))


@contextmanager
def changing(
    at: Location,
    sources: Sequence[Path] = (),
    recount: bool = True,
    manifest: Manifest | None = None,
    finish: Callable[[Manifest], Manifest] = lambda manifest: manifest,
) -> Iterator[Index]:
    """Open an index, which `writing` holds, for a change.

    From the first point that is written until that has ended well, index.json says that a change is under way. Products
    come from the files `sources` now. Without `recount` their number noted before stays. `manifest` is index.json, when
    it was read after the index was held; `finish` is called with it when all is written, and returns what it is then.
    """
    manifest = manifest or Manifest.read(at.folder)
    location = store_location(manifest, at, os.environ)
    if at.server and not manifest.is_in(location):
        elsewhere = f"its points are not in {at.server.collection} on {at.server.server}"
        advice = "leave `url` and QDRANT_URL out, or move it there with `rubrika push`"
        raise IndexFolderError(f"{at.folder}: {elsewhere}; {advice}")
    if not isinstance(location, Connection):
        check_room(at.folder)
    settle(at, manifest)
    with Index.open(at, manifest, shared=False) as index:
        under_way = replace(manifest.contents.with_sources(sources), products=None, fingerprint=None)

        marked = False

        def mark() -> None:
            nonlocal marked
            if not marked:
                replace(manifest, contents=under_way).write(at.folder)
                marked = True

        index.store.on_write = mark
        try:
            yield index
        except BaseException:
            if marked and not index.store.wrote:
                # Refused before anything was changed: the index is what it was.
                manifest.write(at.folder)
            raise
        index.store.flush()
        products = index.store.count() if recount else manifest.contents.products
        contents, recall = replace(under_way, products=products), dict(index.store.recall)
        write_manifest(at, finish(replace(manifest, contents=contents, recall=recall)))


# Products of new categories are found, but less surely than after learning again: see docs/ingesting.md.
NEW_SHARE, GROWN = 0.01, 1.5


@dataclass(frozen=True, slots=True)
class Staleness:
    """What has changed since the encoder learned: `products` more or fewer, `unseen` in `categories` new to it.

    Learning pays when that is much, or when the encoder is of a Rubrika that knew one view only.
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
    pays = config.kind != RICH or total > NEW_SHARE * count or count > GROWN * config.products
    return Staleness(config.products, count - config.products, len(unseen), total, pays)
