"""Compiled loops over bags of features: their means by a table of vectors, and the step down the gradient of those.

Every row of a result is one thread's, in one order, so what comes out does not depend on how many threads there are.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from rubrika.encode.base import FloatArray

# Handing less to another thread takes longer than doing it.
ENOUGH = 30_000
STEPS = 100

IntArray = NDArray[np.int64]
Columns = NDArray[np.int32]


def compiled(function: Any) -> Any:  # noqa: ANN401 - numba's functions have no type
    """The function as machine code, kept for later processes where there is a folder for it."""
    try:
        return numba.njit(cache=True, fastmath=True, nogil=True)(function)
    except RuntimeError:  # there is no folder that may hold the compiled function
        return numba.njit(fastmath=True, nogil=True)(function)


@dataclass(frozen=True, slots=True)
class Part:
    """The features of some products, each with the part of its product that it is."""

    offsets: IntArray  # product i has those from offsets[i] to offsets[i + 1]
    columns: Columns
    weights: FloatArray


class Table:
    """A vector for each of m features, float32 (m, size), learned by Adagrad with one rate a row."""

    def __init__(self, vectors: FloatArray, threads: int) -> None:
        self.vectors, self._squares = vectors, np.zeros(len(vectors), np.float32)
        self._place = np.full(len(vectors), -1, np.int32)  # of a column among those in use; -1 between steps
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def means(self, part: Part) -> FloatArray:
        """The mean vector of each product, (n, size)."""
        found = np.empty((len(part.offsets) - 1, self.vectors.shape[1]), np.float32)
        self._shared(
            len(part.columns), len(found), _means, part.offsets, part.columns, part.weights, self.vectors, found
        )
        return found

    def descend(self, part: Part, gradient: FloatArray, rate: float) -> None:
        """Take a step: `gradient` (n, size) is that of the means."""
        used, starts, owners, weights = _transposed(part.offsets, part.columns, part.weights, self._place)
        self._shared(
            len(part.columns),
            len(used),
            _descend,
            used,
            starts,
            owners,
            weights,
            gradient,
            self.vectors,
            self._squares,
            np.float32(rate),
        )

    def _shared(self, features: int, count: int, work: Callable[..., None], *arguments: object) -> None:
        """Let each thread do the same number of rows, where there are enough features for several."""
        if self._pool is None or features < ENOUGH:
            work(*arguments, 0, count)
            return
        bounds = np.linspace(0, count, self._threads + 1).astype(int).tolist()
        list(self._pool.map(lambda part: work(*arguments, *part), pairwise(bounds)))


class Adam:
    """Changes parameters in place by their gradients (Kingma and Ba 2015), with the usual constants."""

    def __init__(self, parameters: Sequence[FloatArray]) -> None:
        self._parameters, self._steps = parameters, 0
        self._means = [np.zeros_like(each) for each in parameters]
        self._squares = [np.zeros_like(each) for each in parameters]

    def step(self, gradients: Sequence[FloatArray], rates: Sequence[float]) -> None:
        """Take a step, each parameter at a rate of its own."""
        self._steps += 1
        first, second = 1 - 0.9**self._steps, 1 - 0.999**self._steps
        for parameter, mean, square, gradient, rate in zip(
            self._parameters, self._means, self._squares, gradients, rates, strict=True
        ):
            mean += np.float32(0.1) * (gradient - mean)
            square += np.float32(0.001) * (gradient * gradient - square)
            parameter -= np.float32(rate / first) * mean / (np.sqrt(square / np.float32(second)) + np.float32(1e-8))


def parts_of(features: csr_array, rows: IntArray, turn: int, most: int) -> Part:
    """The features of some products; of more than `most` every so manyth, others at each `turn`."""
    return Part(*_gathered(features.indptr, features.indices, features.data, rows, turn, most))


def bags_for_margin(
    features: csr_array, products: IntArray, place_of: Columns, rarity: FloatArray, most: int, square: np.float32
) -> Part:
    """The features of some products that have a place (-1: none), weighted by rarity: of more than `most` the heaviest.

    The squares of a product's weights sum to `square`.
    """
    parts = features.indptr, features.indices, features.data
    return Part(*_weighted(*parts, products, place_of, rarity, most, square))


@compiled
def times_there(
    offsets: NDArray[Any], columns: NDArray[Any], products: IntArray, width: int
) -> IntArray:  # pragma: no cover - compiled
    """How many of some products have each of `width` features."""
    found = np.zeros(width, np.int64)
    for product in products:
        for place in range(offsets[product], offsets[product + 1]):
            found[columns[place]] += 1
    return found


@compiled
def _weighted(
    offsets: NDArray[Any],
    columns: NDArray[Any],
    values: NDArray[Any],
    products: IntArray,
    place_of: Columns,
    rarity: FloatArray,
    most: int,
    square: np.float32,
) -> tuple[IntArray, Columns, FloatArray]:  # pragma: no cover - compiled
    ends, room = np.zeros(len(products) + 1, np.int64), 0
    for product in products:
        known = 0
        for place in range(offsets[product], offsets[product + 1]):
            known += place_of[columns[place]] >= 0
        room += min(known, most)
    found, weights = np.empty(room, np.int32), np.empty(room, np.float32)
    for number, product in enumerate(products):
        here = place_of[columns[offsets[product] : offsets[product + 1]]]
        there = np.flatnonzero(here >= 0)
        here = here[there]
        heavy = values[offsets[product] + there] * rarity[here]
        if len(here) > most:
            # Quicker than to sort: the lightest are left out by steps of a hundredth of the heaviest.
            step = (heavy / (heavy.max() / np.float32(STEPS))).astype(np.int64)
            above = np.cumsum(np.bincount(step, minlength=STEPS + 1)[::-1])[::-1]
            heaviest = np.flatnonzero(above[step] <= most)
            here, heavy = here[heaviest], heavy[heaviest]
        start, end = ends[number], ends[number] + len(here)
        ends[number + 1] = end
        found[start:end] = here
        weights[start:end] = heavy / max(np.sqrt(np.sum(heavy * heavy) / square), np.float32(1e-30))
    return ends, found[: ends[-1]], weights[: ends[-1]]


@compiled
def _gathered(
    offsets: NDArray[Any], columns: NDArray[Any], values: NDArray[Any], rows: IntArray, turn: int, most: int
) -> tuple[IntArray, Columns, FloatArray]:  # pragma: no cover - compiled
    ends = np.zeros(len(rows) + 1, np.int64)
    for number, row in enumerate(rows):
        count = offsets[row + 1] - offsets[row]
        steps = max(-(-count // most), 1)
        ends[number + 1] = ends[number] + (count - turn % steps + steps - 1) // steps
    found, weights = np.empty(ends[-1], np.int32), np.empty(ends[-1], np.float32)
    for number, row in enumerate(rows):
        count = offsets[row + 1] - offsets[row]
        steps = max(-(-count // most), 1)
        place, total = offsets[row] + turn % steps, np.float32(0)
        for at in range(ends[number], ends[number + 1]):
            found[at], weights[at] = columns[place], values[place]
            total += weights[at]
            place += steps
        for at in range(ends[number], ends[number + 1]):
            weights[at] /= total
    return ends, found, weights


@compiled
def _means(
    offsets: IntArray,
    columns: Columns,
    weights: FloatArray,
    table: FloatArray,
    found: FloatArray,
    first: int,
    last: int,
) -> None:  # pragma: no cover - compiled
    for product in range(first, last):
        found[product] = 0
        for place in range(offsets[product], offsets[product + 1]):
            weight, column = weights[place], columns[place]
            for number in range(table.shape[1]):
                found[product, number] += weight * table[column, number]


@compiled
def _transposed(
    offsets: IntArray, columns: Columns, weights: FloatArray, place_of: Columns
) -> tuple[Columns, IntArray, Columns, FloatArray]:  # pragma: no cover - compiled
    """The columns in use, and for each where the products that have it start; those products, and its weights."""
    used, count = np.empty(len(columns), np.int32), 0
    sizes = np.zeros(len(columns) + 1, np.int64)
    for column in columns:
        if place_of[column] < 0:
            place_of[column] = count
            used[count] = column
            count += 1
        sizes[place_of[column] + 1] += 1
    starts = np.cumsum(sizes[: count + 1])
    free = starts[:-1].copy()
    owners, found = np.empty(len(columns), np.int32), np.empty(len(columns), np.float32)
    for product in range(len(offsets) - 1):
        for place in range(offsets[product], offsets[product + 1]):
            at = place_of[columns[place]]
            owners[free[at]], found[free[at]] = product, weights[place]
            free[at] += 1
    for column in used[:count]:
        place_of[column] = -1
    return used[:count], starts, owners, found


@compiled
def _descend(
    used: Columns,
    starts: IntArray,
    owners: Columns,
    weights: FloatArray,
    gradient: FloatArray,
    table: FloatArray,
    squares: FloatArray,
    rate: float,
    first: int,
    last: int,
) -> None:  # pragma: no cover - compiled
    size = table.shape[1]
    total = np.empty(size, np.float32)
    for place in range(first, last):
        column = used[place]
        total[:] = 0
        for at in range(starts[place], starts[place + 1]):
            owner, weight = owners[at], weights[at]
            for number in range(size):
                total[number] += weight * gradient[owner, number]
        square = np.float32(0)
        for number in range(size):
            square += total[number] * total[number]
        squares[column] += square / np.float32(size)
        step = rate / np.sqrt(squares[column] + np.float32(1e-16))
        for number in range(size):
            table[column, number] -= step * total[number]
