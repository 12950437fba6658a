"""index.json: what an index is made of, how it votes, how it is calibrated, and where its files lie."""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

from rubrika.encode.text import Backend
from rubrika.errors import IndexFolderError
from rubrika.files import sync
from rubrika.store.connection import Connection, SearchOptions
from rubrika.store.open import Place

MANIFEST = "index.json"
LOCK = "lock"
_EDGE, _ENCODERS = "edge", "encoders"
# What Rubrika itself puts into an index folder; an interrupted run may leave some of it.
_OURS = re.compile(rf"(?:{_EDGE}|{_ENCODERS})(?:-\d+)?|{re.escape(MANIFEST)}(?:\.new)?|{LOCK}")


def edge_folder(folder: Path, generation: int = 1) -> Path:
    """Where the embedded store has its points."""
    return folder / _numbered(_EDGE, generation)


def encoder_folder(folder: Path, vector: str, generation: int = 1) -> Path:
    """Where the learned encoder of a named vector keeps its files."""
    return folder / _numbered(_ENCODERS, generation) / vector


def collection_note(folder: Path, generation: int) -> Path:
    """Where the name of a generation's collection is kept before it is made, so that one never finished is known."""
    return folder / _numbered(_ENCODERS, generation) / "collection"


def other_generations(folder: Path, generation: int) -> list[Path]:
    """Folders of points and encoders that are not of this generation: superseded, or never finished."""
    current = {_numbered(name, generation) for name in (_EDGE, _ENCODERS)}
    kept = {*current, MANIFEST, LOCK}
    return sorted(path for path in folder.iterdir() if path.is_dir() and is_ours(path) and path.name not in kept)


def is_ours(path: Path) -> bool:
    """Whether Rubrika gives such a name to what it puts into an index folder."""
    return bool(_OURS.fullmatch(path.name))


def _numbered(name: str, generation: int) -> str:
    return name if generation == 1 else f"{name}-{generation}"


# More errors than this among automatic answers are not aimed at, unless asked for.
MAX_ERROR = 0.02
NEVER = 2.0


def min_confidence(risk: Iterable[tuple[float, float]], max_error: float) -> float:
    """The least confidence from which on no more than `max_error` of the answers are wrong; NEVER when there is none.

    Args:
        risk: as of a Calibration.
        max_error: a part, 0 … 1.
    """
    return min((confidence for confidence, error in risk if error <= max_error), default=NEVER)


@dataclass(frozen=True)
class Calibration:
    """How evidence becomes confidence, and confidence a decision; see `retrieve.decide`.

    Args:
        weights: of a constant, the evidence for and the evidence against, in the logistic model of being right.
        scores: places on the scale of that model, ascending.
        confidences: how often predictions at these places were right, made monotonic.
        risk: pairs (confidence, share of errors among predictions at least that confident), from sure to unsure.
        new_below: a product whose nearest neighbour is less similar than this looks like no known category.
        rows: on how many held-out products this was fitted; 0: it came with Rubrika.
    """

    weights: tuple[float, float, float]
    scores: tuple[float, ...]
    confidences: tuple[float, ...]
    risk: tuple[tuple[float, float], ...]
    new_below: float
    rows: int = 0

    def auto_from(self, max_error: float = MAX_ERROR) -> float:
        """The least confidence from which on no more than a part of the answers is wrong; NEVER when there is none."""
        return min_confidence(self.risk, max_error)

    @classmethod
    def of(cls, raw: dict[str, Any]) -> "Calibration":
        """Read what JSON has made of one."""
        lists = {name: tuple(raw[name]) for name in ("weights", "scores", "confidences")}
        return cls(**raw | lists | {"risk": tuple((float(one), float(two)) for one, two in raw["risk"])})


