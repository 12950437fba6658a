"""Audits labels: every stored product is voted on by the others, and those that the vote contradicts are suspects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubrika.errors import IndexFolderError
from rubrika.index.index import Index
from rubrika.index.manifest import VoteSettings
from rubrika.progress import Progress, Silent
from rubrika.retrieve.duplicates import Duplicates, alike, same_text
from rubrika.retrieve.search import search
from rubrika.retrieve.vote import NO_CATEGORY, lifted, vote_over
from rubrika.store.store import FloatArray, Hits, Point

Ids = NDArray[np.uint64]
Categories = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Suspects:
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

    def take(self, rows: NDArray[np.intp] | slice) -> "Suspects":
        """Some of them, in the order of `rows`."""
        hits = {
            name: Hits(found.ids[rows], found.scores[rows], found.categories[rows]) for name, found in self.hits.items()
        }
        return Suspects(self.ids[rows], self.categories[rows], self.suggested[rows], self.confidence[rows], hits)


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
    suspects: Suspects
    duplicates: Duplicates


def audit(index: Index, progress: Progress | None = None) -> Audit:
    """Let every product of an index be voted on by the others; memory is bounded by ids, labels and the suspects.

    Raises:
        IndexFolderError: the index holds fewer than two categories, so that nothing can contradict a label.
        StoreError: the store fails.
    """
    _check(index)
    settings, paths = index.manifest.vote, dict[int, str]()
    suspects, pairs, texts = list[Suspects](), list[Duplicates](), list[tuple[Ids, Categories, list[str]]]()
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
) -> Suspects:
    """Those that lose the vote, and whose label has less in its favour when every neighbour counts."""
    suggested = vote_over(lifted(hits, settings, seen), settings).winners
    confidence = balance(hits, categories, suggested, settings.weights)
    rows = np.flatnonzero((suggested != categories) & (suggested != NO_CATEGORY) & (confidence > 0))
    return Suspects(ids, categories, suggested, confidence, hits).take(rows)


def _ranked(parts: Sequence[Suspects]) -> Suspects:
    ids, categories, suggested, confidence = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("ids", "categories", "suggested", "confidence")
    )
    hits = {name: Hits.joined([part.hits[name] for part in parts]) for name in parts[0].hits}
    return Suspects(ids, categories, suggested, confidence, hits).take(np.lexsort((ids, -confidence)))
