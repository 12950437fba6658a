"""Says how good the predictions are on products held out: learn, ingest and classify as in earnest, then compare."""

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rubrika.errors import InputError
from rubrika.eval.metrics import Metrics, metrics_of, weighted_f1_interval
from rubrika.eval.split import Split, group_split, plain_split, stratified_split
from rubrika.index.create import Choice
from rubrika.index.index import Index
from rubrika.index.manifest import VoteSettings
from rubrika.ingest.ingest import ingest
from rubrika.products.parquet import Reader
from rubrika.products.pictures import PictureFolder
from rubrika.products.selection import Products, Selection
from rubrika.progress import Progress, Silent
from rubrika.retrieve.classify import classify
from rubrika.retrieve.vote import fused_vote, mode_vote, vote_over
from rubrika.store.connection import Connection
from rubrika.store.place import temporary_collection
from rubrika.store.store import Hits

SWEEP = 20


@dataclass(frozen=True, slots=True)
class Sweep:
    """Weighted F1 with `top_k` hits: by the plain mode and by the weighted vote."""

    top_k: int
    mode: float
    weighted: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good the predictions for the held-out rows are, and on which rows that was measured."""

    metrics: Metrics
    interval: tuple[float, float]
    rows: int
    classes: int
    split: Split
    top_k: int
    sweep: list[Sweep]
    seconds: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """All of it in plain values, under the names of the command line."""
        return asdict(self.metrics) | {
            "ci95": list(self.interval),
            "rows": self.rows,
            "classes": self.classes,
            "split": {"how": self.split.how, "seed": self.split.seed, "hash": self.split.hash},
            "k": self.top_k,
            "sweep": [{"k": point.top_k, "mode": point.mode, "weighted": point.weighted} for point in self.sweep],
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class Labels:
    """What a split needs to know of all good rows: ids (n,), categories (n,), and groups."""

    ids: NDArray[np.uint64]
    categories: NDArray[np.int64]
    groups: list[str]


def evaluate(
    reader: Reader,
    *,
    cache: Path,
    pictures: PictureFolder | None = None,
    choice: Choice | None = None,
    holdout: float = 0.1,
    seed: int = 0,
    stratify: bool = False,
    top_k: int | None = None,
    server: Connection | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Hold rows out, learn from the others, and classify those held out through an index of its own.

    Args:
        reader: labelled products; when it has `group_by`, whole groups are held out.
        cache: a folder for vectors of pretrained encoders.
        pictures: where the products' pictures are, if anywhere.
        choice: the encoders and the vote to evaluate.
        holdout: the part held out, between 0 and 1.
        seed: chooses the rows, and the resamples of the interval.
        stratify: hold out the same part of every category.
        top_k: how many hits vote, by default what `ingest` would set.
        server: where the index has its points meanwhile, in a collection of its own named after this one, when not in
            a folder.
        progress: where to show how far it is.

    Raises:
        InputError: a file cannot be read, or has too few good rows.
        StoreError: the server fails.
    """
    progress = progress or Silent()
    reader.check()
    labels = read_labels(reader, progress)
    split = _split(labels, reader.group_by, holdout, seed, stratify)
    started = time.monotonic()
    own = temporary_collection(server) if server else nullcontext()
    with TemporaryDirectory(prefix="rubrika-evaluate-") as folder, own as place:
        learned_from = Selection(reader, ~split.held_out)
        ingest(
            Path(folder), learned_from, pictures=pictures, choice=choice, cache=cache, server=place, progress=progress
        )
        ingested = time.monotonic()
        with Index.open(Path(folder), cache, place) as index:
            vote = index.manifest.vote
            k = top_k or vote.top_k
            hits = _hits(index, Selection(reader, split.held_out), pictures, max(SWEEP, k), progress)
    classified = time.monotonic()
    truth = labels.categories[split.held_out]
    predicted = vote_over(_first(hits, k), vote).winners
    groups = np.unique(np.array(labels.groups, object)[split.held_out].astype(str), return_inverse=True)[1]
    return Evaluation(
        metrics=metrics_of(truth, predicted),
        interval=weighted_f1_interval(truth, predicted, groups if reader.group_by else None, seed),
        rows=len(truth),
        classes=len(np.unique(labels.categories)),
        split=split,
        top_k=k,
        sweep=[_sweep(truth, _first(hits, n), n, vote) for n in range(1, SWEEP + 1)],
        seconds={"learn and ingest": round(ingested - started, 1), "classify": round(classified - ingested, 1)},
    )


def read_labels(reader: Reader, progress: Progress) -> Labels:
    """Read the labels alone, keeping no text."""
    ids: list[int] = []
    categories: list[int] = []
    groups: list[str] = []
    with progress.stage("reading labels", len(reader)) as advance:
        for batch in reader:
            ids += [product.id for product in batch.products]
            categories += [product.category.id for product in batch.products if product.category]
            groups += [product.group for product in batch.products]
            advance(batch.rows)
    if len(ids) < 2:
        raise InputError(f"{reader.files[0]}: {len(ids)} readable rows; at least 2 are needed to hold one out")
    return Labels(np.array(ids, np.uint64), np.array(categories, np.int64), groups)


def _split(labels: Labels, group_by: str | None, holdout: float, seed: int, stratify: bool) -> Split:
    if group_by:
        return group_split(labels.ids, labels.groups, holdout, seed, group_by)
    if stratify:
        return stratified_split(labels.ids, labels.categories, holdout, seed)
    return plain_split(labels.ids, holdout, seed)


def _hits(
    index: Index, products: Products, pictures: PictureFolder | None, top_k: int, progress: Progress
) -> dict[str, Hits]:
    found: dict[str, list[Hits]] = {name: [] for name in index.manifest.vote.weights}
    with progress.stage("classifying held-out products", len(products)) as advance:
        for classified in classify(index, products, pictures, top_k):
            for name, hits in classified.hits.items():
                found[name].append(hits)
            advance(classified.batch.rows)
    return {name: Hits.joined(parts) for name, parts in found.items()}


def _first(hits: Mapping[str, Hits], top_k: int) -> dict[str, Hits]:
    return {name: found.first(top_k) for name, found in hits.items()}


def _sweep(truth: NDArray[np.int64], hits: Mapping[str, Hits], top_k: int, vote: VoteSettings) -> Sweep:
    plain = fused_vote([(mode_vote(found), vote.weights[name]) for name, found in hits.items()])
    return Sweep(
        top_k,
        mode=metrics_of(truth, plain.winners).weighted_f1,
        weighted=metrics_of(truth, vote_over(hits, vote).winners).weighted_f1,
    )
