"""Finds labels that their neighbours contradict, and near duplicates in different categories."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rubrika.errors import IndexFolderError
from rubrika.index.folder import Index
from rubrika.index.manifest import VoteSettings
from rubrika.progress import Progress, Silent
from rubrika.retrieve.predictions import NEIGHBOUR, neighbour_array
from rubrika.retrieve.search import search
from rubrika.store.base import FloatArray, Hits, Point, Store
from rubrika.vote import NO_CATEGORY, vote_over, with_unseen_bonus

ALIKE_FROM = 0.98

Ids = NDArray[np.uint64]
Categories = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """n pairs; the first product of each has the lower id.

    Args:
        ids: product ids, uint64 (n, 2).
        categories: their categories, int64 (n, 2).
        similarity: float32 (n,); 1 where the texts are the same.
    """

    ids: Ids
    categories: Categories
    similarity: FloatArray

    def __len__(self) -> int:
        """How many pairs there are."""
        return len(self.ids)

    def take(self, rows: NDArray[np.intp] | slice) -> "Duplicates":
        """Some of them, in the order of `rows`."""
        return Duplicates(self.ids[rows], self.categories[rows], self.similarity[rows])

    @classmethod
    def of(cls, ids: Ids, categories: Categories, similarity: FloatArray) -> "Duplicates":
        """Pairs (n, 2) whose products come in any order."""
        order = np.argsort(ids, axis=1, kind="stable")
        return cls(np.take_along_axis(ids, order, 1), np.take_along_axis(categories, order, 1), similarity)

    @classmethod
    def joined(cls, parts: Sequence["Duplicates"]) -> "Duplicates":
        """The pairs of several parts, each once, the most alike first, ties by id."""
        ids, categories, similarity = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("ids", "categories", "similarity")
        )
        found = cls(ids, categories, similarity)
        found = found.take(np.lexsort((-found.similarity, found.ids[:, 1], found.ids[:, 0])))
        fresh = np.ones(len(found), bool)
        fresh[1:] = (found.ids[1:] != found.ids[:-1]).any(axis=1)
        found = found.take(np.flatnonzero(fresh))
        return found.take(np.lexsort((found.ids[:, 1], found.ids[:, 0], -found.similarity)))


def alike(ids: Ids, categories: Categories, hits: Hits) -> Duplicates:
    """The pairs of products (n,) and their hits (n, k) that are at least as similar as `ALIKE_FROM`."""
    row, column = np.nonzero((hits.scores >= ALIKE_FROM) & (hits.categories != categories[:, None]))
    return Duplicates.of(
        np.stack([ids[row], hits.ids[row, column]], axis=1),
        np.stack([categories[row], hits.categories[row, column]], axis=1),
        np.minimum(hits.scores[row, column], 1.0),
    )


def same_text(parts: Sequence[tuple[Ids, Categories, Sequence[str]]]) -> Duplicates:
    """Products of the same text with different categories, whatever their vectors.

    Of many products that share a text only those are paired whose categories follow one another, so that every category
    shows and the pairs are never more than the products.

    Args:
        parts: ids (n,), categories (n,) and hashes of texts (n,), one part or several; an empty hash is no text.
    """
    ids = np.concatenate([part[0] for part in parts])
    categories = np.concatenate([part[1] for part in parts])
    hashes = np.concatenate([np.array(part[2], "S16") for part in parts])
    order = np.lexsort((ids, categories, hashes))
    ids, categories, hashes = ids[order], categories[order], hashes[order]
    row = np.flatnonzero((hashes[1:] == hashes[:-1]) & (hashes[1:] != b"") & (categories[1:] != categories[:-1]))
    pair = np.stack([row, row + 1], axis=1)
    return Duplicates.of(ids[pair], categories[pair], np.ones(len(row), np.float32))


@dataclass(frozen=True, slots=True)
class LabelIssues:
    """Products whose neighbours vote for another category, the surest first, ties by id.

    Args:
        ids: product ids, uint64 (n,).
        categories: what they are labelled, int64 (n,).
        suggested: what their neighbours say, int64 (n,).
        confidence: how much more speaks for that than for the label, float32 (n,) in 0 … 1; see `balance`.
        hits: their neighbours by each named vector that votes, (n, top_k).
    """

    ids: Ids
    categories: Categories
    suggested: Categories
    confidence: FloatArray
    hits: Mapping[str, Hits]

    def __len__(self) -> int:
        """How many there are."""
        return len(self.ids)

    def take(self, rows: NDArray[np.intp] | slice) -> "LabelIssues":
        """Some of them, in the order of `rows`."""
        hits = {
            name: Hits(found.ids[rows], found.scores[rows], found.categories[rows]) for name, found in self.hits.items()
        }
        return LabelIssues(self.ids[rows], self.categories[rows], self.suggested[rows], self.confidence[rows], hits)


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found.

    Args:
        products: how many products were looked at.
        paths: the path of every category by its id.
        suspects: products that their neighbours contradict.
        duplicates: pairs of products that are almost the same and have different categories.
    """

    products: int
    paths: Mapping[int, str]
    suspects: LabelIssues
    duplicates: Duplicates


