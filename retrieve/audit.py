"""Finds labels that their neighbours contradict, and near duplicates in different categories."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rubrika.errors import IndexFolderError
from rubrika.files import Target, parquet
from rubrika.index.folder import Index
from rubrika.products.row import LABEL_SOURCE, PERSON
from rubrika.progress import Progress, Silent
from rubrika.retrieve.predictions import NEIGHBOUR, neighbour_lists
from rubrika.retrieve.search import search
from rubrika.store.base import FloatArray, Hits, Store
from rubrika.vote import NO_CATEGORY, vote_over, with_unseen_reach

# Two products at least this similar are near duplicates.
NEAR_DUPLICATE = 0.98
ROWS = 2_048

Ids = NDArray[np.uint64]
Categories = NDArray[np.int64]
Paths = Mapping[int, str]
Rows = list[dict[str, Any]]

ID, NAME = pa.int64(), pa.string()
PRODUCT = [("product_id", pa.uint64()), ("title", NAME), ("category_id", ID), ("category_name", NAME)]
SUGGESTED = [("suggested_category_id", ID), ("suggested_category_name", NAME), ("confidence", pa.float32())]
SUSPECTS = pa.schema([*PRODUCT, *SUGGESTED, ("neighbours", pa.list_(NEIGHBOUR))])
DUPLICATES = pa.schema([*PRODUCT, *((f"other_{name}", kind) for name, kind in PRODUCT), ("similarity", pa.float32())])


@dataclass(frozen=True, slots=True)
class Duplicates:
    """n pairs of products: ids, the lower first, uint64 (n, 2), categories, int64 (n, 2), similarity, float32 (n,)."""

    ids: Ids
    categories: Categories
    similarity: FloatArray

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.intp] | slice) -> "Duplicates":
        """Some of them, in the order of `rows`."""
        return Duplicates(self.ids[rows], self.categories[rows], self.similarity[rows])

    def table(self, store: Store, paths: Paths) -> pa.Table:
        """Rows with the columns of `DUPLICATES`."""
        halves = [_product(store, paths, self.ids[:, half], self.categories[:, half]) for half in (0, 1)]
        return pa.table([*halves[0], *halves[1], self.similarity], schema=DUPLICATES)

    @classmethod
    def joined(cls, parts: Sequence["Duplicates"]) -> "Duplicates":
        """All pairs, whose products come in any order, each once, the most similar first, ties by id."""
        ids, categories, similarity = (np.concatenate([getattr(part, it) for part in parts]) for it in cls.__slots__)
        order = np.argsort(ids, axis=1, kind="stable")
        every = cls(np.take_along_axis(ids, order, 1), np.take_along_axis(categories, order, 1), similarity)
        every = every.take(np.lexsort((every.ids[:, 1], every.ids[:, 0], -similarity)))
        return every.take(np.sort(np.unique(every.ids, axis=0, return_index=True)[1]))


@dataclass(frozen=True, slots=True)
class LabelIssues:
    """n products whose neighbours vote for another category, the surest first, ties by id."""

    ids: Ids
    categories: Categories  # the labels
    suggested: Categories
    confidence: FloatArray  # the `similarity_margin`, 0 … 1
    hits: Mapping[str, Hits]  # the neighbours by each named vector that votes, (n, top_k)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.intp] | slice) -> "LabelIssues":
        """Some of them, in the order of `rows`."""
        hits = {name: Hits(it.ids[rows], it.scores[rows], it.categories[rows]) for name, it in self.hits.items()}
        return LabelIssues(self.ids[rows], self.categories[rows], self.suggested[rows], self.confidence[rows], hits)

    def table(self, store: Store, paths: Paths) -> pa.Table:
        """Rows with the columns of `SUSPECTS`."""
        product = _product(store, paths, self.ids, self.categories)
        suggested = [self.suggested, [paths[category] for category in self.suggested.tolist()]]
        return pa.table([*product, *suggested, self.confidence, neighbour_lists(self.hits)], schema=SUSPECTS)


def _product(store: Store, paths: Paths, ids: Ids, categories: Categories) -> list[Any]:
    """The columns of `PRODUCT`; titles come from the store."""
    points = store.fetch(np.unique(ids).tolist())
    titles = [points[id].shown("title") if id in points else None for id in ids.tolist()]
    return [ids, titles, categories, [paths[category] for category in categories.tolist()]]


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many products labelled as one category look like the other (`there`), and the reverse (`back`)."""

    category_id: int
    category_name: str
    other_category_id: int
    other_category_name: str
    there: int
    back: int


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found among so many products; `paths` are those of all categories, by id."""

    products: int
    paths: Paths
    suspects: LabelIssues
    duplicates: Duplicates


@dataclass(frozen=True, slots=True)
class AuditReport:
    """How many products, suspects and duplicates there are, the categories confused most, and where the tables are."""

    products: int
    suspects: int
    duplicates: int
    confused: list[Confusion]
    seconds: float
    output: Path
    duplicates_output: Path | None
    first_suspects: Rows  # with the columns of `SUSPECTS`
    first_duplicates: Rows  # with the columns of `DUPLICATES`

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `audit --json` prints them."""
        found, pairs = asdict(self), self.duplicates_output
        del found["first_suspects"], found["first_duplicates"]
        return found | {"output": str(self.output), "duplicates_output": str(pairs) if pairs else None}


