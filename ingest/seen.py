"""The first row that had each product id, kept in 32 bytes, so that many million rows can be read in one run."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.uint64]
Run = tuple[Ids, NDArray[np.int64]]  # ids (n,), ascending; the content, row and number of the file of each (n, 3)


class FirstRow(NamedTuple):
    """The row of a file that had an id first."""

    content: int  # a hash of the product, to tell a row that says the same from one that does not
    file: Path
    row: int


class SeenRows:
    """First rows by product id.

    >>> seen = SeenRows()
    >>> seen.add({7: FirstRow(-1, Path("a.csv"), 1)})
    >>> seen.of([7, 8])
    {7: FirstRow(content=-1, file=PosixPath('a.csv'), row=1)}
    >>> len(seen)
    1
    """

    def __init__(self) -> None:
        # Sorted by id, each at least twice as long as the next: few to search, and a row is moved few times (a
        # log-structured merge).
        self._runs = list[Run]()
        self._files = dict[Path, int]()

    def __len__(self) -> int:
        return sum(len(run[0]) for run in self._runs)

    def add(self, rows: dict[int, FirstRow]) -> None:
        """Keep the first rows of ids that are not there yet."""
        if not rows:
            return
        numbers = self._files
        fresh = [(one.content, one.row, numbers.setdefault(one.file, len(numbers))) for one in rows.values()]
        self._runs.append(_sorted(np.array(list(rows), np.uint64), np.array(fresh, np.int64)))
        while len(self._runs) > 1 and len(self._runs[-2][0]) < 2 * len(self._runs[-1][0]):
            last, before = self._runs.pop(), self._runs.pop()
            ids, firsts = (np.concatenate(pair) for pair in zip(before, last, strict=True))
            del last, before
            self._runs.append(_sorted(ids, firsts))

    def of(self, ids: Sequence[int]) -> dict[int, FirstRow]:
        """The first rows of those ids that have one."""
        wanted, files = np.array(ids, np.uint64), list(self._files)
        found = dict[int, FirstRow]()
        for known, firsts in self._runs:
            there = wanted[_isin(known, wanted)]
            rows = firsts[np.searchsorted(known, there)].tolist()
            found |= {
                id: FirstRow(content, files[file], row)
                for id, (content, row, file) in zip(there.tolist(), rows, strict=True)
            }
        return found

    def has(self, ids: Ids) -> NDArray[np.bool_]:
        """Which of the ids (n,) have a row."""
        found = np.zeros(len(ids), bool)
        for known, _ in self._runs:
            found |= _isin(known, ids)
        return found


def _sorted(ids: Ids, firsts: NDArray[np.int64]) -> Run:
    order = np.argsort(ids, kind="stable")
    return ids[order], firsts[order]


def _isin(known: Ids, ids: Ids) -> NDArray[np.bool_]:
    """Which of the ids (n,) are among those that are known, ascending."""
    places = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    return np.asarray(known[places] == ids)