def audit(index: Index, progress: Progress | None = None) -> Audit:
    """Let every product of an index be voted on by the others; memory is bounded by ids, labels and the suspects.

    Raises:
        IndexFolderError: the index holds fewer than two categories, so that nothing can contradict a label.
        StoreError: the store fails.
    """
    _check(index)
    settings, paths = index.manifest.vote, dict[int, str]()
    suspects, pairs, texts = list[LabelIssues](), list[Duplicates](), list[tuple[Ids, Categories, list[str]]]()
    with (progress or Silent()).stage("auditing products", index.store.count()) as advance:
        for page in index.store.scroll(payload=["category_id", "category_path", "text_hash"], vectors=True):
            ids = np.array([point.id for point in page], np.uint64)
            categories = np.array([point.category_id for point in page], np.int64)
            paths |= {point.category_id: point.shown("category_path") for point in page}
            hits = {name: _others(index, name, page, ids, settings.top_k) for name in settings.weights}
            suspects.append(_contradicted(ids, categories, hits, settings, index.seen))
            pairs.append(alike(ids, categories, next(iter(hits.values()))))
            texts.append((ids, categories, [_text_hash(point) for point in page]))
            advance(len(page))
    products = sum(len(ids) for ids, _, _ in texts)
    return Audit(products, paths, _ranked(suspects), Duplicates.joined([*pairs, same_text(texts)]))


def balance(
    hits: Mapping[str, Hits], categories: Categories, suggested: Categories, weights: Mapping[str, float]
) -> FloatArray:
    """The mean similarity that a product's neighbours lend one category, minus what they lend another, (n,) in -1 … 1.

    The vote lets near hits count for much more than far ones, so a single wrong near duplicate can win it. Here every
    neighbour counts for its plain similarity, so that the rest are heard too: see docs/audit.md.

    Args:
        hits: the neighbours of n products by named vector; one that found nothing is left out.
        categories: the category that is questioned, (n,).
        suggested: the other one, (n,).
        weights: what each named vector counts for.
    """
    total, counted = np.zeros(len(categories)), np.zeros(len(categories))
    for name, found in hits.items():
        there = np.isfinite(found.scores)
        similarity = np.where(there, np.clip(found.scores, 0.0, 1.0), 0.0)
        speaks = (found.categories == suggested[:, None]).astype(np.int8) - (found.categories == categories[:, None])
        total += weights[name] * (similarity * speaks).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
        counted += weights[name] * there.any(axis=1)
    return (total / np.where(counted > 0, counted, 1.0)).astype(np.float32)


def _text_hash(point: Point) -> str:
    """The hash of its text; whoever else wrote into the store may have written anything."""
    found = point.payload.get("text_hash", "")
    return found if isinstance(found, str) and found.isascii() else ""


def _check(index: Index) -> None:
    known = len(index.store.facet("category_id"))
    if known < 2:
        what = "there are no products in it" if not known else "all its products are of one category"
        raise IndexFolderError(
            f"{index.folder}: {what}, so no label can be contradicted; ingest products of two categories at least"
        )


def _others(index: Index, name: str, page: Sequence[Point], ids: Ids, top_k: int) -> Hits:
    """The `top_k` nearest points of each point but itself, by one named vector."""
    none = np.zeros(index.manifest.sizes[name], np.float32)
    vectors = np.array([point.vectors.get(name, none) for point in page])
    # Among many exact duplicates a point may not have found itself: then the last of them goes instead.
    return search(index.store, name, vectors, top_k + 1).without(ids).first(top_k)


def _contradicted(
    ids: Ids, categories: Categories, hits: Mapping[str, Hits], settings: VoteSettings, seen: Mapping[str, Categories]
) -> LabelIssues:
    """Those that lose the vote, and whose label has less in its favour when every neighbour counts."""
    suggested = vote_over(with_unseen_bonus(hits, settings, seen), settings).winners
    confidence = balance(hits, categories, suggested, settings.weights)
    rows = np.flatnonzero((suggested != categories) & (suggested != NO_CATEGORY) & (confidence > 0))
    return LabelIssues(ids, categories, suggested, confidence, hits).take(rows)