def write_audit(
    index: Index, output: Path, duplicates: Path | None = None, limit: int = 20, progress: Progress | None = None
) -> AuditReport:
    """Audit an index, write the suspects and, if wanted, the duplicates, and report the first `limit` rows of each."""
    started = time.monotonic()
    with ExitStack() as stack:
        # Opened before the work: a place where nothing can be written is known at once.
        suspects = stack.enter_context(parquet(output, SUSPECTS))
        pairs = stack.enter_context(parquet(duplicates, DUPLICATES)) if duplicates else None
        found = audit(index, progress)
        first_suspects = _write(found.suspects, index.store, found.paths, suspects, limit)
        first_duplicates = _write(found.duplicates, index.store, found.paths, pairs, limit)
    confused, seconds = confusions(found.suspects, found.paths, limit), round(time.monotonic() - started, 3)
    counts = (found.products, len(found.suspects), len(found.duplicates))
    return AuditReport(*counts, confused, seconds, output, duplicates, first_suspects, first_duplicates)


def _write(found: LabelIssues | Duplicates, store: Store, paths: Paths, target: Target | None, limit: int) -> Rows:
    """Write rows, some at a time, if there is a file for them, and return the first `limit`."""
    first: Rows = []
    for start in range(0, len(found) if target else min(limit, len(found)), ROWS):
        table = found.take(slice(start, start + ROWS)).table(store, paths)
        first += table.slice(0, limit - len(first)).to_pylist()
        if target:
            target.write_table(table)
    return first


def audit(index: Index, progress: Progress | None = None) -> Audit:
    """Let the others vote on every product of an index; memory is bounded by ids, labels and the suspects.

    Products whose category a person has set vote too, but are not asked about.
    """
    known = len(index.store.facet("category_id"))
    if known < 2:
        what = "all its products are of one category" if known else "there are no products in it"
        advice = "so no label can be contradicted; ingest products of two categories at least"
        raise IndexFolderError(f"{index.folder}: {what}, {advice}")
    vote, paths = index.manifest.vote, dict[int, str]()
    missing = {name: np.zeros(index.manifest.sizes[name], np.float32) for name in vote.weights}
    suspects, pairs, texts = list[LabelIssues](), list[Duplicates](), list[tuple[Ids, Categories, list[str]]]()
    settled = list[int]()
    keys = ["category_id", "category_path", "text_hash", LABEL_SOURCE]
    with (progress or Silent()).stage("auditing products", index.store.count()) as advance:
        for page in index.store.scroll(payload=keys, vectors=True):
            ids = np.array([point.id for point in page], np.uint64)
            categories = np.array([point.category_id for point in page], np.int64)
            paths |= {point.category_id: point.shown("category_path") for point in page}
            hits = {}
            for name, none in missing.items():
                vectors = np.array([point.vectors.get(name, none) for point in page])
                hits[name] = search(index.store, name, vectors, vote.top_k, ids)
            suggested = vote_over(with_unseen_reach(hits, vote, index.seen), vote).winners
            margin = similarity_margin(hits, categories, suggested, vote.weights)
            by_person = np.array([point.payload.get(LABEL_SOURCE) == PERSON for point in page])
            settled += ids[by_person].tolist()
            # The label has lost the vote, and has less in its favour when every neighbour counts.
            asked = ~by_person & (suggested != categories) & (suggested != NO_CATEGORY)
            rows = np.flatnonzero(asked & (margin > 0))
            suspects.append(LabelIssues(ids, categories, suggested, margin, hits).take(rows))
            pairs.append(near_duplicates(ids, categories, hits[next(iter(vote.weights))]))
            # Whoever else wrote into the store may have written anything.
            hashes = [point.payload.get("text_hash") for point in page]
            usable = [text if isinstance(text, str) and text.isascii() else "" for text in hashes]
            texts.append((ids, categories, usable))
            advance(len(page))
    products = sum(len(ids) for ids, _, _ in texts)
    duplicates = Duplicates.joined([*pairs, same_text(texts)])
    unsettled = ~np.isin(duplicates.ids, np.array(settled, np.uint64)).all(axis=1)
    return Audit(products, paths, _ranked(suspects), duplicates.take(np.flatnonzero(unsettled)))


