"""Keeps vectors on disk by the hash of what they were made from: nothing is encoded twice, and a killed run goes on.

Each encoder has a SQLite database of its own with a write-ahead log, so that several processes read and write at once
and a killed one leaves whole vectors only. A cache that is damaged or cannot be written never stops a run: its vectors
are made again.
"""

import json
import logging
import sqlite3
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rubrika.encode.base import FloatArray

T = TypeVar("T")
Rows = NDArray[np.int64]
log = logging.getLogger(__name__)
CHUNK = 512
PATIENCE_SECONDS = 60  # how long to wait for another process's write to end
# Rows are numbered as they come, so that vectors fill pages one after another; only the small index is in random order.
# FULL: what was put is on disk, not only on its way there.
SCHEMA = """
PRAGMA page_size = 16384;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS vectors (number INTEGER PRIMARY KEY, hash INTEGER NOT NULL UNIQUE, vector BLOB NOT NULL);
"""
FIND = "SELECT hash, vector FROM vectors WHERE hash IN (SELECT value FROM json_each(?))"
KEEP = "INSERT OR REPLACE INTO vectors (hash, vector) VALUES (?, ?)"


class VectorCache:
    """Vectors of one encoder by 16 hexadecimal digits of content hash."""

    def __init__(self, folder: Path, identity: str, size: int) -> None:
        """Open or make the cache of the encoder with this identity, in a folder of caches, for vectors of this size."""
        self.size = size
        self._path = folder / f"{identity}-{size}.sqlite3"
        self._database: sqlite3.Connection | None = None
        self._warned = False

    def __len__(self) -> int:
        """How many vectors are known."""
        return self._try(lambda database: int(database.execute("SELECT COUNT(*) FROM vectors").fetchone()[0])) or 0

    def get(self, hashes: Sequence[str]) -> tuple[NDArray[np.bool_], FloatArray]:
        """Which of the hashes are known, bool (n,), and the vectors of those alone, in the same order."""
        known, vectors = np.zeros(len(hashes), bool), np.empty((len(hashes), self.size), np.float32)

        def look(database: sqlite3.Connection) -> None:
            count = 0
            for start in range(0, len(hashes), CHUNK):
                keys = _signed(hashes[start : start + CHUNK])
                found = dict(database.execute(FIND, (json.dumps(keys),)))
                for row, key in enumerate(keys, start):
                    if len(blob := found.get(key, b"")) == vectors.itemsize * self.size:
                        vectors[count] = np.frombuffer(blob, "<f4")
                        known[row], count = True, count + 1

        self._try(look)
        return known, vectors[: known.sum()]

    def put(self, hashes: Sequence[str], vectors: FloatArray) -> None:
        """Keep vectors; when this returns they are on disk, unless the cache cannot be written."""
        if vectors.shape != (len(hashes), self.size):
            raise ValueError(f"vectors are {vectors.shape}, not {(len(hashes), self.size)}")

        def keep(database: sqlite3.Connection) -> None:
            with database:
                database.executemany(KEEP, zip(_signed(hashes), np.ascontiguousarray(vectors, "<f4"), strict=True))

        self._try(keep)

    def _try(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Do what can be done with the database; what cannot is logged once, and tried anew the next time."""
        try:
            if self._database is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._database = sqlite3.connect(self._path, timeout=PATIENCE_SECONDS, check_same_thread=False)
                weakref.finalize(self, self._database.close)
                self._database.executescript(SCHEMA)
            return work(self._database)
        except (sqlite3.Error, OSError) as error:
            if not self._warned:
                log.warning("%s: this cache of vectors cannot be used (%s); they are made again", self._path, error)
            self._warned = True
            if self._database is not None:
                self._database.close()
                self._database = None
            # A damaged file, unlike a full disk or a lock, would stay as it is.
            if type(error) is sqlite3.DatabaseError:
                for suffix in ("-wal", "-shm", ""):
                    with suppress(OSError):
                        Path(f"{self._path}{suffix}").unlink(missing_ok=True)
            return None


def cached_encode(
    cache: VectorCache, hashes: Sequence[str], encode_missing: Callable[[Rows], FloatArray], chunk: int = CHUNK
) -> FloatArray:
    """The vectors of all hashes: `encode_missing` makes those of the rows that the cache does not know, each once."""
    found, known = cache.get(hashes)
    vectors = np.empty((len(hashes), cache.size), np.float32)
    vectors[found] = known
    missing = np.flatnonzero(~found).tolist()
    first = {hashes[row]: row for row in reversed(missing)}  # the first row of each hash
    rows = np.array(sorted(first.values()), np.int64)
    # The cache is filled after every chunk, so that a killed run goes on where it was.
    for start in range(0, len(rows), chunk):
        part = rows[start : start + chunk]
        vectors[part] = encode_missing(part)
        cache.put([hashes[row] for row in part], vectors[part])
    for row in missing:
        vectors[row] = vectors[first[hashes[row]]]
    return vectors


def _signed(hashes: Sequence[str]) -> list[int]:
    """Hashes as SQLite's integers, which have a sign."""
    keys: list[int] = np.array([int(key, 16) for key in hashes], np.uint64).view(np.int64).tolist()
    return keys
