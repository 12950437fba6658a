"""What encoders that others trained have in common: a name for all that determines their vectors, and sound vectors."""

from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import numpy as np

from rubrika.encode.encoder import Encoder, FloatArray
from rubrika.encode.encoder import unit_rows
from rubrika.errors import EncoderError

# Raised when the same settings begin to give other vectors, so that caches are not believed.
VERSION = "1"
MODEL_FILES = {".json", ".txt", ".model", ".safetensors", ".bin"}


class PretrainedEncoder(Encoder, Protocol):
    """A text encoder whose vectors may be kept and used again."""

    @property
    def identity(self) -> str:
        """A short hash of all that determines the vectors."""


def identity_of(*parts: object) -> str:
    """16 hexadecimal digits for an encoder's kind, model and settings."""
    return blake2b("\0".join(map(str, (VERSION, *parts))).encode(), digest_size=8).hexdigest()


def fingerprint(folder: Path) -> str:
    """What tells one model folder from another: the commit in a hub's cache, else a hash of the model's files."""
    if folder.parent.name == "snapshots":
        return f"{folder.parent.parent.name}@{folder.name}"
    digest = blake2b(digest_size=8)
    for path in sorted(path for path in folder.rglob("*") if path.suffix in MODEL_FILES and path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()} {file_hash(path)}\n".encode())
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """16 hexadecimal digits of a file's content."""
    digest = blake2b(digest_size=8)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def unit_vectors(vectors: FloatArray) -> FloatArray:
    """Scale rows to length 1.

    Raises:
        EncoderError: a value is not a number or infinite, which a store would rank first.
    """
    if not np.isfinite(vectors).all():
        raise EncoderError("the encoder gave a vector that is not finite; its weights may be damaged")
    return unit_rows(vectors)
