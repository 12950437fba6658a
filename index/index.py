"""Opens an index folder: manifest read, encoder files checked against it, store ready."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from rubrika.encode.encoder import Encoder
from rubrika.encode.registry import load_encoder
from rubrika.errors import IndexFolderError
from rubrika.index.manifest import FILE, Manifest, folder_hash
from rubrika.store.edge import EdgeStore
from rubrika.store.store import Store

ENCODERS = "encoders"
EDGE = "edge"


@dataclass(frozen=True)
class Index:
    """An open index; closing it lets another process in."""

    folder: Path
    manifest: Manifest
    encoders: Mapping[str, Encoder]
    store: Store

    @classmethod
    def open(cls, folder: Path) -> "Index":
        """Open an existing index.

        Raises:
            IndexFolderError: there is none, it is newer than this Rubrika, or an encoder's files were changed.
            StoreError: another process holds the store.
        """
        manifest = Manifest.read(folder)
        encoders = {}
        for name, spec in manifest.vectors.items():
            files = encoder_folder(folder, name)
            if folder_hash(files) != spec.sha256:
                raise IndexFolderError(
                    f"{files}: not the encoder this index was made with (its hash differs); "
                    f"restore it or ingest into a new folder"
                )
            encoders[name] = load_encoder(spec.encoder, files)
        return cls(folder, manifest, encoders, EdgeStore.open(folder / EDGE))

    def __enter__(self) -> "Index":
        """Use as `with Index.open(folder) as index`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the store."""
        self.store.close()


def has_index(folder: Path) -> bool:
    """Whether an index was ever finished here."""
    return (folder / FILE).exists()


def encoder_folder(folder: Path, vector: str) -> Path:
    """Where the encoder of a named vector keeps its files."""
    return folder / ENCODERS / vector
