"""`index.json`, the description of an index: what made its vectors, where they are, how hits vote."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rubrika.errors import IndexFolderError

FORMAT = 1
FILE = "index.json"


@dataclass(frozen=True)
class VectorSpec:
    """One named vector: the encoder that makes it, its width, and the hash of the encoder's files."""

    encoder: str
    size: int
    sha256: str


@dataclass(frozen=True)
class VoteSettings:
    """How hits become a category: see `retrieve.vote`."""

    vector: str = "text"
    top_k: int = 10
    temperature: float = 60.0


@dataclass(frozen=True)
class Manifest:
    """Everything that must be known to open an index."""

    vectors: dict[str, VectorSpec]
    store: str = "edge"
    collection: str = "products"
    vote: VoteSettings = field(default_factory=VoteSettings)
    format: int = FORMAT

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
                store=str(raw["store"]),
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
