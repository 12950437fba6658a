"""What every picture encoder can do, and how it is fed: pictures are opened by threads while it computes."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rubrika.encode.cache import VectorCache
from rubrika.encode.encoder import FloatArray
from rubrika.products.pictures import PictureError, open_picture

# Enough to keep an encoder busy; more would only hold more pictures in memory.
THREADS = 4
BATCHES_AHEAD = 2
# No encoder looks closer, and it bounds memory: 64 waiting pictures of 50 million pixels would take 10 GB.
MAX_SIDE = 1_024
CHUNK = 256


class PictureEncoder(Protocol):
    """Turns pictures into vectors whose cosine says how alike they look."""

    @property
    def size(self) -> int:
        """The width of a vector."""

    @property
    def identity(self) -> str:
        """A short hash of all that determines the vectors."""

    def encode(self, pictures: Sequence[Image.Image]) -> FloatArray:
        """Encode RGB pictures, as one batch, into float32 (n, size), every row of length 1."""


@dataclass(frozen=True)
class EncodedPictures:
    """Vectors of the pictures that could be used.

    Args:
        vectors: float32 (m, size).
        rows: int64 (m,), ascending: which of the paths given have a vector.
        failures: the other rows that named a picture, and why it cannot be used, such as `is truncated`.
    """

    vectors: FloatArray
    rows: NDArray[np.int64]
    failures: list[tuple[int, str]]


def encode_pictures(encoder: PictureEncoder, paths: Sequence[Path | None], batch: int = 32) -> EncodedPictures:
    """Open and encode pictures; a row whose path is None has neither a vector nor a failure."""
    vectors, rows, failures = [np.empty((0, encoder.size), np.float32)], list[int](), list[tuple[int, str]]()
    pictures, waiting = list[Image.Image](), list[int]()
    for row, opened in _opened(paths, batch * BATCHES_AHEAD):
        if isinstance(opened, PictureError):
            failures.append((row, str(opened)))
            continue
        pictures.append(opened)
        waiting.append(row)
        if len(pictures) == batch:
            vectors.append(encoder.encode(pictures))
            rows += waiting
            pictures, waiting = [], []
    if pictures:
        vectors.append(encoder.encode(pictures))
        rows += waiting
    return EncodedPictures(np.concatenate(vectors), np.asarray(rows, np.int64), failures)


def cached_pictures(
    encoder: PictureEncoder, paths: Sequence[Path | None], hashes: Sequence[str | None], cache: VectorCache
) -> EncodedPictures:
    """As `encode_pictures`, but only pictures whose hash the cache does not know are opened.

    Args:
        encoder: the cache must be its own, see `VectorCache`.
        paths: where the pictures are, None where a product has none.
        hashes: what `picture_hash` says of each; None leaves the row out.
        cache: filled every CHUNK pictures, so that a killed run goes on where it was.
    """
    rows = np.asarray(
        [row for row, (path, key) in enumerate(zip(paths, hashes, strict=True)) if path and key], np.int64
    )
    keys = [str(hashes[row]) for row in rows]
    vectors = np.empty((len(rows), encoder.size), np.float32)
    known, vectors_known = cache.get(keys)
    vectors[known] = vectors_known
    failures: list[tuple[int, str]] = []
    missing = np.flatnonzero(~known)
    for start in range(0, len(missing), CHUNK):
        part = missing[start : start + CHUNK]
        encoded = encode_pictures(encoder, [paths[rows[place]] for place in part])
        done = part[encoded.rows]
        cache.put([keys[place] for place in done], encoded.vectors)
        vectors[done], known[done] = encoded.vectors, True
        failures += [(int(rows[part[place]]), reason) for place, reason in encoded.failures]
    return EncodedPictures(vectors[known], rows[known], failures)


def _opened(paths: Sequence[Path | None], ahead: int) -> Iterator[tuple[int, Image.Image | PictureError]]:
    """Open pictures in threads, at most `ahead` before they are asked for, in the order of the paths."""
    queue: deque[tuple[int, Future[Image.Image | PictureError]]] = deque()
    with ThreadPoolExecutor(THREADS, "pictures") as threads:
        for row, path in enumerate(paths):
            if path is None:
                continue
            queue.append((row, threads.submit(_open, path)))
            if len(queue) > ahead:
                place, opened = queue.popleft()
                yield place, opened.result()
        for place, opened in queue:
            yield place, opened.result()


def _open(path: Path) -> Image.Image | PictureError:
    try:
        return open_picture(path, MAX_SIDE)
    except PictureError as error:
        return error
