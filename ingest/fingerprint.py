"""Tells whether an ingest would be the last one over again: the same files, the same options, the same Rubrika."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from rubrika import __version__


def fingerprint(files: Sequence[Path], options: tuple[object, ...]) -> str:
    """A digest of all that an ingest without pictures depends on.

    Args:
        files: parquet files, in their order.
        options: whatever else changes what it does, told apart by what `repr` says of it.
    """
    digest = hashlib.sha256(repr((__version__, options)).encode())
    for path in files:
        digest.update(str(path.absolute()).encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
