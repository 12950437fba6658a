"""`index.json`, the description of an index: what made its vectors, where they are, how hits vote."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from rubrika.encode.transformer import Backend
from rubrika.errors import IndexFolderError
from rubrika.index.calibration import BUILT_IN, Calibration
from rubrika.index.disk import sync
from rubrika.index.layout import MANIFEST, edge_folder
from rubrika.store.connection import Connection, SearchOptions
from rubrika.store.place import Place

FORMAT = 1
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
        newcomer_bonus: what is added to the similarity of hits whose category the encoder has never seen.
    """

    weights: dict[str, float] = field(default_factory=lambda: {TEXT: 1.0})
    top_k: int = 10
    temperature: float = 60.0
    newcomer_bonus: float = 0.05


@dataclass(frozen=True)
class Contents:
    """What has been ingested.

    Args:
        products: how many points there were when the last change of the index ended; None while one is under way, or
            when it was interrupted.
        sources: the files they came from, the latest last, to learn anew and to repair from.
        fingerprint: of the last change, when it was an ingest that set no row aside.
    """

    products: int | None = None
    sources: tuple[str, ...] = ()
    fingerprint: str | None = None

    def with_sources(self, files: Sequence[Path]) -> "Contents":
        """Files ingested now are the latest."""
        fresh = [str(file.absolute()) for file in files]
        return replace(self, sources=(*(file for file in self.sources if file not in fresh), *dict.fromkeys(fresh)))


@dataclass(frozen=True)
class Manifest:
    """Everything that must be known to open an index.

    Args:
        vectors: its named vectors.
        store: `edge`, a shard in the index folder, or `server`.
        url: of the server; its key is never written down.
        collection: on the server.
        search: how the server searches.
        vote: how hits become a category.
        calibration: how far its predictions can be relied on.
        contents: what has been ingested.
        generation: which folders of points and learned encoders are the index's; see `layout`.
        format: the version of this file.
    """

    vectors: dict[str, VectorSpec]
    store: Literal["edge", "server"] = EDGE
    url: str | None = None
    collection: str = "products"
    search: SearchOptions = field(default_factory=SearchOptions)
    vote: VoteSettings = field(default_factory=VoteSettings)
    calibration: Calibration = BUILT_IN
    contents: Contents = field(default_factory=Contents)
    generation: int = 1
    format: int = FORMAT

    @property
    def sizes(self) -> dict[str, int]:
        """The width of each named vector."""
        return {name: spec.size for name, spec in self.vectors.items()}

    def at(self, place: Place, search: SearchOptions | None = None) -> "Manifest":
        """The same index with its points elsewhere, searched as `search` says."""
        moved = replace(self, search=search or SearchOptions())
        if isinstance(place, Connection):
            return replace(moved, store=SERVER, url=place.url, collection=place.collection)
        return replace(moved, store=EDGE, url=None)

    def place(self, folder: Path, api_key: str | None) -> Place:
        """Where the points are."""
        if self.store == SERVER:
            return Connection(str(self.url), self.collection, api_key)
        return edge_folder(folder, self.generation)

    def write(self, folder: Path) -> None:
        """Replace index.json in one step, so that a reader sees the old or the new one, whole."""
        text = json.dumps(asdict(self), ensure_ascii=False, indent=2, sort_keys=True) + "\n"
        fresh = folder / f"{MANIFEST}.new"
        with fresh.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(folder / MANIFEST)
        # What it supersedes may be deleted next.
        sync(folder)

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read index.json.

        Raises:
            IndexFolderError: there is none, it is damaged, or a newer Rubrika wrote it.
        """
        path = folder / MANIFEST
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
                search=SearchOptions(**raw.get("search", {})),
                vote=VoteSettings(**raw["vote"]),
                calibration=Calibration.of(raw["calibration"]) if "calibration" in raw else BUILT_IN,
                contents=_contents(raw.get("contents", {})),
                generation=int(raw.get("generation", 1)),
                format=int(raw["format"]),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise IndexFolderError(
                f"{path}: not a manifest ({error}); restore it or ingest into a new folder"
            ) from None


def _contents(raw: dict[str, Any]) -> Contents:
    return Contents(**raw | {"sources": tuple(map(str, raw.get("sources", ())))})


def folder_hash(folder: Path) -> str:
    """The sha256 of a folder's files, their names and contents, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
