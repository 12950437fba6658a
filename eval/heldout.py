"""Holds products out: a temporary index of the others, and what it answers."""

import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rubrika.errors import InputError
from rubrika.eval.split import Split, families, group_split, plain_split, stratified_split
from rubrika.index.folder import Choice, Index
from rubrika.index.location import Location
from rubrika.index.manifest import Calibration, VoteSettings
from rubrika.ingest.ingest import ingest
from rubrika.products.images import PictureFolder
from rubrika.products.product import Category, Product, Products, Selection
from rubrika.products.reader import Reader
from rubrika.progress import Progress
from rubrika.retrieve.search import search_products
from rubrika.retrieve.tree import Tree
from rubrika.store.base import Hits
from rubrika.store.connection import Connection
from rubrika.store.open import temporary_collection

EVERY_SECONDS = 0.02
GIGABYTE = 1e9

_STATM = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: its name, its seconds, and the most memory this process had meanwhile, if that was watched."""

    name: str
    seconds: float
    peak_gb: float | None


class Timer:
    """Keeps what the stages took.

    Args:
        memory: whether to watch memory too, fifty times a second.
    """

    def __init__(self, memory: bool = False) -> None:
        self._memory = memory
        self.stages: list[Stage] = []

    @property
    def seconds(self) -> dict[str, float]:
        """How long each stage took, by its name."""
        return {stage.name: stage.seconds for stage in self.stages}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Timer one stage; one that fails is not kept."""
        sampler = _Sampler() if self._memory else None
        started = time.monotonic()
        try:
            yield
        finally:
            peak = sampler.stop() if sampler else None
        self.stages.append(Stage(name, round(time.monotonic() - started, 1), peak))


class _Sampler:
    """Asks again and again, in a thread of its own, for the resident memory."""

    def __init__(self) -> None:
        self._peak, self._over = 0, Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """The most that was seen, in gigabytes."""
        self._over.set()
        self._thread.join()
        return round(self._peak / GIGABYTE, 2)

    def _run(self) -> None:
        while True:
            self._peak = max(self._peak, _resident())
            if self._over.wait(EVERY_SECONDS):
                return


