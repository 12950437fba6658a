"""index.json: what an index is made of, how it votes, how it is calibrated, and what has been ingested."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from rubrika.encode.base import schema, validated
from rubrika.encode.text import Backend
from rubrika.errors import IndexFolderError
from rubrika.files import read_bounded, write_in_one_step
from rubrika.products.columns import Columns
from rubrika.store.connection import Connection, Recall, SearchOptions
from rubrika.store.open import StoreLocation

MANIFEST = "index.json"
# Of format 2 are indexes whose points have no labels; the next ingest gives them some.
FORMAT, NO_LABELS = 3, 2
# Thousands of ingested files are named in less.
MAX_BYTES = 16_000_000
# How many hits may vote, and how wide Qdrant's vectors may be.
MAX_TOP_K, MAX_SIZE = 1_000, 65_536
TEXT, IMAGE, JOINT = "text", "image", "joint"
EDGE: Final = "edge"
SERVER: Final = "server"
# What index.json calls a setting whose name has changed since.
_IN_JSON = {"hnsw_ef": "search_effort"}
# What must be in it; the rest has defaults.
_REQUIRED = {"vectors", "store", "collection", "vote", "format"}


@dataclass(frozen=True)
class Fit:
    """How evidence becomes a confidence, for leaves or for one level of the tree; see `retrieve.confidence`."""

    # Of a constant, the evidence for and the evidence against, in the logistic model of being right.
    weights: tuple[float, float, float]
    scores: tuple[float, ...]  # points on the scale of that model, ascending
    confidences: tuple[float, ...]  # how often predictions at these scores were right, made monotonic
    # Of products asked as if they were not stored: (confidence, how many are at least so sure, how many of these are
    # wrong), from sure to unsure; see `retrieve.guarantee`.
    curve: tuple[tuple[float, int, int], ...] = ()
    design: float = 1.0  # so many of these products tell as much as one would alone, since near duplicates err together


# Of text vectors learned from the labels of uhtt-91k/train.parquet: an index too small to be calibrated has only this.
# fmt: off
BUILT_IN = Fit(weights=(0.19, 0.6806, -0.5028), scores=(-1.3272, -1.0094, -0.8592, -0.8229, -0.4547, -0.0373,
    0.3052, 0.495, 0.6248, 0.9308, 1.1192, 1.1996, 1.4415, 1.872, 2.1311, 2.2863, 2.4563, 2.6593, 2.847, 2.9972,
    3.1825, 3.4551, 3.6443, 3.7217, 3.8076, 3.858, 3.9999, 4.2711, 4.5929, 4.8413, 5.0317), confidences=(0.001,
    0.2321, 0.25, 0.3333, 0.4818, 0.5238, 0.5971, 0.625, 0.699, 0.7121, 0.7353, 0.7619, 0.7905, 0.7934, 0.8033,
    0.8289, 0.8667, 0.9124, 0.9213, 0.9412, 0.9455, 0.9469, 0.9573, 0.9702, 0.9735, 0.9792, 0.9856, 0.9942, 0.9956,
    0.997, 0.999))
# fmt: on


@dataclass(frozen=True)
class Calibration:
    """How far an index can be trusted: measured on its own products, or, while `rows` is 0, not at all."""

    leaf: Fit = BUILT_IN
    levels: tuple[Fit, ...] = ()  # of the tree, from the top
    # Of those products: (similarity of the nearest neighbour, how many have a less similar one), ascending.
    similarities: tuple[tuple[float, int], ...] = ()
    rows: int = 0  # how many products were asked
    groups: int = 0  # how many groups of near duplicates they are
    products: int = 0  # how many the index had
    how: Literal["built in", "cross-fitted", "held out"] = "built in"
    at: str | None = None  # when, in UTC

    def level(self, level: int) -> Fit:
        """The fit of a level, counted from 1 at the top; one that was not measured promises nothing."""
        return self.levels[level - 1] if level <= len(self.levels) else replace(self.leaf, curve=())


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
    unseen_reach: float = 0.8  # how many times farther, plus one, a hit of a category may be that no encoder learned
    name_reach: float | None = 0.6  # the same for the name of a category without products; None: it has no vote

    def to_dict(self) -> dict[str, Any]:
        """The same in plain values, named as in index.json."""
        return dict(Manifest({}, vote=self).to_dict()["vote"])


@dataclass(frozen=True)
class Tables:
    """How the tables that were ingested differ from docs/data.md, for those that come later."""

    columns: dict[str, list[str]] = field(default_factory=dict)  # by what they hold
    separator: str | None = None  # what stands between the levels of a category's path
    text_ids: bool = False  # whether some products have another id than the number that the store knows them by

    def as_columns(self) -> Columns:
        """For the reader of a table that comes later."""
        return Columns(separator=self.separator, remembered={name: tuple(each) for name, each in self.columns.items()})


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
    collection: str = "products"  # by the name that people use
    behind: str | None = None  # what it is called itself, where that name is an alias; see `versions`
    search: SearchOptions = field(default_factory=SearchOptions)  # on a server, until `recall` is measured
    recall: dict[str, Recall] = field(default_factory=dict)  # by named vector: how it is searched, and what that finds
    vote: VoteSettings = field(default_factory=VoteSettings)
    calibration: Calibration = field(default_factory=Calibration)
    # The part of the first products that learned encoders have not learned from; None: an earlier version's index.
    held_out: float | None = None
    contents: Contents = field(default_factory=Contents)
    tables: Tables = field(default_factory=Tables)
    generation: int = 1  # which folders of points and learned encoders are the index's; see `location`
    published: bool = False  # whether the server has all of the index, see `published`
    previous: str | None = None  # the collection of the encoder before, to go back to
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
        name: str | None = None,
    ) -> "Manifest":
        """The same index with its points elsewhere, searched as `search` and `recall` say; `name` is an alias there."""
        moved = replace(self, search=search or SearchOptions(), recall=dict(recall or {}), previous=None)
        if isinstance(location, Connection):
            behind = location.collection if name not in (None, location.collection) else None
            return replace(moved, store=SERVER, url=location.url, collection=name or location.collection, behind=behind)
        return replace(moved, store=EDGE, url=None, behind=None, published=False)

    def is_in(self, location: StoreLocation) -> bool:
        """Whether the points are in this collection of a server."""
        server = location if isinstance(location, Connection) and self.store == SERVER else None
        names = (self.collection, self.behind)
        return server is not None and server.collection in names and server.is_on(str(self.url))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, named as in index.json; what few have, as a pooling, stands only there."""
        found = dict(schema(Manifest).dump_python(self, mode="json", by_alias=True))
        few = {"tables": Tables(), "behind": None, "published": False, "previous": None}
        for name in [name for name, none in few.items() if getattr(self, name) == none]:
            del found[name]
        for spec in found["vectors"].values():
            if spec["pooling"] is None:
                del spec["pooling"]
        return found

    def write(self, folder: Path) -> None:
        """Replace index.json in one step, so that a reader sees the old or the new one, whole."""
        text = json.dumps(self.to_dict(), ensure_ascii=False, indent=2, sort_keys=True) + "\n"
        write_in_one_step(folder / MANIFEST, text)

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read index.json; IndexFolderError when there is none, it is damaged, or a newer Rubrika wrote it."""
        path, advice = folder / MANIFEST, "restore it or ingest into a new folder"
        try:
            content = read_bounded(path, MAX_BYTES)
        except FileNotFoundError:
            advice = f"run `rubrika ingest FILE --index {folder}` first"
            raise IndexFolderError(f"{folder}: no index here; {advice}") from None
        except NotADirectoryError:
            raise IndexFolderError(f"{folder}: a file, not the folder of an index; name that folder") from None
        except (ValueError, OSError) as error:
            raise IndexFolderError(f"{path}: not readable ({error}); {advice}") from None
        try:
            return _parsed(content)
        except IndexFolderError as error:
            raise IndexFolderError(f"{path}: {error}") from None
        except (ValueError, RecursionError) as error:
            raise IndexFolderError(f"{path}: not a manifest ({error}); {advice}") from None


# A service reads the file with every request, so as to see what others changed; the same bytes are read once.
@lru_cache(maxsize=8)
def _parsed(content: bytes) -> Manifest:
    raw = json.loads(content)
    version = raw.get("format") if isinstance(raw, dict) else None
    if isinstance(version, int) and version > FORMAT:
        newer = f"made by a newer Rubrika (format {version}, this one reads up to {FORMAT}); upgrade Rubrika"
        raise IndexFolderError(newer)
    return _validated(raw)


def _validated(raw: object) -> Manifest:
    """Refuse with a ValueError what would lead out of the folder, or fail in the middle of the work."""
    if not isinstance(raw, dict) or not raw.keys() >= _REQUIRED:
        raise ValueError(f"it must have {', '.join(sorted(_REQUIRED))}")
    # Other names may be a later Rubrika's, and are passed over.
    known = {each.name: raw[each.name] for each in fields(Manifest) if each.name in raw}
    if raw["format"] == 1:
        # Its calibration was another shop's, or a point without a bound: it promises nothing.
        known = {name: value for name, value in known.items() if name != "calibration"} | {"format": NO_LABELS}
        if isinstance(known["vote"], dict):
            known["vote"] = {name: value for name, value in known["vote"].items() if name != "newcomer_bonus"}
    manifest = validated(Manifest, json.dumps(known))
    names, vote, calibration = manifest.vectors.keys(), manifest.vote, manifest.calibration
    fits = (calibration.leaf, *calibration.levels)
    valid = {
        "vectors": {TEXT} <= names <= {TEXT, IMAGE, JOINT},
        "size": all(0 < size <= MAX_SIZE for size in manifest.sizes.values()),
        "weights": set() < vote.weights.keys() <= names,
        "recall": manifest.recall.keys() <= names,
        "top_k": 0 < vote.top_k <= MAX_TOP_K,
        "calibration": all(0 < len(fit.scores) == len(fit.confidences) for fit in fits),
        "contents": (manifest.contents.products or 0) >= 0,
        "generation": manifest.generation > 0,
    }
    for name in (name for name, is_valid in valid.items() if not is_valid):
        raise ValueError(f"no valid {name}")
    return manifest