# Of text vectors learned from the labels of uhtt-91k/train.parquet: `rubrika tune` gives an index its own.
# fmt: off
BUILT_IN = Calibration(weights=(0.19, 0.6806, -0.5028), scores=(-1.3272, -1.0094, -0.8592, -0.8229, -0.4547, -0.0373,
    0.3052, 0.495, 0.6248, 0.9308, 1.1192, 1.1996, 1.4415, 1.872, 2.1311, 2.2863, 2.4563, 2.6593, 2.847, 2.9972,
    3.1825, 3.4551, 3.6443, 3.7217, 3.8076, 3.858, 3.9999, 4.2711, 4.5929, 4.8413, 5.0317), confidences=(0.001,
    0.2321, 0.25, 0.3333, 0.4818, 0.5238, 0.5971, 0.625, 0.699, 0.7121, 0.7353, 0.7619, 0.7905, 0.7934, 0.8033,
    0.8289, 0.8667, 0.9124, 0.9213, 0.9412, 0.9455, 0.9469, 0.9573, 0.9702, 0.9735, 0.9792, 0.9856, 0.9942, 0.9956,
    0.997, 0.999), risk=((0.9976300001144409, 0.00086), (0.9964200258255005, 0.0018), (0.9780099987983704, 0.00489),
    (0.9459900259971619, 0.00989), (0.8763800263404846, 0.01488), (0.79680997133255, 0.01999), (0.7791900038719177,
    0.0249), (0.7235400080680847, 0.03), (0.6009899973869324, 0.03989), (0.49289000034332275, 0.04998),
    (0.0010000000474974513, 0.06073)), new_below=0.6589, rows=0)
# fmt: on


FORMAT = 1
# Thousands of ingested files are named in less.
MAX_BYTES = 16_000_000
# What `--top-k` allows, and how wide Qdrant's vectors may be.
MAX_TOP_K, MAX_SIZE = 1_000, 65_536
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

    def is_in(self, place: Place) -> bool:
        """Whether the points are in this collection of a server."""
        if self.store != SERVER or not isinstance(place, Connection):
            return False
        return place.collection == self.collection and place.is_on(str(self.url))

    def write(self, folder: Path) -> None:
        """Replace index.json in one step, so that a reader sees the old or the new one, whole."""
        text = json.dumps(asdict(self), ensure_ascii=False, indent=2, sort_keys=True) + "\n"
        fresh = folder / f"{MANIFEST}.new"
        fresh.unlink(missing_ok=True)
        # Never through a link that somebody put there.
        with fresh.open("x", encoding="utf-8") as file:
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
            with path.open("rb") as file:
                text = file.read(MAX_BYTES + 1)
            if len(text) > MAX_BYTES:
                raise ValueError(f"more than {MAX_BYTES // 10**6} MB")
            raw = json.loads(text)
        except FileNotFoundError:
            raise IndexFolderError(
                f"{folder}: no index here; run `rubrika ingest FILE --index {folder}` first"
            ) from None
        except (ValueError, OSError, RecursionError) as error:
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
            found = cls(
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
            _check(found)
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise IndexFolderError(
                f"{path}: not a manifest ({error}); restore it or ingest into a new folder"
            ) from None
        return found


def _check(found: Manifest) -> None:
    """Refuse with a ValueError what would lead out of the folder, or be stumbled over in the middle of the work."""
    names = set(found.vectors)
    vote, calibration, contents = found.vote, found.calibration, found.contents
    sound = {
        "vectors": TEXT in names <= {TEXT, IMAGE, JOINT} and all(map(_is_spec, found.vectors.values())),
        "weights": set() < set(vote.weights) <= names and _are_numbers(vote.weights.values()),
        "top_k": _is_whole(vote.top_k, 1, MAX_TOP_K),
        "vote": _are_numbers((vote.temperature, vote.newcomer_bonus)),
        "calibration": len(calibration.weights) == 3
        and 0 < len(calibration.scores) == len(calibration.confidences)
        and _are_numbers((*calibration.weights, *calibration.scores, *calibration.confidences, calibration.new_below)),
        "search": _are_numbers((found.search.search_effort or 1, found.search.oversampling)),
        "contents": contents.products is None or _is_whole(contents.products, 0),
        "generation": found.generation > 0,
    }
    for name, good in sound.items():
        if not good:
            raise ValueError(f"no valid {name}")


def _is_spec(spec: VectorSpec) -> bool:
    named = isinstance(spec.encoder, str) and isinstance(spec.sha256, str) and spec.backend in get_args(Backend)
    return named and _is_whole(spec.size, 1, MAX_SIZE)


def _is_whole(value: object, least: int, most: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _are_numbers(values: Iterable[object]) -> bool:
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)


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
