"""Where an index is, its files, and its points: in the folder, or on a server that may or may not get the API key."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from rubrika.errors import StoreError
from rubrika.index.manifest import MANIFEST, SERVER, Manifest
from rubrika.store.connection import Connection, Transport
from rubrika.store.open import StoreLocation

CACHE = Path("~/.cache/rubrika")


@dataclass(frozen=True)
class Location:
    """Where an index is, and how it is reached."""

    folder: Path
    server: Connection | None = None  # where its points are, when not where its manifest says
    cache: Path = field(default_factory=CACHE.expanduser)  # for vectors of pretrained encoders
    api_key: str | None = field(default=None, repr=False)  # of the server that the manifest names
    transport: Transport = field(default_factory=Transport)  # to that server

    def adopting(self, adopt: bool) -> "Location":
        """The same, whose empty collection may be taken up; see `Connection`."""
        return replace(self, server=replace(self.server, adopt=adopt)) if self.server else self


def store_location(manifest: Manifest, at: Location, environment: Mapping[str, str]) -> StoreLocation:
    """Where to look for the points of an index: on the server that `at` names, if any, else as `source_of` says."""
    if at.server is None:
        return source_of(manifest, at, environment)
    named = at.server.assumed or at.server.collection == manifest.collection
    if manifest.store == SERVER and named and at.server.is_on(str(manifest.url)):
        return replace(at.server, collection=manifest.behind or manifest.collection, fixed=True)
    return at.server


def source_of(manifest: Manifest, at: Location, environment: Mapping[str, str]) -> StoreLocation:
    """Where the manifest says that the points are, whatever server `at` names.

    Somebody else may have made the folder and chosen the server: the key goes to this machine, or to a server that the
    user names too, in `at` or as QDRANT_URL in the environment. For any other it is a StoreError.
    """
    if manifest.store != SERVER:
        return edge_folder(at.folder, manifest.generation)
    recorded = Connection(
        str(manifest.url), manifest.behind or manifest.collection, at.api_key, fixed=True, transport=at.transport
    )
    named = (at.server.url if at.server else None, environment.get("QDRANT_URL"))
    if at.api_key and not recorded.is_loopback and not any(recorded.is_on(url) for url in named if url):
        raise StoreError(
            f"{at.folder}: its points are on {recorded.url}, which only the index itself names, so your API key is not "
            f"sent there; if it is your server, set QDRANT_URL={recorded.url} (or give it as `url`)"
        )
    return recorded


LOCK, CATEGORIES = "lock", "categories.json"
COPY = "copy"  # marks a folder of the cache, with what a server has of an index
_EDGE, _ENCODERS = "edge", "encoders"
# What Rubrika itself puts into an index folder; an interrupted run may leave some of it.
_FILES = "|".join(map(re.escape, (MANIFEST, CATEGORIES)))
_OURS = re.compile(rf"(?:{_EDGE}|{_ENCODERS})(?:-\d+)?|(?:{_FILES})(?:\.new)?|{LOCK}")


def edge_folder(folder: Path, generation: int = 1) -> Path:
    """Where the points of an embedded store are."""
    return folder / _numbered(_EDGE, generation)


def encoder_folder(folder: Path, vector: str, generation: int = 1) -> Path:
    """Where the files of a vector's learned encoder are."""
    return folder / _numbered(_ENCODERS, generation) / vector


def other_generations(folder: Path, generation: int) -> list[Path]:
    """Folders of points and encoders of other generations: superseded, or never finished."""
    kept = {_numbered(_EDGE, generation), _numbered(_ENCODERS, generation), MANIFEST, LOCK}
    return sorted(path for path in folder.iterdir() if path.is_dir() and is_ours(path) and path.name not in kept)


def is_ours(path: Path) -> bool:
    """Whether a file or folder of an index has a name that Rubrika gives."""
    return bool(_OURS.fullmatch(path.name))


def _numbered(name: str, generation: int) -> str:
    return name if generation == 1 else f"{name}-{generation}"


def folder_hash(folder: Path) -> str:
    """The sha256 of a folder's files, their names and contents, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
