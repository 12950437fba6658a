"""Scores a live index on labelled products, which it classifies as it is: nothing is learned and nothing is changed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rubrika.errors import InputError
from rubrika.eval.evaluate import Answers, Evaluation, measured
from rubrika.eval.heldout import Samples, Timer
from rubrika.index.categories import read_names
from rubrika.index.folder import Index
from rubrika.products.images import PictureFolder
from rubrika.products.product import Category
from rubrika.products.reader import Reader
from rubrika.products.split import families, unsplit
from rubrika.progress import Progress
from rubrika.retrieve.classify import Classified, classify
from rubrika.retrieve.confidence import Decisions
from rubrika.retrieve.guarantee import Policy, advice
from rubrika.retrieve.predictions import collect
from rubrika.retrieve.tree import Tree
from rubrika.vote import NO_CATEGORY


@dataclass(frozen=True)
class Gold:
    """Labelled products to be classified."""

    reader: Reader  # when it has `group_by`, near duplicates are alike in that column
    pictures: PictureFolder | None
    seed: int  # of the intervals, and of what is drawn
    sampled: int | None = None  # of so many the vector is kept, for a report


def evaluate_live(
    index: Index, gold: Gold, top_k: int | None, policy: Policy, progress: Progress, timer: Timer
) -> Evaluation:
    """Classify labelled products and compare; `top_k` hits vote, by default as many as the index says.

    A stored product has no vote on itself, but the encoder may have learned from it: `stored` says how many there are.
    """
    reader, vote = gold.reader, index.manifest.vote
    reader.check()
    vote = replace(vote, top_k=top_k or vote.top_k)
    labels, groups, own_ids, titles = list[Category](), list[str](), list[int | str](), list[str]()
    rows, vectors, stored = [], [], 0
    drawn = np.random.default_rng(gold.seed).permutation(len(reader)) < (gold.sampled or 0)

    def classified() -> Iterator[Classified]:
        nonlocal stored
        for one in classify(index, reader, gold.pictures, top_k, policy):
            products = one.batch.products
            own = next(iter(one.vectors.values()))
            chosen = np.flatnonzero(drawn[len(labels) :][: len(products)] & own.any(axis=1))
            rows.append(len(labels) + chosen)
            vectors.append(own[chosen].astype(np.float16))
            labels.extend(product.category for product in products if product.category)
            groups.extend(product.group for product in products)
            titles.extend(product.title for product in products)
            own_ids.extend(product.own_id for product in products)
            stored += len(index.store.fetch([product.id for product in products], payload=False))
            advance(one.batch.rows)
            yield one

    with timer.stage("classify"), progress.stage("classifying", len(reader)) as advance:
        found = collect(classified(), index.manifest.calibration, vote)
    if not labels:
        raise InputError(f"{reader.files[0]}: no readable labelled product to compare with")
    with timer.stage("measure"):
        ids, predicted = found.product_ids, found.categories
        truth = np.array([label.id for label in labels], np.int64)
        # Where the index knows a category, its name counts.
        names = dict(zip(predicted.tolist(), found.names.tolist(), strict=True)) | (read_names(index.folder) or {})
        tree = Tree([*(Category(id, str(name)) for id, name in names.items() if id != NO_CATEGORY), *labels])
        families_of = families(ids, groups if reader.group_by else None)
        decided = Decisions(found.confidences, found.decisions)
        counts = index.store.facet("category_id")
        learned = np.array([counts.get(id, 0) for id in truth.tolist()], np.int64)
        samples = Samples(own_ids, titles, learned, np.concatenate(rows), np.concatenate(vectors))
        own = truth, predicted, decided.confidences, families_of, tree
        return Evaluation(
            **measured(truth, predicted, decided, families_of, tree, policy, gold.seed),
            classes=len(np.unique(truth)),
            split=unsplit(ids, "live index", gold.seed),
            top_k=vote.top_k,
            sweep=[],
            seconds=timer.seconds,
            answers=None if gold.sampled is None else Answers(*own, samples),
            stored=stored,
            advice=advice(index.manifest.calibration, policy),
        )


def remarks_on(result: Evaluation, reader: Reader, folder: Path) -> Iterator[str]:
    """What to know before the figures of an index are believed."""
    known = read_names(folder) or {}
    if other := sorted({it.id for it in reader.labels() if known.get(it.id, it.path) != it.path}):
        several = f"{len(other):,} of its category ids, such as {other[0]}, have other names in the index"
        yield f"{reader.files[0]}: {several}; if they are numbered otherwise, no figure means anything"
    if result.stored:
        learned = f"{result.stored:,} of {result.rows:,} products are stored, and its encoder may have learned them"
        yield f"{folder}: {learned}; new ones are harder"