def _resident() -> int:
    """Resident memory in bytes; where the system does not tell, the most there has been so far."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@dataclass(frozen=True)
class Samples:
    """Held-out products to look at.

    Args:
        ids: of all n, uint64 (n,).
        titles: of all n.
        learned: how many products of the category of each were learned from, int64 (n,).
        rows: which of the n have a vector here, ascending (m,).
        vectors: theirs, by the main named vector, float16 (m, size).
    """

    ids: NDArray[np.uint64]
    titles: list[str]
    learned: NDArray[np.int64]
    rows: NDArray[np.intp]
    vectors: NDArray[np.float16]


class Collector:
    """Collects an exhibit, batch by batch.

    Args:
        total: how many products will come.
        vectors: of how many of them, drawn at random, to keep the vector.
        seed: of the drawing.
    """

    def __init__(self, total: int, vectors: int, seed: int) -> None:
        self._wanted = np.zeros(total, bool)
        self._wanted[np.random.default_rng(seed).permutation(total)[:vectors]] = True
        self._ids: list[int] = []
        self._titles: list[str] = []
        self._rows: list[int] = []
        self._vectors: list[NDArray[np.float16]] = []

    def add(self, index: Index, products: Sequence[Product], pictures: PictureFolder | None) -> None:
        """The next products; those that lack the vector are passed over."""
        first, main = len(self._ids), next(iter(index.manifest.vote.weights))
        self._ids += [product.id for product in products]
        self._titles += [product.title for product in products]
        places = np.flatnonzero(self._wanted[first : first + len(products)])
        if not len(places):
            return
        vectors = index.encoders.encode([products[place] for place in places.tolist()], pictures, [main]).vectors[main]
        there = vectors.any(axis=1)
        self._rows += (first + places[there]).tolist()
        self._vectors.append(vectors[there].astype(np.float16))

    def samples(self, learned: NDArray[np.int64]) -> Samples:
        """All that was collected; `learned` as in Samples."""
        vectors = np.concatenate(self._vectors) if self._vectors else np.zeros((0, 1), np.float16)
        return Samples(np.array(self._ids, np.uint64), self._titles, learned, np.array(self._rows, np.intp), vectors)


@dataclass(frozen=True)
class Labels:
    """What measuring needs to know of all good rows: ids (n,), categories (n,), groups (n), and the tree."""

    ids: NDArray[np.uint64]
    categories: NDArray[np.int64]
    groups: list[str]
    tree: Tree


@dataclass(frozen=True)
class HeldOut:
    """Products that were held out, and the hits of each.

    Args:
        split: which they are.
        truth: their categories, int64 (n,).
        groups: rows with the same number belong together, int64 (n,).
        hits: by named vector that votes.
        vote: how the index would vote.
        calibration: of the index.
        tree: of all categories.
        classes: how many categories there are in all.
        seconds: how long each stage took.
        samples: what a report shows of them, if that was asked for.
    """

    split: Split
    truth: NDArray[np.int64]
    groups: NDArray[np.int64]
    hits: Mapping[str, Hits]
    vote: VoteSettings
    calibration: Calibration
    tree: Tree
    classes: int
    seconds: dict[str, float]
    samples: Samples | None = None

    def first(self, top_k: int) -> dict[str, Hits]:
        """The best `top_k` hits of each vector."""
        return {name: found.first(top_k) for name, found in self.hits.items()}


class Observer(Protocol):
    """Something else that wants to look at held-out products while there is an index of the others."""

    def visit(self, index: Index, labels: Labels, groups: NDArray[np.int64], split: Split) -> None:
        """Look, before the products are classified.

        Args:
            index: of what is not held out.
            labels: of all good rows.
            groups: of all good rows, (n,).
            split: which are held out.
        """


@dataclass(frozen=True, slots=True)
class Holdout:
    """Which products to hold out: what part, chosen by which seed, and whether the same part of every category."""

    part: float = 0.1
    seed: int = 0
    stratify: bool = False


def hold_out(
    reader: Reader,
    holdout: Holdout,
    top_k: int,
    *,
    cache: Path,
    pictures: PictureFolder | None,
    choice: Choice | None,
    server: Connection | None,
    progress: Progress,
    sampled: int | None = None,
    timer: Timer | None = None,
    observer: Observer | None = None,
) -> HeldOut:
    """Hold products out, make an index of the others that lasts as long as this call, and search it.

    Args:
        reader: labelled products; when it has `group_by`, whole groups are held out.
        holdout: which products.
        top_k: how many hits to find.
        cache: a folder for vectors of pretrained encoders.
        pictures: where the products' pictures are, if anywhere.
        choice: the encoders and the vote.
        server: where the index has its points meanwhile, in a collection of its own named after this one, when not in
            a folder.
        progress: where to show how far it is.
        sampled: for a report, of how many held-out products to keep the vector; None: no report.
        timer: keeps what the stages take.
        observer: looks at the index too.

    Raises:
        InputError: a file cannot be read, or has too few good rows.
        StoreError: the server fails.
    """
    reader.check()
    timer = timer or Timer()
    with timer.stage("read labels"):
        labels = read_labels(reader, progress)
    split = _split(labels, reader.group_by, holdout)
    truth = labels.categories[split.held_out]
    groups = families(labels.ids, labels.groups if reader.group_by else None)
    collector = None if sampled is None else Collector(len(truth), sampled, holdout.seed)
    own = temporary_collection(server) if server else nullcontext()
    with TemporaryDirectory(prefix="rubrika-evaluate-") as name, own as place:
        folder, rest = Path(name), Selection(reader, ~split.held_out)
        with timer.stage("learn and ingest"):
            ingest(Location(folder, place, cache), rest, pictures=pictures, choice=choice, progress=progress)
        with Index.open(Location(folder, place, cache)) as index:
            if observer:
                observer.visit(index, labels, groups, split)
            with timer.stage("classify"):
                hits = _hits(index, Selection(reader, split.held_out), pictures, top_k, progress, collector)
            manifest = index.manifest
    return HeldOut(
        split=split,
        truth=truth,
        groups=groups[split.held_out],
        hits=hits,
        vote=manifest.vote,
        calibration=manifest.calibration,
        tree=labels.tree,
        classes=len(np.unique(labels.categories)),
        seconds=timer.seconds,
        samples=collector.samples(_learned(labels, split)) if collector else None,
    )


def read_labels(reader: Reader, progress: Progress) -> Labels:
    """Read the labels alone, keeping no text."""
    ids: list[int] = []
    categories: list[Category] = []
    groups: list[str] = []
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


def _split(labels: Labels, group_by: str | None, holdout: Holdout) -> Split:
    if group_by:
        return group_split(labels.ids, labels.groups, holdout.part, holdout.seed, group_by)
    if holdout.stratify:
        return stratified_split(labels.ids, labels.categories, holdout.part, holdout.seed)
    return plain_split(labels.ids, holdout.part, holdout.seed)


def _learned(labels: Labels, split: Split) -> NDArray[np.int64]:
    """How many products of the category of each held-out one are not held out."""
    code = np.unique(labels.categories, return_inverse=True)[1]
    learned: NDArray[np.int64] = np.bincount(code[~split.held_out], minlength=code.max() + 1)[code[split.held_out]]
    return learned


def _hits(
    index: Index,
    products: Products,
    pictures: PictureFolder | None,
    top_k: int,
    progress: Progress,
    collector: Collector | None,
) -> dict[str, Hits]:
    parts: dict[str, list[Hits]] = {name: [] for name in index.manifest.vote.weights}
    with progress.stage("classifying held-out products", len(products)) as advance:
        for found in search_products(index, products, pictures, top_k):
            for name, hits in found.hits.items():
                parts[name].append(hits)
            if collector:
                collector.add(index, found.batch.products, pictures)
            advance(found.batch.rows)
    return {name: Hits.joined(each) for name, each in parts.items()}
