"""Label issues: products that are nearer to another category than to their own, and how likely each label is wrong."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_array

from rubrika.encode.base import unit_or_zero
from rubrika.retrieve.confidence import isotonic
from rubrika.retrieve.predictions import NEIGHBOUR, neighbour_lists
from rubrika.store.base import FloatArray, Hits, Store

ROWS = 2_048
# Some hundred labels cannot tell more: a confidence of 1 would be too much.
SUREST = 0.99

Ids = NDArray[np.uint64]
IntArray = NDArray[np.int64]
Mask = NDArray[np.bool_]
Paths = Mapping[int, str]

ID, NAME = pa.int64(), pa.string()
PRODUCT = [("product_id", pa.uint64()), ("title", NAME), ("category_id", ID), ("category_name", NAME)]
SUGGESTED = [("suggested_category_id", ID), ("suggested_category_name", NAME), ("confidence", pa.float32())]
ISSUES = pa.schema([*PRODUCT, *SUGGESTED, ("neighbours", pa.list_(NEIGHBOUR))])
DUPLICATES = pa.schema([*PRODUCT, *((f"other_{name}", kind) for name, kind in PRODUCT), ("similarity", pa.float32())])


@dataclass(frozen=True, slots=True)
class Margins:
    """How much more n products are like another category than like one that may be theirs: cosines, float32 (n,).

    NaN: not measured; there is nothing else in that category, or the product has no vector.
    """

    label: FloatArray  # than like that of the label
    random: FloatArray  # than like one drawn at random instead
    suggested: IntArray  # the category, numbered from 0, that is most alike but for the label

    @classmethod
    def none(cls, count: int) -> "Margins":
        """None measured yet."""
        label, random = np.full((2, count), np.nan, np.float32)
        return cls(label, random, np.zeros(count, np.int64))

    def measure(
        self,
        asked: Mask,
        vectors: Mapping[str, FloatArray],
        weights: Mapping[str, float],
        labels: IntArray,
        random: IntArray,
    ) -> None:
        """Measure those of the products `asked` (n,), towards the mean vectors of the other products' categories.

        `vectors` are of all n, by name; labels and categories drawn at `random`, both (n,), are numbered from 0.
        """
        for rows, similarity in similarities(asked, vectors, weights, labels):
            row, first = np.arange(len(rows)), similarity.argmax(axis=1)
            others = similarity.copy()
            others[row, first] = -np.inf
            second = others.argmax(axis=1)
            self.suggested[rows] = np.where(labels[rows] == first, second, first)
            for margin, own in ((self.label, labels[rows]), (self.random, random[rows])):
                with np.errstate(invalid="ignore"):
                    found = similarity[row, np.where(own == first, second, first)] - similarity[row, own]
                margin[rows] = np.where(np.isfinite(found), found, np.nan)


def similarities(
    asked: Mask, vectors: Mapping[str, FloatArray], weights: Mapping[str, float], labels: IntArray
) -> Iterator[tuple[NDArray[np.intp], FloatArray]]:
    """Rows of products `asked`, some at a time, and how much they are like each category of the others, (m, count).

    It is the cosine with the category's mean vector; -inf where the category has no others, NaN without a vector.
    """
    count, rows = int(labels.max()) + 1, np.flatnonzero(asked)
    means = {name: _means(each[~asked], labels[~asked], count) for name, each in vectors.items()}
    absent = np.bincount(labels[~asked], minlength=count) == 0
    for chosen in (rows[start : start + ROWS] for start in range(0, len(rows), ROWS)):
        found, total = np.zeros((len(chosen), count), np.float32), np.zeros((len(chosen), 1), np.float32)
        for name, each in vectors.items():
            found += np.float32(weights[name]) * (each[chosen] @ means[name].T)
            total += np.float32(weights[name]) * each[chosen].any(axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            found /= total
        found[:, absent] = -np.inf
        yield chosen, found


def _means(vectors: FloatArray, labels: IntArray, count: int) -> FloatArray:
    """The mean vector of each category, of length 1, (count, size)."""
    members = csr_array((np.ones(len(labels), np.float32), (labels, np.arange(len(labels)))), (count, len(labels)))
    return unit_or_zero(members @ vectors)


def wrong_labels(label: FloatArray, random: FloatArray) -> tuple[FloatArray, int]:
    """How likely each label is wrong, (n,), and how many are, by the `Margins` of labels and of random ones.

    Labels are a mixture of right ones and of wrong ones, and the margins of wrong ones are taken to be like those of
    random ones. Right labels are rarely as bad as the worse half of these: the labels that are say how many are wrong.
    """
    measured, random = np.isfinite(label), random[np.isfinite(random)]
    label, chances = label[measured], np.zeros(len(label), np.float32)
    if not len(label) or not len(random):
        return chances, 0
    part = min(2 * float(np.mean(label >= np.median(random))), 1.0)
    # Among margins of labels and of random ones, how often one like this is of a label.
    margins, is_label = np.concatenate([label, random]), np.arange(len(label) + len(random)) < len(label)
    share = np.interp(-label, *isotonic(-margins.astype(np.float64), is_label))
    ratio = (1 - share) / share * (len(label) / len(random))
    chances[measured] = np.minimum(part * ratio, SUREST)
    return chances, round(part * len(label))


@dataclass(frozen=True, slots=True)
class LabelIssues:
    """n products that are nearer to another category, the most likely wrong first, ties by id."""

    ids: Ids
    categories: IntArray  # the labels
    suggested: IntArray
    confidence: FloatArray  # how likely the label is wrong
    hits: Mapping[str, Hits]  # the nearest others by each named vector that votes, (n, top_k)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.intp] | slice) -> "LabelIssues":
        """Some of them, in the order of `rows`."""
        hits = {name: Hits(it.ids[rows], it.scores[rows], it.categories[rows]) for name, it in self.hits.items()}
        return LabelIssues(self.ids[rows], self.categories[rows], self.suggested[rows], self.confidence[rows], hits)

    def table(self, store: Store, paths: Paths) -> pa.Table:
        """Rows with the columns of `ISSUES`."""
        product = _product(store, paths, self.ids, self.categories)
        suggested = [self.suggested, [paths[category] for category in self.suggested.tolist()]]
        return pa.table([*product, *suggested, self.confidence, neighbour_lists(self.hits)], schema=ISSUES)


@dataclass(frozen=True, slots=True)
class Duplicates:
    """n pairs of near duplicates in different categories, the most similar first: ids, categories, both (n, 2)."""

    ids: Ids  # of each pair the lower first
    categories: IntArray
    similarity: FloatArray  # (n,)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.intp] | slice) -> "Duplicates":
        """Some of them, in the order of `rows`."""
        return Duplicates(self.ids[rows], self.categories[rows], self.similarity[rows])

    def table(self, store: Store, paths: Paths) -> pa.Table:
        """Rows with the columns of `DUPLICATES`."""
        halves = [_product(store, paths, self.ids[:, half], self.categories[:, half]) for half in (0, 1)]
        return pa.table([*halves[0], *halves[1], self.similarity], schema=DUPLICATES)


def _product(store: Store, paths: Paths, ids: Ids, categories: IntArray) -> list[object]:
    """The columns of `PRODUCT`; titles come from the store."""
    points = store.fetch(np.unique(ids).tolist())
    titles = [points[id].shown("title") if id in points else None for id in ids.tolist()]
    return [ids, titles, categories, [paths[category] for category in categories.tolist()]]


def pairs_at_odds(groups: IntArray, labels: IntArray) -> NDArray[np.intp]:
    """Pairs of rows (m, 2), of one group of near duplicates but with different labels, both (n,).

    Of a large group, only those are paired whose labels follow one another: every label shows, and there are never more
    pairs than products.
    """
    order = np.lexsort((labels, groups))
    groups, labels = groups[order], labels[order]
    place = np.flatnonzero((groups[1:] == groups[:-1]) & (labels[1:] != labels[:-1]))
    return np.sort(np.stack([order[place], order[place + 1]], axis=1), axis=1)


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many products labelled as one category look like the other (`there`), and the reverse (`back`)."""

    category_id: int | str
    category_name: str
    other_category_id: int | str
    other_category_name: str
    there: int
    back: int


def confusions(issues: LabelIssues, paths: Paths, limit: int) -> list[Confusion]:
    """The `limit` pairs with the most issues, both directions together, ties by ids; `there` is the larger count."""
    counts = Counter(zip(issues.categories.tolist(), issues.suggested.tolist(), strict=True))
    totals = Counter[tuple[int, int]]()
    for pair, count in counts.items():
        totals[min(pair), max(pair)] += count
    found = []
    for (one, other), _ in sorted(totals.items(), key=lambda item: (-item[1], item[0]))[:limit]:
        if counts[other, one] > counts[one, other]:
            one, other = other, one
        found.append(Confusion(one, paths[one], other, paths[other], counts[one, other], counts[other, one]))
    return found
