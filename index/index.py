"""Opens an index folder: manifest read, encoders loaded when first needed and checked against it, store ready."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from rubrika.encode.encoder import Encoder
from rubrika.encode.learned import LearnedConfig, LearnedEncoder, read_config
from rubrika.encode.specs import picture_encoder, text_encoder
from rubrika.errors import IndexFolderError
from rubrika.index.encoders import Encoders
from rubrika.index.layout import MANIFEST, encoder_folder
from rubrika.index.manifest import IMAGE, JOINT, TEXT, Manifest, VectorSpec, folder_hash
from rubrika.store.connection import Connection
from rubrika.store.place import open_store
from rubrika.store.store import Store

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
    def open(cls, folder: Path, cache: Path, server: Connection | None = None, api_key: str | None = None) -> "Index":
        """Open an existing index.

        Args:
            folder: the index folder.
            cache: a folder for vectors of pretrained encoders.
            server: where its points are, when not where the manifest says.
            api_key: of the server that the manifest names.

        Raises:
            IndexFolderError: there is none, it is newer than this Rubrika, or a learned encoder's files were changed.
            StoreError: another process holds the store.
        """
        manifest = Manifest.read(folder)
        for name, spec in manifest.vectors.items():
            if spec.encoder == LEARNED:
                _check(encoder_folder(folder, name, manifest.generation), spec)
        place = manifest.asked(folder, api_key, server)
        store = open_store(place, manifest.sizes, manifest.search)
        return cls(folder, manifest, store, cache, place if isinstance(place, Connection) else None)

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
        """Use as `with Index.open(folder, cache) as index`."""
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
        encoder = text_encoder(spec.encoder, backend=spec.backend, cache=self.cache)
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