def similarity_margin(
    hits: Mapping[str, Hits], categories: Categories, suggested: Categories, weights: Mapping[str, float]
) -> FloatArray:
    """The mean similarity of neighbours in the suggested categories (n,), minus that in the labels (n,), in -1 … 1.

    The vote lets near hits count for much more than far ones, so a single wrong near duplicate can win it. Here every
    neighbour counts for its plain similarity, by the weight of its vector: see docs/audit.md.
    """
    total, counted = np.zeros(len(categories)), np.zeros(len(categories))
    for name, found in hits.items():
        present = np.isfinite(found.scores)
        similarity = np.where(present, np.clip(found.scores, 0.0, 1.0), 0.0)
        sign = (found.categories == suggested[:, None]).astype(np.int8) - (found.categories == categories[:, None])
        total += weights[name] * (similarity * sign).sum(axis=1) / np.maximum(present.sum(axis=1), 1)
        counted += weights[name] * present.any(axis=1)
    return (total / np.where(counted > 0, counted, 1.0)).astype(np.float32)


def _ranked(parts: Sequence[LabelIssues]) -> LabelIssues:
    columns = ("ids", "categories", "suggested", "confidence")
    ids, categories, suggested, margin = (np.concatenate([getattr(part, name) for part in parts]) for name in columns)
    hits = {name: Hits.joined([part.hits[name] for part in parts]) for name in parts[0].hits}
    return LabelIssues(ids, categories, suggested, margin, hits).take(np.lexsort((ids, -margin)))


def near_duplicates(ids: Ids, categories: Categories, hits: Hits) -> Duplicates:
    """The pairs of products (n,) and their hits (n, k) that are almost the same, in different categories."""
    row, column = np.nonzero((hits.scores >= NEAR_DUPLICATE) & (hits.categories != categories[:, None]))
    return Duplicates(
        np.stack([ids[row], hits.ids[row, column]], axis=1),
        np.stack([categories[row], hits.categories[row, column]], axis=1),
        np.minimum(hits.scores[row, column], 1.0),
    )


def same_text(parts: Sequence[tuple[Ids, Categories, Sequence[str]]]) -> Duplicates:
    """Products of the same text in different categories; parts are of ids, categories and hashes, empty for no text.

    Of many products that share a text, only those are paired whose categories follow one another: every category shows,
    and there are never more pairs than products.
    """
    ids, categories = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
    hashes = np.concatenate([np.array(part[2], "S16") for part in parts])
    order = np.lexsort((ids, categories, hashes))
    ids, categories, hashes = ids[order], categories[order], hashes[order]
    row = np.flatnonzero((hashes[1:] == hashes[:-1]) & (hashes[1:] != b"") & (categories[1:] != categories[:-1]))
    pair = np.stack([row, row + 1], axis=1)
    return Duplicates(ids[pair], categories[pair], np.ones(len(row), np.float32))


def confusions(suspects: LabelIssues, paths: Paths, limit: int) -> list[Confusion]:
    """The `limit` pairs with the most suspects, both directions together, ties by ids; `there` is the larger count."""
    counts = Counter(zip(suspects.categories.tolist(), suspects.suggested.tolist(), strict=True))
    totals = Counter[tuple[int, int]]()
    for pair, count in counts.items():
        totals[min(pair), max(pair)] += count
    found = []
    for (one, other), _ in sorted(totals.items(), key=lambda item: (-item[1], item[0]))[:limit]:
        if counts[other, one] > counts[one, other]:
            one, other = other, one
        found.append(Confusion(one, paths[one], other, paths[other], counts[one, other], counts[other, one]))
    return found
