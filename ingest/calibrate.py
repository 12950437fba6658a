"""Calibrates an index on its own products: some are asked as if they were not stored.

The encoders that make their vectors have not learned from them. Of many products a part is held out from learning, by
groups of near duplicates; they are stored and vote like all others. Few are cross-fitted: for each fold of them an
encoder is learned from the others, for this purpose alone.
"""

import functools
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from heapq import nsmallest
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rubrika.encode.duplicates import group_number, merged_groups, text_groups
from rubrika.index.folder import Index
from rubrika.index.location import encoder_folder
from rubrika.index.manifest import JOINT, Calibration, Manifest, VoteSettings
from rubrika.ingest.crossfit import cross_fitted, folds_of, unlearned_sizes
from rubrika.ingest.reach import Cohort, measured_reach
from rubrika.ingest.write import stored_vectors, timestamp
from rubrika.products.product import Category, Product, Products
from rubrika.progress import Progress, Silent
from rubrika.retrieve.calibration import KEPT, CalibrationSet, unseen_of
from rubrika.retrieve.confidence import MIN_ROWS
from rubrika.retrieve.exact import ExactSearch
from rubrika.retrieve.tree import Tree
from rubrika.store.base import FloatArray, Hits, Point
from rubrika.vote import vote_over

# Up to so many products are cross-fitted.
CROSS_FIT = 40_000
# Of more, so many are held out from learning, but at least and at most these parts.
HELD_OUT, LEAST, MOST = 8_000, 0.02, 0.1
# So many held-out products are asked; and when the index has grown or shrunk by this, they are asked again.
SAMPLE, CHANGED = 8_192, 0.2
FETCH = 512

IntArray = NDArray[np.int64]


def part_held_out(count: int, learned: bool) -> float:
    """The part of `count` products that encoders are not to learn from: 1 where none is learned, 0 to cross-fit."""
    if not learned:
        return 1.0
    return 0.0 if count <= CROSS_FIT else min(max(HELD_OUT / count, LEAST), MOST)


def calibrate(index: Index, products: Products, progress: Progress | None = None) -> Manifest:
    """The manifest of an index whose `products` are written, calibrated when it is not yet, or has changed much."""
    manifest, count = index.manifest, index.store.count()
    known, part = manifest.calibration, manifest.held_out
    is_first = known.at is None
    if (is_first and part is None) or (not is_first and abs(count - known.products) <= CHANGED * known.products):
        return manifest
    progress = progress or Silent()
    if is_first and count < MIN_ROWS:
        return replace(manifest, calibration=Calibration(products=count, at=timestamp()))
    vote = manifest.vote
    if is_first and part == 0:
        found, tree, vote = _cross_fitted(index, products, progress)
    else:
        found, tree = _asked(index, progress)
        former = CalibrationSet.load(index.encoder_files)
        # Those of cross-fitting cannot be asked again: the encoder has learned from them since.
        found = former.joined(found) if former and part == 0 else found
    found.save(index.encoder_files)
    how: Literal["cross-fitted", "held out"] = "cross-fitted" if part == 0 else "held out"
    vote = _late_fusion(found, vote) if is_first and len(vote.weights) > 1 else vote
    calibration = found.fitted(vote, tree, Calibration(products=count, how=how, at=timestamp()))
    return replace(manifest, vote=vote, calibration=calibration)


def refitted(folder: Path, manifest: Manifest, asked: CalibrationSet, tree: Tree) -> Manifest:
    """The manifest with the calibration of its vote, by the index's own set; where it has none, by what was `asked`."""
    known = CalibrationSet.load(encoder_folder(folder, "", manifest.generation))
    state = manifest.calibration
    if known is None:
        state = Calibration(products=manifest.contents.products or 0, how="held out", at=timestamp())
    return replace(manifest, calibration=(known or asked).fitted(manifest.vote, tree, state))


