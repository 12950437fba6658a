"""Chooses the held-out rows: plainly, by category, or whole groups; the same seed always chooses the same rows.

However they are chosen, rows of one product id stay on one side: they are one product.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from rubrika.errors import RubrikaError
from rubrika.products.text import shortened

Mask = NDArray[np.bool_]
IntArray = NDArray[np.int64]

ENOUGH = 0.99  # when this part of the wanted rows is reached, no more groups are searched for that would fill the rest


@dataclass(frozen=True, slots=True)
class Split:
    """Which rows are held out, and what identifies that choice: how, seed, and a hash of the held-out product ids."""

    held_out: Mask
    how: str
    seed: int
    hash: str


def plain_split(ids: NDArray[np.uint64], holdout: float, seed: int) -> Split:
    """Hold out a random part of the rows."""
    return _named(group_holdout(families(ids), holdout, seed), ids, "rows", seed)


def group_split(ids: NDArray[np.uint64], groups: Sequence[str], holdout: float, seed: int, column: str) -> Split:
    """Hold out whole groups until they hold about `holdout` of the rows, so that no near duplicate is on both sides."""
    if len(named := set(groups)) == 1:
        what = (
            "is empty in all rows"
            if named == {""}
            else f"has one value, {shortened(next(iter(named)), 40)}, in all rows"
        )
        raise RubrikaError(f"column {column} {what}, so it names no groups; name another one with `group_by`")
    return _named(group_holdout(families(ids, groups), holdout, seed), ids, f"groups of {column}", seed)


def stratified_split(ids: NDArray[np.uint64], categories: IntArray, holdout: float, seed: int) -> Split:
    """Hold out the same part of every category, but no category's last product; each counts where its last row is."""
    _target(len(ids), holdout)
    family = families(ids)
    category = np.empty(family.max() + 1, np.int64)
    category[family] = categories
    order = np.random.default_rng(seed).permutation(len(category))
    code = np.unique(category, return_inverse=True)[1][order]
    by_category = np.argsort(code, kind="stable")
    size = np.bincount(code)
    rank = np.arange(len(category)) - np.repeat(np.cumsum(size) - size, size)
    chosen = np.zeros(len(category), bool)
    chosen[order[by_category]] = rank < np.minimum(np.round(size * holdout), size - 1)[code[by_category]]
    return _named(chosen[family], ids, "stratified", seed)


def unsplit(ids: NDArray[np.uint64], how: str, seed: int) -> Split:
    """Ask all rows, of an index that was there before."""
    return Split(np.ones(len(ids), bool), how, seed, _digest(ids))


def families(ids: NDArray[np.uint64], groups: Sequence[str] | None = None) -> IntArray:
    """A number for each row (n,), equal for rows of one product id or group; without groups in the order of first rows.

    The names of groups (n,) are empty for a row without one; groups that have a product in common are one.
    """
    _, first, place = np.unique(ids, return_index=True, return_inverse=True)
    product: IntArray = np.unique(first[place], return_inverse=True)[1]
    if groups is None:
        return product
    names = np.array(groups, object).astype(str)
    named = names != ""
    known, code = np.unique(names[named], return_inverse=True)
    group = np.empty(len(ids), np.int64)
    group[named], group[~named] = code, len(known) + np.arange(len(ids) - len(code))
    size = int(group.max() + product.max()) + 2  # groups and products are the nodes of a graph, rows its edges
    edges = csr_array((np.ones(len(ids), bool), (group, size - 1 - product)), (size, size))
    return np.asarray(connected_components(edges, directed=False)[1][group], np.int64)


def group_holdout(groups: IntArray, holdout: float, seed: int) -> Mask:
    """Hold out whole groups, numbered from 0, that have about the part `holdout` of the rows (n,)."""
    target, size = _target(len(groups), holdout), np.bincount(groups)
    chosen = np.zeros(len(size), bool)
    chosen[groups_within(size, np.random.default_rng(seed).permutation(len(size)), target)] = True
    return chosen[groups]


def groups_within(size: IntArray, order: IntArray, max_rows: float) -> IntArray:
    """The first groups in an order that have at most `max_rows` rows in all; one that no longer fits is passed over.

    `size` has the rows of each group; where not even one of `order` is so small, the smallest is returned.
    """
    taken, left, rest = [order[:0]], max_rows, order
    while left > max_rows * (1 - ENOUGH) and len(rest := rest[size[rest] <= left]):
        taken.append(rest[: np.searchsorted(np.cumsum(size[rest]), left, side="right")])
        left, rest = left - size[taken[-1]].sum(), rest[len(taken[-1]) :]
    found = np.concatenate(taken)
    return found if len(found) else order[[np.argmin(size[order])]]


def _target(rows: int, holdout: float) -> int:
    target = round(rows * holdout) if 0 < holdout < 1 else 0
    if not 0 < target < rows:
        raise RubrikaError(f"holdout {holdout} leaves {target} of {rows} rows to test on; choose another `holdout`")
    return target


def _named(held_out: Mask, ids: NDArray[np.uint64], how: str, seed: int) -> Split:
    if not held_out.any() or held_out.all():
        raise RubrikaError("no split of these rows leaves products on both sides; give more rows")
    return Split(held_out, how, seed, _digest(ids[held_out]))


def _digest(ids: NDArray[np.uint64]) -> str:
    return hashlib.sha256(np.sort(ids).astype("<u8").tobytes()).hexdigest()[:16]
