"""Tells whether an ingest would be the last one over again: the same files and pictures, the same options."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from rubrika.products.pictures import PictureFolder


def fingerprint(files: Sequence[Path], pictures: PictureFolder | None, options: tuple[object, ...]) -> str:
    """A digest of all that an ingest depends on: contents of files; names, sizes and times of pictures; options.

    Args:
        files: parquet files, in their order.
        pictures: where the products' pictures are, if anywhere.
        options: whatever else changes what an ingest does, told apart by what `repr` says of it.
    """
    digest = hashlib.sha256(repr(options).encode())
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    if pictures:
        for id, name in sorted(pictures.names.items()):
            state = (pictures.folder / name).stat()
            digest.update(repr((id, name, state.st_size, state.st_mtime_ns)).encode())
    return digest.hexdigest()
