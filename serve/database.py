"""Opens the SQLite files beside an index, and tells what is wrong with one in a sentence.

What was written is on disk when the block ends. Several processes may have one open; each waits a while for another.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import portalocker

from rubrika.errors import IndexFolderError, RubrikaError
from rubrika.files import HELD, writable

PATIENCE = 10.0  # seconds for what another process writes
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


@contextmanager
def opened(path: Path, write: bool = False) -> Iterator[sqlite3.Connection]:
    """Open a file; to `write` is one transaction, of which an error within leaves nothing.

    IndexFolderError: another process is writing it. RubrikaError: it cannot be used.
    """
    try:
        with closing(sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)) as db:
            for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL"):
                db.execute(statement)
            if write:
                db.execute("BEGIN IMMEDIATE")
            yield db
            if write:
                db.execute("COMMIT")
    except (sqlite3.Error, ValueError) as error:
        # The kind of an error is the lower byte of its code.
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY:
            raise IndexFolderError(f"{path}: another process is writing it; try again in a moment") from None
        raise RubrikaError(f"{path}: cannot be used ({error}); see to its disk, or remove it") from None


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Do what one process does at a time, by a file that it holds; IndexFolderError: another one does."""
    with writable(path, "see to its disk"):
        file = path.open("ab")
    with file:
        try:
            portalocker.lock(file, HELD)
        except portalocker.LockException:
            raise IndexFolderError(f"{path}: another process is at it already; try again in a moment") from None
        yield
