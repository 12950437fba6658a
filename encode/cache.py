"""Keeps vectors on disk by the hash of what they were made from: nothing is encoded twice, and a killed run goes on.

A cache is a folder of pairs of append-only files, `NAME.vectors` and `NAME.keys`. Every process appends to a pair of
its own, so that writers need no lock; a vector is on disk before its key is, so that a torn write is a vector without
a key, or part of a key, and both are ignored.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from rubrika.encode.base import FloatArray

KEY_BYTES, FLOAT_BYTES = 8, 4
CHUNK = 512


@dataclass
class _Segment:
    """One pair of files: its rows are numbered from `start` over all pairs of the cache."""

    path: Path
    start: int
    count: int = 0

    @property
    def keys(self) -> Path:
        return self.path.with_suffix(".keys")

    @property
    def vectors(self) -> Path:
        return self.path.with_suffix(".vectors")


class VectorCache:
    """Vectors of one encoder by 16 hexadecimal digits of content hash."""

    def __init__(self, folder: Path, identity: str, size: int) -> None:
        """Open or make the cache of an encoder.

        Args:
            folder: where the caches of all encoders are.
            identity: of the encoder; another identity is another cache.
            size: the width of a vector.
        """
        self.size = size
        self._folder = folder / f"{identity}-{size}"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._places: dict[int, int] = {}
        self._segments: list[_Segment] = []
        for path in sorted(self._folder.glob("*.keys")):
            self._read(_Segment(path, self._end))
        self._own: _Segment | None = None

    def __len__(self) -> int:
        """How many vectors are known."""
        return len(self._places)

    def get(self, hashes: Sequence[str]) -> tuple[NDArray[np.bool_], FloatArray]:
        """Look vectors up.

        Returns:
            Which of the hashes are known, and the vectors of those alone, in the same order.
        """
        places = np.asarray([self._places.get(int(key, 16), -1) for key in hashes], np.int64)
        found = places >= 0
        places = places[found]
        vectors = np.empty((len(places), self.size), np.float32)
        for segment in self._segments:
            here = (places >= segment.start) & (places < segment.start + segment.count)
            if here.any():
                shape = (segment.count, self.size)
                vectors[here] = np.memmap(segment.vectors, "<f4", "r", shape=shape)[places[here] - segment.start]
        return found, vectors

    def put(self, hashes: Sequence[str], vectors: FloatArray) -> None:
        """Keep vectors; when this returns they are on disk."""
        if vectors.shape != (len(hashes), self.size):
            raise ValueError(f"vectors are {vectors.shape}, not {(len(hashes), self.size)}")
        if not hashes:
            return
        keys = np.asarray([int(key, 16) for key in hashes], "<u8")
        if self._own is None:
            self._own = _Segment(self._folder / uuid4().hex, self._end)
            self._segments.append(self._own)
        # Taken back at the end: after a write that failed, on a full disk say, the next goes to files of its own.
        own, self._own = self._own, None
        _append(own.vectors, np.ascontiguousarray(vectors, "<f4"))
        _append(own.keys, keys)
        self._remember(own, keys)
        self._own = own

    @property
    def _end(self) -> int:
        return self._segments[-1].start + self._segments[-1].count if self._segments else 0

    def _read(self, segment: _Segment) -> None:
        if not segment.vectors.exists():
            return
        # Another process may be appending: its keys are counted first, the vectors behind them are then there.
        count = segment.keys.stat().st_size // KEY_BYTES
        count = min(count, segment.vectors.stat().st_size // (FLOAT_BYTES * self.size))
        self._segments.append(segment)
        self._remember(segment, np.fromfile(segment.keys, "<u8", count))

    def _remember(self, segment: _Segment, keys: NDArray[np.uint64]) -> None:
        first = segment.start + segment.count
        self._places.update(zip(keys.tolist(), range(first, first + len(keys)), strict=True))
        segment.count += len(keys)


def cached_encode(
    cache: VectorCache,
    hashes: Sequence[str],
    encode_missing: Callable[[NDArray[np.int64]], FloatArray],
    chunk: int = CHUNK,
) -> FloatArray:
    """The vectors of all hashes, encoding only those that the cache does not know, each once.

    Args:
        cache: filled every `chunk` vectors, so that a killed run goes on where it was.
        hashes: of the contents, in order.
        encode_missing: given rows of `hashes`, gives their vectors.
        chunk: how many are encoded before they are kept.
    """
    found, known = cache.get(hashes)
    vectors = np.empty((len(hashes), cache.size), np.float32)
    vectors[found] = known
    unknown: dict[str, list[int]] = {}
    for row in np.flatnonzero(~found).tolist():
        unknown.setdefault(hashes[row], []).append(row)
    keys = list(unknown)
    for start in range(0, len(keys), chunk):
        part = keys[start : start + chunk]
        made = encode_missing(np.asarray([unknown[key][0] for key in part], np.int64))
        cache.put(part, made)
        for key, vector in zip(part, made, strict=True):
            vectors[unknown[key]] = vector
    return vectors


def _append(path: Path, values: NDArray[np.float32] | NDArray[np.uint64]) -> None:
    with path.open("ab") as file:
        file.write(values.tobytes())
        file.flush()
        os.fsync(file.fileno())
