"""Holds products out: a temporary index of the others, and the hits it has for the held-out ones."""

import re
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from rubrika.errors import InputError
from rubrika.index.folder import Choice, Index
from rubrika.index.location import Location
from rubrika.index.manifest import Calibration, VoteSettings
from rubrika.ingest.ingest import ingest
from rubrika.products.images import PictureFolder
from rubrika.products.product import Category, Selection
from rubrika.products.reader import Reader
from rubrika.products.split import IntArray, Mask, Split, families, group_split, plain_split, stratified_split
from rubrika.progress import Progress
from rubrika.retrieve.calibration import CalibrationSet, unseen_of
from rubrika.retrieve.search import search_products
from rubrika.retrieve.tree import Tree
from rubrika.store.base import Hits
from rubrika.store.connection import Connection
from rubrika.store.open import check_ready, temporary_collection
from rubrika.vote import Votes, fused_vote, mode_vote, vote_over


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: its name, its seconds, and the peak memory of this process meanwhile, if that was measured."""

    name: str
    seconds: float
    peak_gb: float | None


class Timer:
    """Keeps what the stages took: seconds and, if wanted, peak memory."""

    def __init__(self, memory: bool = False) -> None:
        self._memory = memory
        self.stages: list[Stage] = []

    @property
    def seconds(self) -> dict[str, float]:
        """How long each stage took, by its name."""
        return {stage.name: stage.seconds for stage in self.stages}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage; one that fails is not kept."""
        if self._memory:
            # Linux measures the peak anew; elsewhere it is that of the whole process so far.
            with suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")
        started = time.monotonic()
        yield
        peak = round(_peak_memory() / 1e9, 2) if self._memory else None
        self.stages.append(Stage(name, round(time.monotonic() - started, 1), peak))


def _peak_memory() -> int:
    """Peak resident memory in bytes."""
    with suppress(OSError):
        if found := re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()):
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@dataclass(frozen=True)
class Setting:
    """From which products some are held out, and how the index of the others is made."""

    reader: Reader  # labelled products; when it has `group_by`, whole groups are held out
    cache: Path  # a folder for vectors of pretrained encoders
    pictures: PictureFolder | None  # of the products
    choice: Choice | None  # the encoders and the vote
    holdout: float  # the part held out, between 0 and 1
    seed: int  # chooses the rows
    progress: Progress
    timer: Timer = field(default_factory=Timer)
    stratify: bool = False  # hold out the same part of every category
    server: Connection | None = None  # for a temporary collection named after this one; None: a temporary folder


@dataclass(frozen=True)
class Labels:
    """The labels of all n good rows."""

    ids: NDArray[np.uint64]  # (n,)
    categories: IntArray  # (n,)
    groups: list[str]
    tree: Tree


@dataclass(frozen=True)
class Samples:
    """Held-out products to look at."""

    ids: list[int | str]  # of all n, as their owner writes them
    titles: list[str]  # of all n
    learned: IntArray  # how many products of the category of each were learned from, (n,)
    rows: NDArray[np.intp]  # which of the n have a vector here, ascending (m,)
    vectors: NDArray[np.float16]  # theirs, by the main named vector, (m, size)


@dataclass(frozen=True)
class HeldOut:
    """Products that were held out, and the hits of each."""

    split: Split
    truth: IntArray  # their categories, (n,)
    groups: IntArray  # rows with the same number belong together, (n,)
    hits: Mapping[str, Hits]  # by named vector that votes
    unseen: Mapping[str, Mask]  # whether the encoder had not learned from the category of a hit
    vote: VoteSettings  # how the index would vote
    calibration: Calibration  # of the index
    tree: Tree  # of all categories
    classes: int  # how many categories there are in all
    samples: Samples | None  # for a report

    def votes(self, settings: VoteSettings) -> Votes:
        """How an index with these settings votes for each product."""
        return vote_over(self.asked().voting(settings), settings)

    def asked(self) -> CalibrationSet:
        """The products as a calibration set."""
        return CalibrationSet(
            np.arange(len(self.truth), dtype=np.uint64), self.truth, self.groups, self.hits, self.unseen
        )

    def plain_votes(self, top_k: int) -> Votes:
        """The mode of each vector's hits, for its weight."""
        hits = self.first(top_k)
        return fused_vote([(mode_vote(hits[name]), self.vote.weights[name]) for name in hits])

    def first(self, top_k: int) -> dict[str, Hits]:
        """The best `top_k` hits of each vector."""
        return {name: found.first(top_k) for name, found in self.hits.items()}


Visit = Callable[[Index, Labels, IntArray, Split], None]


