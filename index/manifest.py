"""`index.json`, the description of an index: what made its vectors, where they are, how hits vote."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from rubrika.encode.transformer import Backend
from rubrika.errors import IndexFolderError
from rubrika.store.connection import Connection
from rubrika.store.place import Place

FORMAT = 1
FILE = "index.json"
TEXT, IMAGE, JOINT = "text", "image", "joint"
EDGE: Final = "edge"
SERVER: Final = "server"


@dataclass(frozen=True)
class VectorSpec:
    """One named vector: the encoder that makes it, its width, and a hash of all that determines what it makes."""

    encoder: str
    size: int
    sha256: str
    backend: Backend = "torch"


@dataclass(frozen=True)
class VoteSettings:
    """How hits become a category: see `retrieve.vote`.

    Args:
        weights: the named vectors that are searched, and what the vote of each counts for; the first is the main one.
        top_k: how many hits of each vote.
        temperature: how much more near hits count than far ones.
    """

    weights: dict[str, float] = field(default_factory=lambda: {TEXT: 1.0})
    top_k: int = 10
    temperature: float = 60.0


@dataclass(frozen=True)
class Manifest:
    """Everything that must be known to open an index.

    Args:
        vectors: its named vectors.
        store: `edge`, a shard in the index folder, or `server`.
        url: of the server; its key is never written down.
        collection: on the server.
        vote: how hits become a category.
        format: the version of this file.
    """

    vectors: dict[str, VectorSpec]
    store: Literal["edge", "server"] = EDGE
    url: str | None = None
    collection: str = "products"
    vote: VoteSettings = field(default_factory=VoteSettings)
    format: int = FORMAT

    @property
    def sizes(self) -> dict[str, int]:
        """The width of each named vector."""
        return {name: spec.size for name, spec in self.vectors.items()}

    def at(self, place: Place) -> "Manifest":
        """The same index with its points elsewhere."""
        if isinstance(place, Connection):
            return replace(self, store=SERVER, url=place.url, collection=place.collection)
        return replace(self, store=EDGE, url=None)

    def place(self, folder: Path, api_key: str | None) -> Place:
        """Where the points are."""
        if self.store == SERVER:
            return Connection(str(self.url), self.collection, api_key)
        return folder / EDGE

    def write(self, folder: Path) -> None:
        """Replace index.json in one step, so that a reader sees the old or the new one, whole."""
        text = json.dumps(asdict(self), ensure_ascii=False, indent=2, sort_keys=True) + "\n"
        fresh = folder / f"{FILE}.new"
        with fresh.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(folder / FILE)

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read index.json.

        Raises:
            IndexFolderError: there is none, it is damaged, or a newer Rubrika wrote it.
        """
        path = folder / FILE
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise IndexFolderError(
                f"{folder}: no index here; run `rubrika ingest FILE --index {folder}` first"
            ) from None
        except (ValueError, OSError) as error:
            raise IndexFolderError(f"{path}: not readable ({error}); restore it or ingest into a new folder") from None
        return cls._of(raw, path)

    @classmethod
    def _of(cls, raw: Any, path: Path) -> "Manifest":  # noqa: ANN401 - whatever the file held
        version = raw.get("format") if isinstance(raw, dict) else None
        if isinstance(version, int) and version > FORMAT:
            raise IndexFolderError(
                f"{path}: made by a newer Rubrika (format {version}, this one reads up to {FORMAT}); upgrade Rubrika"
            )
        try:
            return cls(
                vectors={str(name): VectorSpec(**spec) for name, spec in raw["vectors"].items()},
                store=SERVER if raw["store"] == SERVER else EDGE,
                url=raw.get("url"),
                collection=str(raw["collection"]),
                vote=VoteSettings(**raw["vote"]),
                format=int(raw["format"]),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise IndexFolderError(
                f"{path}: not a manifest ({error}); restore it or ingest into a new folder"
            ) from None


def folder_hash(folder: Path) -> str:
    """The sha256 of a folder's files, their names and contents, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
