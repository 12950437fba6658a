"""Adds up what several methods say, the better ones counting for more.

Which, and for how much, is chosen by greedy selection with repeats (Caruana et al. 2004, "Ensemble Selection from
Libraries of Models"): again and again the method is added that helps the sum most, on products none of them has seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubrika.metrics import metrics_of
from rubrika.store.base import FloatArray
from rubrika.vote import Votes, fused_vote

ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Ensemble:
    """How much each method counts for, by name; all together 1."""

    weights: Mapping[str, float]

    @property
    def name(self) -> str:
        """What a table calls it: its members, the heaviest first."""
        heaviest = sorted(self.weights.items(), key=lambda item: (-item[1], item[0]))
        return "ensemble: " + " + ".join(f"{weight:.2f} × {name}" for name, weight in heaviest)

    @classmethod
    def chosen(cls, votes: Mapping[str, Votes], truth: NDArray[np.int64]) -> "Ensemble":
        """Choose by weighted F1; the shortest choice among equals, and among methods the first.

        Args:
            votes: of the same n products, by method.
            truth: their categories (n,).
        """
        names, (known, shares) = list(votes), _table(list(votes.values()))
        total, counts = np.zeros(known.shape, np.float32), np.zeros(len(names), np.int64)
        best, best_f1 = counts, -1.0
        for _ in range(ROUNDS):
            scores = [_f1(total + each, known, truth) for each in shares]
            added = int(np.argmax(scores))
            total, counts = total + shares[added], counts + (np.arange(len(names)) == added)
            if scores[added] > best_f1:
                best, best_f1 = counts, scores[added]
        return cls({name: float(count / best.sum()) for name, count in zip(names, best, strict=True) if count})

    def vote(self, votes: Mapping[str, Votes]) -> Votes:
        """What they say together of n products; `votes` are by method, and may be of more than are asked."""
        return fused_vote([(votes[name], weight) for name, weight in self.weights.items()])


def _f1(total: FloatArray, known: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    winners = np.take_along_axis(known, total.argmax(axis=1)[:, None], axis=1)[:, 0]
    return metrics_of(truth, winners).weighted_f1


def _table(votes: list[Votes]) -> tuple[NDArray[np.int64], FloatArray]:
    """The categories that any method names for a product, (n, c), and the share that each gives them, (methods, n, c).

    A few dozen of thousands of categories are named, so that this is far smaller than a column for every category.
    """
    named = np.concatenate([each.categories for each in votes], axis=1)
    order = np.argsort(named, axis=1, kind="stable")
    ordered = np.take_along_axis(named, order, axis=1)
    fresh = np.concatenate([np.zeros((len(named), 1), bool), ordered[:, 1:] != ordered[:, :-1]], axis=1)
    place = np.empty_like(named)
    np.put_along_axis(place, order, fresh.cumsum(axis=1), axis=1)
    known = np.zeros((len(named), int(place.max(initial=0)) + 1), np.int64)
    np.put_along_axis(known, place, named, axis=1)
    shares = np.zeros((len(votes), *known.shape), np.float32)
    start = 0
    for method, each in enumerate(votes):
        width = each.categories.shape[1]
        np.put_along_axis(shares[method], place[:, start : start + width], each.shares, axis=1)
        start += width
    return known, shares
