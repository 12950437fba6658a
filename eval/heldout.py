"""Holds products out, learns from the others, and finds neighbours of those held out: what all measuring rests on."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rubrika.errors import InputError
from rubrika.eval.exhibit import Collector, Exhibit
from rubrika.eval.split import Split, families, group_split, plain_split, stratified_split
from rubrika.eval.watch import Watch
from rubrika.index.calibration import Calibration
from rubrika.index.create import Choice
from rubrika.index.index import Index
from rubrika.index.manifest import VoteSettings
from rubrika.ingest.ingest import ingest
from rubrika.products.parquet import Reader
from rubrika.products.pictures import PictureFolder
from rubrika.products.product import Category
from rubrika.products.selection import Products, Selection
from rubrika.progress import Progress
from rubrika.retrieve.search import find
from rubrika.retrieve.tree import Tree
from rubrika.store.connection import Connection
from rubrika.store.place import temporary_collection
from rubrika.store.store import Hits


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
        exhibit: what a report shows of them, if that was asked for.
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
    exhibit: Exhibit | None = None

    def first(self, top_k: int) -> dict[str, Hits]:
        """The best `top_k` hits of each vector."""
        return {name: found.first(top_k) for name, found in self.hits.items()}


class Guest(Protocol):
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
    exhibited: int | None = None,
    watch: Watch | None = None,
    guest: Guest | None = None,
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
        exhibited: for a report, of how many held-out products to keep the vector; None: no report.
        watch: keeps what the stages take.
        guest: looks at the index too.

    Raises:
        InputError: a file cannot be read, or has too few good rows.
        StoreError: the server fails.
    """
    reader.check()
    watch = watch or Watch()
    with watch.stage("read labels"):
        labels = read_labels(reader, progress)
    split = _split(labels, reader.group_by, holdout)
    truth = labels.categories[split.held_out]
    groups = families(labels.ids, labels.groups if reader.group_by else None)
    collector = None if exhibited is None else Collector(len(truth), exhibited, holdout.seed)
    own = temporary_collection(server) if server else nullcontext()
    with TemporaryDirectory(prefix="rubrika-evaluate-") as name, own as place:
        folder, rest = Path(name), Selection(reader, ~split.held_out)
        with watch.stage("learn and ingest"):
            ingest(folder, rest, pictures=pictures, choice=choice, cache=cache, server=place, progress=progress)
        with Index.open(folder, cache, place) as index:
            if guest:
                guest.visit(index, labels, groups, split)
            with watch.stage("classify"):
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
        seconds=watch.seconds,
        exhibit=collector.exhibit(_learned(labels, split)) if collector else None,
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
        for found in find(index, products, pictures, top_k):
            for name, hits in found.hits.items():
                parts[name].append(hits)
            if collector:
                collector.add(index, found.batch.products, pictures)
            advance(found.batch.rows)
    return {name: Hits.joined(each) for name, each in parts.items()}
