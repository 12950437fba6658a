"""Remembers which corrections were made under which key, so that one that is sent twice is made once.

A SQLite file beside the index; what it says was done is on disk before it is answered.
"""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rubrika.errors import RubrikaError
from rubrika.serve.database import opened

KEPT = 30 * 24 * 3600.0  # seconds that a key is remembered
MAX_KEY = 200
_TABLE = "CREATE TABLE IF NOT EXISTS corrections (key TEXT PRIMARY KEY, digest TEXT, answer TEXT, at REAL)"


class KeyUsedError(RubrikaError):
    """A key that stood for another correction before."""


def journal_path(folder: Path) -> Path:
    """Where the journal of an index is."""
    return folder.with_name(f"{folder.name}.corrections.sqlite")


def once(folder: Path, key: str | None, asked: object, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` returns, or returned when it was done under this key before; without a key it is done each time.

    `asked` is all that work depends on: under one key, it may be sent again but not differ.
    """
    if key is None:
        return work()
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    path = journal_path(folder)
    with opened(path) as journal:
        journal.execute(_TABLE)
        found = journal.execute("SELECT digest, answer FROM corrections WHERE key = ?", (key,)).fetchone()
        if found and found[0] != digest:
            raise KeyUsedError("this Idempotency-Key stood for another correction; take a new one")
        if found:
            return dict(json.loads(found[1]))
    answer = work()
    # Killed in between, it is made again, which changes nothing more.
    with opened(path, write=True) as journal:
        journal.execute("DELETE FROM corrections WHERE at < ?", (time.time() - KEPT,))
        # Another process may have been asked the same.
        journal.execute(
            "INSERT OR IGNORE INTO corrections VALUES (?, ?, ?, ?)", (key, digest, json.dumps(answer), time.time())
        )
    return answer