def _late_fusion(found: CalibrationSet, vote: VoteSettings) -> VoteSettings:
    """The weights of the votes by text and by image that are right most often."""
    main, other = vote.weights
    candidates = [replace(vote, weights={main: (20 - step) / 20, other: step / 20}) for step in range(21)]
    accuracy = np.array([np.mean(vote_over(found.voting(each), each).winners == found.truth) for each in candidates])
    # Of equally good weights the middle one: as far as possible from trusting one side alone.
    best = np.flatnonzero(accuracy == accuracy.max()).tolist()
    return candidates[best[len(best) // 2]]


def _asked(index: Index, progress: Progress) -> tuple[CalibrationSet, Tree]:
    """Ask held-out products of an index, without themselves and their near duplicates."""
    store, sizes = index.store, {name: index.manifest.sizes[name] for name in index.manifest.vote.weights}
    everyone, everything = index.manifest.held_out == 1, chain.from_iterable(store.scroll(payload=["held_out"]))
    candidates = (point.id for point in everything if everyone or point.payload.get("held_out"))
    drawn = nsmallest(SAMPLE, candidates, key=lambda id: blake2b(b"%d" % id).digest())
    points = dict[int, Point]()
    for start in range(0, len(drawn), FETCH):
        points |= store.fetch(drawn[start : start + FETCH], vectors=True)
    # Where others write too, one may be gone by now.
    ids = sorted(points)
    groups = np.array([_group(points[id]) for id in ids], np.int64)
    queries = {name: _vectors([points[id] for id in ids], name, size) for name, size in sizes.items()}
    searches, categories = {name: ExactSearch(each, KEPT, groups) for name, each in queries.items()}, dict[int, str]()
    with progress.stage("calibrating", store.count()) as advance:
        for page in store.scroll(payload=["category_id", "category_path", "title", "group"], vectors=True):
            categories |= {point.category_id: point.text("category_path") for point in page}
            labels = np.array([point.category_id for point in page], np.int64)
            numbers, groups_of_page = np.array([point.id for point in page], np.uint64), _groups(page)
            for name, search in searches.items():
                _add(search, numbers, _vectors(page, name, sizes[name]), labels, groups_of_page)
            advance(len(page))
    hits = {name: _found(search.hits(), queries[name]) for name, search in searches.items()}
    truth = np.array([points[id].category_id for id in ids], np.int64)
    found = CalibrationSet(np.array(ids, np.uint64), truth, groups, hits, unseen_of(hits, index.seen))
    return found, Tree(Category(id, path) for id, path in sorted(categories.items()))


def _cross_fitted(index: Index, products: Products, progress: Progress) -> tuple[CalibrationSet, Tree, VoteSettings]:
    """Ask all products, those of each fold by an encoder that has learned from the other folds.

    The vote has the reach of unseen categories, and of names, that was measured with one more encoder.
    """
    first = dict[int, Product]()
    for batch in products:
        for product in batch.products:
            first.setdefault(product.id, product)
    chosen = [first[id] for id in sorted(first)]
    cohort = Cohort(chosen)
    ids = np.array([product.id for product in chosen], np.uint64)
    categories = [product.category for product in chosen if product.category]
    truth, tree = np.array([category.id for category in categories], np.int64), Tree(categories)
    numbers = np.array([group_number(it.title, it.group, it.id) for it in chosen], np.int64)
    named = any(product.group for product in chosen)
    groups = numbers if named else merged_groups(numbers, text_groups([product.text for product in chosen]))
    folds = folds_of(groups)
    weights = index.manifest.vote.weights
    stored = stored_vectors(index.store, ids.tolist(), unlearned_sizes(index.manifest))
    parts = [CalibrationSet.none(weights)]
    with progress.stage("calibrating", len(chosen)) as advance:
        for fold in cross_fitted(cohort, folds, weights, stored, index.learned):
            mine, hits = fold.asked, dict[str, Hits]()
            for name, vectors in fold.vectors.items():
                # Products of its own fold are as new to the encoder as the one asked: an index has learned the others.
                search = ExactSearch(vectors[mine], KEPT)
                _add(search, ids[~mine], vectors[~mine], truth[~mine], groups[~mine])
                hits[name] = _found(search.hits(), vectors[mine])
            parts.append(CalibrationSet(ids[mine], truth[mine], groups[mine], hits, unseen_of(hits, fold.seen)))
            advance(int(mine.sum()))
        main = next(name for name in weights if name not in stored)
        inputs, share = stored if main == JOINT else {}, index.learned[main].margin
        vote = measured_reach(index.manifest.vote, cohort, folds == folds[0], inputs, share)
    return functools.reduce(CalibrationSet.joined, parts), tree, vote


def _add(search: ExactSearch, ids: NDArray[np.uint64], vectors: FloatArray, labels: IntArray, groups: IntArray) -> None:
    there = vectors.any(axis=1)
    search.add(ids[there], vectors[there], labels[there], groups[there])


def _found(hits: Hits, queries: FloatArray) -> Hits:
    """Hits (n, k), none for a query without a vector."""
    there = np.asarray(queries.any(axis=1))[:, None]
    return Hits(
        hits.ids, np.where(there, hits.scores, -np.inf).astype(np.float32), np.where(there, hits.categories, -1)
    )


def _vectors(points: Sequence[Point], name: str, size: int) -> FloatArray:
    none = np.zeros(size, np.float32)
    return np.array([point.vectors.get(name, none) for point in points], np.float32).reshape(len(points), size)


def _groups(points: Sequence[Point]) -> IntArray:
    return np.array([_group(point) for point in points], np.int64)


def _group(point: Point) -> int:
    title, group = (str(point.payload.get(key) or "") for key in ("title", "group"))
    return group_number(title, group, point.id)
