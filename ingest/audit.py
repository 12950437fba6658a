"""Finds labels that are probably wrong, by encoders that have not seen them, and near duplicates at odds."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rubrika.encode.duplicates import group_number, merged_groups, text_groups
from rubrika.errors import IndexFolderError, InputError
from rubrika.files import Target, table_file
from rubrika.index.folder import Index
from rubrika.index.owned import Owned
from rubrika.ingest.crossfit import cross_fitted, folds_of, unlearned_sizes
from rubrika.ingest.diff import GROUP, is_by_person
from rubrika.ingest.maintain import StoredProducts
from rubrika.ingest.reach import Cohort
from rubrika.products.columns import LABEL_SOURCE
from rubrika.products.product import Category, Product
from rubrika.progress import Progress, Silent
from rubrika.retrieve.exact import ExactSearch
from rubrika.retrieve.issues import (
    DUPLICATES,
    ISSUES,
    ROWS,
    Confusion,
    Duplicates,
    LabelIssues,
    Margins,
    Paths,
    confusions,
    pairs_at_odds,
    wrong_labels,
)
from rubrika.store.base import FloatArray, Hits

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found among so many products; `paths` are those of all categories, by id."""

    products: int
    expected: int  # so many labels are wrong, by its estimate
    paths: Paths
    issues: LabelIssues
    duplicates: Duplicates


