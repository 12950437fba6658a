"""What all encoders share: their Protocols, unit vectors, identities, and settings read from files. Needs no torch."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache, partial
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from rubrika.errors import EncoderError
from rubrika.files import read_bounded
from rubrika.products.text import one_line

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FloatArray = NDArray[np.float32]
VERSION = "1"  # raised when the same settings begin to give other vectors, so that caches are not believed
MODEL_FILES = {".json", ".txt", ".model", ".safetensors", ".bin"}


class Encoder(Protocol):
    """Turns texts into vectors whose cosine says how alike two products are."""

    size: int  # the width of a vector

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Encode texts into float32 (n, size), every row of length 1; the same text always gives the same row."""


class PretrainedEncoder(Encoder, Protocol):
    """A text encoder whose vectors can be cached."""

    identity: str  # a short hash of all that determines the vectors
    pooling: str  # how the vectors of tokens become one, such as `mean`; empty when the model does not say


Item = TypeVar("Item")


class ModelEncoder(ABC, Generic[Item]):
    """An encoder of texts or pictures that runs a model."""

    size: int

    def encode(self, items: Sequence[Item]) -> FloatArray:
        """Encode texts or RGB pictures into float32 (n, size), every row of length 1."""
        return unit_vectors(self._vectors(items)) if len(items) else np.empty((0, self.size), np.float32)

    @abstractmethod
    def _vectors(self, items: Sequence[Item]) -> FloatArray:
        """Vectors (n, size) of at least one item, not scaled."""


def unit_or_zero(vectors: FloatArray) -> FloatArray:
    """Scale rows to length 1; a row of zeros stays one."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30), np.float32)


def unit_rows(vectors: FloatArray) -> FloatArray:
    """Scale rows to length 1; a product of which nothing is known gets a direction that all such products share."""
    empty = np.full(vectors.shape[1], vectors.shape[1] ** -0.5, np.float32)
    return np.where(vectors.any(axis=1, keepdims=True), unit_or_zero(vectors), empty)


def unit_vectors(vectors: FloatArray) -> FloatArray:
    """Scale rows to length 1; EncoderError when a value is not finite, which a store would rank first."""
    if not np.isfinite(vectors).all():
        raise EncoderError("the encoder gave a vector that is not finite; its weights may be damaged")
    return unit_rows(vectors)


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
    with path.open("rb") as file:
        return file_digest(file, partial(blake2b, digest_size=8)).hexdigest()


Settings = TypeVar("Settings")


def read_settings(kind: type[Settings], path: Path, max_bytes: int) -> Settings:
    """Read settings from a JSON file: OSError when it cannot be read, ValueError in one line when it is not valid."""
    return validated(kind, read_bounded(path, max_bytes))


def validated(kind: type[Settings], content: bytes | str) -> Settings:
    """Read JSON as a class, strictly when the class says so; ValueError, in one line, when something else is in it."""
    from pydantic import ValidationError

    try:
        return schema(kind).validate_json(content)  # type: ignore[arg-type, no-any-return]
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = "".join(f"{name}: " for name in problem["loc"])
        # Of where it is wrong, at most so many characters are repeated.
        raise ValueError(one_line(where[-100:] + problem["msg"])) from None


@cache
def schema(kind: type) -> "TypeAdapter[Any]":
    """How pydantic reads and writes a class."""
    # Imported with the first file that is read: it takes a moment, and `rubrika --help` reads none.
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def max_positions(config: Any) -> int:  # noqa: ANN401 - transformers is imported where used
    """How many tokens a transformers model takes by its config; `sys.maxsize` when it does not say."""
    positions: int = getattr(config, "max_position_embeddings", None) or sys.maxsize
    # RoBERTa and its kin number positions from behind the padding token's.
    return positions - ((config.pad_token_id or 0) + 1 if "roberta" in config.model_type else 0)
