"""Makes a new index folder around its encoders, empty but ready for points."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError

from rubrika.encode.learned import LearnedEncoder
from rubrika.encode.specs import default_pictures
from rubrika.encode.transformer import Backend
from rubrika.errors import IndexFolderError, StoreError
from rubrika.index.disk import sync, unwritable
from rubrika.index.encoders import Encoders
from rubrika.index.index import LEARNED, has_index
from rubrika.index.layout import edge_folder, encoder_folder, is_ours
from rubrika.index.manifest import IMAGE, JOINT, TEXT, Manifest, VectorSpec, VoteSettings, folder_hash
from rubrika.store.connection import Connection
from rubrika.store.place import Place, create_store, delete_store

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