def hold_out(
    setting: Setting, top_k: int, sampled: int | None = None, visit: Visit | None = None, calibrated: bool = True
) -> HeldOut:
    """Hold products out, make an index of the others that lasts as long as this call, and search it for `top_k` hits.

    For a report, `sampled` says of how many held-out products to keep the vector. `visit` is called with the index, all
    labels, the groups of all rows (n,) and the split, before classification.
    """
    reader, seed, timer = setting.reader, setting.seed, setting.timer
    reader.check()
    if setting.server:
        check_ready(setting.server, is_temporary=True)
    with timer.stage("read labels"):
        labels = read_labels(reader, setting.progress)
    ids, categories = labels.ids, labels.categories
    if reader.group_by:
        split = group_split(ids, labels.groups, setting.holdout, seed, reader.group_by)
    elif setting.stratify:
        split = stratified_split(ids, categories, setting.holdout, seed)
    else:
        split = plain_split(ids, setting.holdout, seed)
    groups = families(ids, labels.groups if reader.group_by else None)
    temporary = temporary_collection(setting.server) if setting.server else nullcontext()
    with TemporaryDirectory(prefix="rubrika-evaluate-") as folder, temporary as collection:
        location, rest = Location(Path(folder), collection, setting.cache), Selection(reader, ~split.held_out)
        with timer.stage("learn and ingest"):
            ingest(
                location,
                rest,
                pictures=setting.pictures,
                choice=setting.choice,
                calibrated=calibrated,
                progress=setting.progress,
            )
        with Index.open(location) as index:
            if visit:
                with timer.stage("compare methods"):
                    visit(index, labels, groups, split)
            with timer.stage("classify"):
                hits, samples = _classify(index, setting, labels, split.held_out, top_k, sampled)
            vote, calibration, unseen = index.manifest.vote, index.manifest.calibration, unseen_of(hits, index.seen)
    truth, groups, classes = categories[split.held_out], groups[split.held_out], len(np.unique(categories))
    return HeldOut(split, truth, groups, hits, unseen, vote, calibration, labels.tree, classes, samples)


def read_labels(reader: Reader, progress: Progress) -> Labels:
    """Read the labels alone, keeping no text."""
    ids, categories, groups = list[int](), list[Category](), list[str]()
    with progress.stage("reading labels", len(reader)) as advance:
        for batch in reader:
            ids += [product.id for product in batch.products]
            categories += [product.category for product in batch.products if product.category]
            groups += [product.group for product in batch.products]
            advance(batch.rows)
    if len(ids) < 2:
        raise InputError(f"{reader.files[0]}: {len(ids)} readable rows; at least 2 are needed to hold one out")
    numbers = np.array([category.id for category in categories], np.int64)
    return Labels(np.array(ids, np.uint64), numbers, groups, Tree(categories))


def _classify(
    index: Index, setting: Setting, labels: Labels, held_out: Mask, top_k: int, sampled: int | None
) -> tuple[dict[str, Hits], Samples | None]:
    """The hits of the held-out products by named vector, and samples with the vectors of `sampled` of them."""
    main, pictures = next(iter(index.manifest.vote.weights)), setting.pictures
    all_hits, ids, titles = list[Mapping[str, Hits]](), list[int | str](), list[str]()
    rows = [np.zeros(0, np.intp)]
    vectors = [np.zeros((0, index.manifest.sizes[main]), np.float16)]
    products = Selection(setting.reader, held_out)
    drawn = np.zeros(len(products), bool)
    drawn[np.random.default_rng(setting.seed).permutation(len(drawn))[: sampled or 0]] = True
    with setting.progress.stage("classifying held-out products", len(products)) as advance:
        for found in search_products(index, products, pictures, top_k):
            all_hits.append(found.hits)
            batch, first = found.batch.products, len(ids)
            ids += [product.own_id for product in batch]
            titles += [product.title for product in batch] if sampled is not None else []
            places = np.flatnonzero(drawn[first : len(ids)])
            if len(places):
                encoded = index.encoders.encode([batch[place] for place in places], pictures, [main]).vectors[main]
                present = encoded.any(axis=1)
                rows.append(first + places[present])
                vectors.append(encoded[present].astype(np.float16))
            advance(found.batch.rows)
    joined = {name: Hits.joined([hits[name] for hits in all_hits]) for name in index.manifest.vote.weights}
    if sampled is None:
        return joined, None
    code = np.unique(labels.categories, return_inverse=True)[1]
    learned = np.bincount(code[~held_out], minlength=code.max() + 1)[code[held_out]]
    return joined, Samples(ids, titles, learned, np.concatenate(rows), np.concatenate(vectors))
