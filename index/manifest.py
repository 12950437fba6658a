"""index.json: what an index is made of, how it votes, how it is calibrated, and what has been ingested."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from rubrika.encode.base import schema, validated
from rubrika.encode.text import Backend
from rubrika.errors import IndexFolderError
from rubrika.files import read_bounded, sync
from rubrika.store.connection import Connection, Recall, SearchOptions
from rubrika.store.open import StoreLocation

MANIFEST = "index.json"
FORMAT = 1
# Thousands of ingested files are named in less.
MAX_BYTES = 16_000_000
# How many hits may vote, and how wide Qdrant's vectors may be.
MAX_TOP_K, MAX_SIZE = 1_000, 65_536
TEXT, IMAGE, JOINT = "text", "image", "joint"
EDGE: Final = "edge"
SERVER: Final = "server"
# What index.json calls a setting whose name has changed since.
_IN_JSON = {"unseen_bonus": "newcomer_bonus", "hnsw_ef": "search_effort"}
# What must be in it; the rest has defaults.
_REQUIRED = {"vectors", "store", "collection", "vote", "format"}
# The maximum error rate among automatic decisions, unless another is chosen; no confidence is as high as NEVER.
MAX_ERROR, NEVER = 0.02, 2.0


def min_confidence(risk: Iterable[tuple[float, float]], max_error: float) -> float:
    """The confidence from which on at most `max_error` (0 … 1) of predictions are wrong, or NEVER; see Calibration."""
    return min((confidence for confidence, error in risk if error <= max_error), default=NEVER)


@dataclass(frozen=True)
class Calibration:
    """How evidence becomes confidence, and confidence a decision; see `retrieve.confidence`."""

    # Of a constant, the evidence for and the evidence against, in the logistic model of being right.
    weights: tuple[float, float, float]
    scores: tuple[float, ...]  # points on the scale of that model, ascending
    confidences: tuple[float, ...]  # how often predictions at these scores were right, made monotonic
    # Pairs (confidence, share of errors among predictions at least that confident), from sure to unsure.
    risk: tuple[tuple[float, float], ...]
    new_below: float  # a product whose nearest neighbour is less similar than this looks like no known category
    rows: int = 0  # on how many held-out products this was fitted; 0 is the calibration that comes with Rubrika

    def auto_from(self, max_error: float = MAX_ERROR) -> float:
        """The confidence from which on at most `max_error` of predictions are wrong; NEVER when there is none."""
        return min_confidence(self.risk, max_error)


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


@dataclass(frozen=True)
class VectorSpec:
    """One named vector: its encoder, its width, and a hash of all that determines what the encoder makes."""

    encoder: str
    size: int
    sha256: str
    backend: Backend = "torch"
    pooling: str | None = None  # how a pretrained text encoder makes a vector of those of its tokens


@dataclass(frozen=True)
class VoteSettings:
    """How hits become a category: see `vote`."""

    # Of each named vector that is searched, how much its vote counts; the first is the main one.
    weights: dict[str, float] = field(default_factory=lambda: {TEXT: 1.0})
    top_k: int = 10  # how many hits of each vector vote
    temperature: float = 60.0  # how much more near hits count than far ones
    unseen_bonus: float = 0.05  # added to the similarity of hits whose category the encoder has not learned

    def to_dict(self) -> dict[str, Any]:
        """The same in plain values, named as in index.json."""
        return dict(Manifest({}, vote=self).to_dict()["vote"])


@dataclass(frozen=True)
class Contents:
    """What has been ingested."""

    # How many points the last change left; None while one is under way, or when it was interrupted.
    products: int | None = None
    # The files they came from, the latest last, to learn again and to repair from.
    sources: tuple[str, ...] = ()
    # Of the last change, when it was an ingest that rejected no row.
    fingerprint: str | None = None

    def with_sources(self, files: Sequence[Path]) -> "Contents":
        """Files ingested now are the latest."""
        latest = dict.fromkeys(str(file.absolute()) for file in files)
        return replace(self, sources=(*(file for file in self.sources if file not in latest), *latest))


@dataclass(frozen=True)
class Manifest:
    """Everything that must be known to open an index."""

    vectors: dict[str, VectorSpec]
    store: Literal["edge", "server"] = EDGE  # a shard in the index folder, or a collection on a server
    url: str | None = None  # of the server; its key is never written down
    collection: str = "products"
    search: SearchOptions = field(default_factory=SearchOptions)  # on a server, until `recall` is measured
    recall: dict[str, Recall] = field(default_factory=dict)  # by named vector: how it is searched, and what that finds
    vote: VoteSettings = field(default_factory=VoteSettings)
    calibration: Calibration = BUILT_IN
    contents: Contents = field(default_factory=Contents)
    generation: int = 1  # which folders of points and learned encoders are the index's; see `location`
    format: int = FORMAT  # the version of this file

    # Of this class and those in it: no value of another type, no infinity, no foreign name.
    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "strict": True,
        "allow_inf_nan": False,
        "extra": "forbid",
        "alias_generator": lambda name: _IN_JSON.get(name, name),
    }

    @property
    def sizes(self) -> dict[str, int]:
        """The width of each named vector."""
        return {name: spec.size for name, spec in self.vectors.items()}

    def at(
        self,
        location: StoreLocation,
        search: SearchOptions | None = None,
        recall: Mapping[str, Recall] | None = None,
    ) -> "Manifest":
        """The same index with its points elsewhere, searched as `search` and `recall` say."""
        moved = replace(self, search=search or SearchOptions(), recall=dict(recall or {}))
        if isinstance(location, Connection):
            return replace(moved, store=SERVER, url=location.url, collection=location.collection)
        return replace(moved, store=EDGE, url=None)

    def is_in(self, location: StoreLocation) -> bool:
        """Whether the points are in this collection of a server."""
        server = location if isinstance(location, Connection) and self.store == SERVER else None
        return server is not None and server.collection == self.collection and server.is_on(str(self.url))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, named as in index.json; a pooling stands only where there is one."""
        found = dict(schema(Manifest).dump_python(self, mode="json", by_alias=True))
        for spec in found["vectors"].values():
            if spec["pooling"] is None:
                del spec["pooling"]
        return found

    def write(self, folder: Path) -> None:
        """Replace index.json in one step, so that a reader sees the old or the new one, whole."""
        text = json.dumps(self.to_dict(), ensure_ascii=False, indent=2, sort_keys=True) + "\n"
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
        """Read index.json; IndexFolderError when there is none, it is damaged, or a newer Rubrika wrote it."""
        path, advice = folder / MANIFEST, "restore it or ingest into a new folder"
        try:
            raw = json.loads(read_bounded(path, MAX_BYTES))
        except FileNotFoundError:
            advice = f"run `rubrika ingest FILE --index {folder}` first"
            raise IndexFolderError(f"{folder}: no index here; {advice}") from None
        except (ValueError, OSError, RecursionError) as error:
            raise IndexFolderError(f"{path}: not readable ({error}); {advice}") from None
        version = raw.get("format") if isinstance(raw, dict) else None
        if isinstance(version, int) and version > FORMAT:
            newer = f"made by a newer Rubrika (format {version}, this one reads up to {FORMAT}); upgrade Rubrika"
            raise IndexFolderError(f"{path}: {newer}")
        try:
            return _validated(raw)
        except (ValueError, RecursionError) as error:
            raise IndexFolderError(f"{path}: not a manifest ({error}); {advice}") from None


def _validated(raw: object) -> Manifest:
    """Refuse with a ValueError what would lead out of the folder, or fail in the middle of the work."""
    if not isinstance(raw, dict) or not raw.keys() >= _REQUIRED:
        raise ValueError(f"it must have {', '.join(sorted(_REQUIRED))}")
    # Other names may be a later Rubrika's, and are passed over.
    known = {each.name: raw[each.name] for each in fields(Manifest) if each.name in raw}
    manifest = validated(Manifest, json.dumps(known))
    names, vote, calibration = manifest.vectors.keys(), manifest.vote, manifest.calibration
    valid = {
        "vectors": {TEXT} <= names <= {TEXT, IMAGE, JOINT},
        "size": all(0 < size <= MAX_SIZE for size in manifest.sizes.values()),
        "weights": set() < vote.weights.keys() <= names,
        "recall": manifest.recall.keys() <= names,
        "top_k": 0 < vote.top_k <= MAX_TOP_K,
        "calibration": 0 < len(calibration.scores) == len(calibration.confidences),
        "contents": (manifest.contents.products or 0) >= 0,
        "generation": manifest.generation > 0,
    }
    for name in (name for name, is_valid in valid.items() if not is_valid):
        raise ValueError(f"no valid {name}")
    return manifest
