"""Chooses the held-out rows: plainly, by category, or whole groups; the same seed always chooses the same rows."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubrika.errors import RubrikaError

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Split:
    """Which rows are held out, and what names that choice: how, seed, and a hash of the held-out product ids."""

    held_out: Mask
    how: str
    seed: int
    hash: str


def plain_split(ids: NDArray[np.uint64], holdout: float, seed: int) -> Split:
    """Hold out a random part of the rows."""
    held_out = np.zeros(len(ids), bool)
    held_out[np.random.default_rng(seed).permutation(len(ids))[: _target(len(ids), holdout)]] = True
    return _named(held_out, ids, "rows", seed)


def stratified_split(ids: NDArray[np.uint64], categories: NDArray[np.int64], holdout: float, seed: int) -> Split:
    """Hold out the same part of every category, and no category's last product."""
    _target(len(ids), holdout)
    order = np.random.default_rng(seed).permutation(len(ids))
    code = np.unique(categories, return_inverse=True)[1][order]
    by_category = np.argsort(code, kind="stable")
    size = np.bincount(code)
    rank = np.arange(len(ids)) - np.repeat(np.cumsum(size) - size, size)
    held_out = np.zeros(len(ids), bool)
    held_out[order[by_category]] = rank < np.minimum(np.round(size * holdout), size - 1)[code[by_category]]
    return _named(held_out, ids, "stratified", seed)


def group_split(ids: NDArray[np.uint64], groups: Sequence[str], holdout: float, seed: int, column: str) -> Split:
    """Hold out whole groups until they hold about `holdout` of the rows, so that no near duplicate is on both sides."""
    target = _target(len(ids), holdout)
    code = np.unique(np.array(groups, object).astype(str), return_inverse=True)[1]
    size = np.bincount(code)
    order = np.random.default_rng(seed).permutation(len(size))
    chosen = np.zeros(len(size), bool)
    # At least one group and never all of them, however large they are.
    count = np.clip(np.searchsorted(np.cumsum(size[order]), target, side="right"), 1, max(len(size) - 1, 1))
    chosen[order[:count]] = True
    return _named(chosen[code], ids, f"groups of {column}", seed)


def _target(rows: int, holdout: float) -> int:
    target = round(rows * holdout) if 0 < holdout < 1 else 0
    if not 0 < target < rows:
        raise RubrikaError(
            f"a held-out part of {holdout} leaves {target} of {rows} rows to test on; choose another --holdout"
        )
    return target


def _named(held_out: Mask, ids: NDArray[np.uint64], how: str, seed: int) -> Split:
    if not held_out.any() or held_out.all():
        raise RubrikaError("no split of these rows leaves products on both sides; give more rows")
    digest = hashlib.sha256(np.sort(ids[held_out]).astype("<u8").tobytes()).hexdigest()
    return Split(held_out, how, seed, digest[:16])
