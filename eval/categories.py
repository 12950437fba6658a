"""F1 of every category, and how it grows with the number of products that a category was learned from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The smallest number of products in each bin.
SIZES = (0, 1, 5, 10, 20, 50, 100, 200, 500)

Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Score:
    """How well a category is predicted.

    Args:
        category_id: which.
        learned: how many of its products were learned from.
        products: how many were held out.
        predicted: how many held-out products were predicted to be of it.
        right: how many of these are.
        f1: of both.
        taken_for: what its products are taken for, most often first, ties by id, with how many of them; the category
            itself is not among these.
    """

    category_id: int
    learned: int
    products: int
    predicted: int
    right: int
    f1: float
    taken_for: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Size:
    """Categories learned from a like number of products: their mean F1, and how many they are."""

    name: str
    categories: int
    products: int
    f1: float


def scores_of(truth: Labels, predicted: Labels, learned: Labels) -> list[Score]:
    """The score of every category that has a held-out product, by id.

    Args:
        truth: true categories (n,).
        predicted: predicted categories (n,).
        learned: how many products of each true category were learned from (n,).
    """
    known, first, products = np.unique(truth, return_index=True, return_counts=True)
    said = dict(zip(*(array.tolist() for array in np.unique(predicted, return_counts=True)), strict=True))
    pairs, counts = np.unique(np.stack([truth, predicted], axis=1), axis=0, return_counts=True)
    found = []
    # The pairs are in the order of the true category, so each has a run of them.
    bounds = [*np.searchsorted(pairs[:, 0], known, side="left").tolist(), len(pairs)]
    for place, category in enumerate(known.tolist()):
        run = slice(bounds[place], bounds[place + 1])
        taken = dict(zip(pairs[run, 1].tolist(), counts[run].tolist(), strict=True))
        right, true, all_said = taken.pop(category, 0), int(products[place]), said.get(category, 0)
        ordered = tuple(sorted(taken.items(), key=lambda item: (-item[1], item[0])))
        f1 = 2 * right / (true + all_said)
        found.append(Score(category, int(learned[first[place]]), true, all_said, right, f1, ordered))
    return found


def by_size(scores: list[Score]) -> list[Size]:
    """Mean F1 of categories, by how many products they were learned from; bins without any are left out."""
    bins = np.searchsorted(SIZES, [score.learned for score in scores], side="right") - 1
    found = []
    for number, low in enumerate(SIZES):
        inside = [score for score, own in zip(scores, bins, strict=True) if own == number]
        if inside:
            mean = float(np.mean([score.f1 for score in inside]))
            found.append(Size(_name(number, low), len(inside), sum(score.products for score in inside), mean))
    return found


def _name(number: int, low: int) -> str:
    if number + 1 == len(SIZES):
        return f"{low}+"
    high = SIZES[number + 1] - 1
    return str(low) if low == high else f"{low}–{high}"