@dataclass(frozen=True, slots=True)
class AuditReport:
    """How many products, label issues and duplicates there are, the categories confused most, and where tables are."""

    products: int
    expected: int
    suspects: int
    duplicates: int
    confused: list[Confusion]
    seconds: float
    output: Path
    duplicates_output: Path | None
    first_suspects: Rows  # with the columns of `ISSUES`
    first_duplicates: Rows  # with the columns of `DUPLICATES`

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `audit --json` prints them."""
        found, pairs = asdict(self), self.duplicates_output
        del found["first_suspects"], found["first_duplicates"]
        return found | {"output": str(self.output), "duplicates_output": str(pairs) if pairs else None}


def write_audit(
    index: Index,
    output: Path,
    duplicates: Path | None = None,
    limit: int = 20,
    files: Sequence[Path] = (),
    min_confidence: float = 0.0,
    progress: Progress | None = None,
) -> AuditReport:
    """Audit an index, write label issues at least so sure and, if wanted, duplicates, and report some rows of each."""
    started = time.monotonic()
    with ExitStack() as stack:
        # Opened before the work: a place where nothing can be written is known at once.
        owned = Owned.of(index)
        suspects = stack.enter_context(table_file(output, owned.schema(ISSUES)))
        pairs = stack.enter_context(table_file(duplicates, owned.schema(DUPLICATES))) if duplicates else None
        found = audit(index, files, progress)
        issues = found.issues.take(np.flatnonzero(found.issues.confidence >= min_confidence))
        first_suspects = _write(issues, owned, found.paths, suspects, limit)
        first_duplicates = _write(found.duplicates, owned, found.paths, pairs, limit)
    confused = [
        replace(it, category_id=owned.category(it.category_id), other_category_id=owned.category(it.other_category_id))
        for it in confusions(issues, found.paths, limit)
    ]
    seconds = round(time.monotonic() - started, 3)
    counts = (found.products, found.expected, len(issues), len(found.duplicates))
    return AuditReport(*counts, confused, seconds, output, duplicates, first_suspects, first_duplicates)


def _write(found: LabelIssues | Duplicates, owned: Owned, paths: Paths, target: Target | None, limit: int) -> Rows:
    """Write rows, some at a time, if there is a file for them, and return the first `limit`."""
    first: Rows = []
    for start in range(0, len(found) if target else min(limit, len(found)), ROWS):
        table = owned.table(found.take(slice(start, start + ROWS)).table(owned.store, paths))
        first += table.slice(0, limit - len(first)).to_pylist()
        if target:
            target.write_table(table)
    return first


def audit(index: Index, files: Sequence[Path] = (), progress: Progress | None = None) -> Audit:
    """Compare every product of an index with the categories of the others, by vectors that have not seen its label.

    The files have the texts of its products, the latest last; by default those that were ingested. Products whose
    category a person has set are compared with, but are no issues.
    """
    known = len(index.store.facet("category_id"))
    if known < 2:
        what = "all its products are of one category" if known else "there are no products in it"
        advice = "so no label can be contradicted; ingest products of two categories at least"
        raise IndexFolderError(f"{index.folder}: {what}, {advice}")
    weights, top_k, progress = index.manifest.vote.weights, index.manifest.vote.top_k, progress or Silent()
    products, stored = _products(index, files, progress)
    ids = np.array([product.id for product in products], np.uint64)
    category_ids = np.array([product.category.id for product in products if product.category], np.int64)
    categories, labels = np.unique(category_ids, return_inverse=True)
    settled = np.array([product.by_person for product in products])
    numbers = np.array([group_number(it.title, it.group, it.id) for it in products], np.int64)
    groups = merged_groups(numbers, text_groups([product.text for product in products]))
    pairs = pairs_at_odds(groups, labels)
    pairs = pairs[~settled[pairs].all(axis=1)]
    alike, margins = np.zeros(len(pairs), np.float32), Margins.none(len(ids))
    random = (labels + np.random.default_rng(0).integers(1, len(categories), len(labels))) % len(categories)
    rows, hits = [np.zeros(0, np.intp)], {name: [Hits.none(0, top_k)] for name in weights}
    with progress.stage("auditing products", len(products)) as advance:
        for fold in cross_fitted(Cohort(products), folds_of(groups), weights, stored, index.learned):
            margins.measure(fold.asked, fold.vectors, weights, labels, random)
            rows.append(np.flatnonzero(fold.asked & ~settled & (margins.label > 0)))
            for name, vectors in fold.vectors.items():
                search = ExactSearch(vectors[rows[-1]], top_k)
                search.add(ids[~fold.asked], vectors[~fold.asked], category_ids[~fold.asked])
                hits[name].append(search.hits())
            here, (one, other) = fold.asked[pairs[:, 0]], pairs[fold.asked[pairs[:, 0]]].T
            main = next(iter(fold.vectors.values()))
            alike[here] = np.einsum("ij,ij->i", main[one], main[other])
            advance(int(fold.asked.sum()))
    confidence, expected = wrong_labels(np.where(settled, np.nan, margins.label), margins.random)
    found = np.concatenate(rows)
    joined = {name: Hits.joined(parts) for name, parts in hits.items()}
    issues = LabelIssues(
        ids[found], category_ids[found], categories[margins.suggested[found]], confidence[found], joined
    )
    duplicates = Duplicates(ids[pairs], category_ids[pairs], np.clip(alike, -1, 1))
    paths = {product.category.id: product.category.path for product in products if product.category}
    return Audit(
        products=len(products),
        expected=expected,
        paths=paths,
        issues=issues.take(np.lexsort((issues.ids, -margins.label[found]))),
        duplicates=duplicates.take(np.lexsort((ids[pairs[:, 1]], ids[pairs[:, 0]], -alike))),
    )


def _products(index: Index, files: Sequence[Path], progress: Progress) -> tuple[list[Product], dict[str, FloatArray]]:
    """All products by id, with their texts where an encoder is to be learned, and their vectors that no label made.

    Where a text is in none of the files, the title stands for it.
    """
    sizes, texts = unlearned_sizes(index.manifest), dict[int, str]()
    if index.manifest.vote.weights.keys() - sizes.keys():
        try:
            for batch in StoredProducts(index, files):
                texts |= {product.id: product.text for product in batch.products}
        except InputError as error:
            if files:
                raise
            progress.note(f"{error}; until then their titles stand for them, which finds fewer wrong labels")
    keys = ["category_id", "category_path", "title", GROUP, LABEL_SOURCE]
    found = list[tuple[Product, Mapping[str, FloatArray]]]()
    for page in index.store.scroll(payload=keys, vectors=bool(sizes)):
        for point in page:
            title, category = point.shown("title"), Category(point.category_id, point.shown("category_path"))
            product = Product(
                id=point.id,
                title=title,
                text=texts.get(point.id, title),
                row=0,
                category=category,
                group=str(point.payload.get(GROUP) or ""),
                by_person=is_by_person(point.payload),
            )
            found.append((product, point.vectors))
    found.sort(key=lambda each: each[0].id)
    stored = {
        name: np.array([vectors.get(name, np.zeros(size)) for _, vectors in found], np.float32)
        for name, size in sizes.items()
    }
    return [product for product, _ in found], stored