def _ranked(parts: Sequence[LabelIssues]) -> LabelIssues:
    ids, categories, suggested, confidence = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("ids", "categories", "suggested", "confidence")
    )
    hits = {name: Hits.joined([part.hits[name] for part in parts]) for name in parts[0].hits}
    return LabelIssues(ids, categories, suggested, confidence, hits).take(np.lexsort((ids, -confidence)))


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many products of one category look like the other, and how many the other way."""

    category_id: int
    category_name: str
    other_category_id: int
    other_category_name: str
    there: int
    back: int


def confusions(suspects: LabelIssues, paths: Mapping[int, str], limit: int) -> list[Confusion]:
    """The `limit` pairs with the most suspects, both directions together, ties by ids; `there` is the larger count."""
    if not len(suspects):
        return []
    pairs = np.stack([suspects.categories, suspects.suggested], axis=1)
    directed, count = np.unique(pairs, axis=0, return_counts=True)
    known, pair = np.unique(np.sort(directed, axis=1), axis=0, return_inverse=True)
    counts = np.zeros((len(known), 2), np.int64)
    counts[pair.ravel(), (directed[:, 0] > directed[:, 1]).astype(int)] = count
    found = []
    for row in np.lexsort((known[:, 1], known[:, 0], -counts.sum(axis=1)))[:limit].tolist():
        first = int(counts[row, 1] > counts[row, 0])
        one, other = int(known[row, first]), int(known[row, 1 - first])
        there, back = int(counts[row, first]), int(counts[row, 1 - first])
        found.append(Confusion(one, paths[one], other, paths[other], there, back))
    return found


Paths = Mapping[int, str]

ROWS = 2_048

SUSPECTS = pa.schema(
    [
        ("product_id", pa.uint64()),
        ("title", pa.string()),
        ("category_id", pa.int64()),
        ("category_name", pa.string()),
        ("suggested_category_id", pa.int64()),
        ("suggested_category_name", pa.string()),
        ("confidence", pa.float32()),
        ("neighbours", pa.list_(NEIGHBOUR)),
    ]
)
_HALVES = ("", "other_")
DUPLICATES = pa.schema(
    [
        *(
            (half + name, kind)
            for half in _HALVES
            for name, kind in (
                ("product_id", pa.uint64()),
                ("title", pa.string()),
                ("category_id", pa.int64()),
                ("category_name", pa.string()),
            )
        ),
        ("similarity", pa.float32()),
    ]
)


def suspect_tables(store: Store, suspects: LabelIssues, paths: Paths) -> Iterator[pa.Table]:
    """The suspects in their order, some at a time, with the columns of `SUSPECTS`; titles come from the store."""
    for start in range(0, len(suspects), ROWS):
        yield _suspects(store, suspects.take(slice(start, start + ROWS)), paths)


def duplicate_tables(store: Store, pairs: Duplicates, paths: Paths) -> Iterator[pa.Table]:
    """The pairs in their order, some at a time, with the columns of `DUPLICATES`; titles come from the store."""
    for start in range(0, len(pairs), ROWS):
        yield _duplicates(store, pairs.take(slice(start, start + ROWS)), paths)


def _suspects(store: Store, suspects: LabelIssues, paths: Paths) -> pa.Table:
    titles = _titles(store, suspects.ids.tolist())
    columns = [
        suspects.ids,
        [titles.get(id) for id in suspects.ids.tolist()],
        suspects.categories,
        [paths[category] for category in suspects.categories.tolist()],
        suspects.suggested,
        [paths[category] for category in suspects.suggested.tolist()],
        suspects.confidence,
        neighbour_array(suspects.hits),
    ]
    return pa.table(columns, schema=SUSPECTS)


def _duplicates(store: Store, pairs: Duplicates, paths: Paths) -> pa.Table:
    titles = _titles(store, np.unique(pairs.ids).tolist())
    columns: list[object] = []
    for half in range(len(_HALVES)):
        ids, categories = pairs.ids[:, half], pairs.categories[:, half]
        columns += [
            ids,
            [titles.get(id) for id in ids.tolist()],
            categories,
            [paths[one] for one in categories.tolist()],
        ]
    return pa.table([*columns, pairs.similarity], schema=DUPLICATES)


def _titles(store: Store, ids: list[int]) -> dict[int, str]:
    return {id: point.shown("title") for id, point in store.fetch(ids).items()}
