"""The encoder learned from labelled products: a product's vector is the weighted mean of its features' rows.

It needs numpy and scipy alone, so that classifying starts at once; `train/learn.py` makes it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rubrika.encode.encoder import FloatArray
from rubrika.encode.features import Features, features_of
from rubrika.errors import EncoderError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_array

CONFIG, WEIGHTS = "config.json", "model.safetensors"
BATCH_TEXTS = 1_024


@dataclass(frozen=True)
class LearnedConfig:
    """What turns features into rows.

    Args:
        size: the width of a vector.
        bits: a feature's row is the lowest `bits` bits of its hash.
        kind: names this way of encoding, so that another is not mistaken for it.
    """

    size: int
    bits: int
    kind: str = "hashed-bag-1"


class LearnedEncoder:
    """A table of feature vectors and how to read it, as an `Encoder`."""

    def __init__(self, config: LearnedConfig, table: NDArray[np.float16]) -> None:
        if table.shape != (2**config.bits, config.size):
            raise EncoderError(f"the learned encoder's table is {table.shape}, not {(2**config.bits, config.size)}")
        self.config = config
        self._table = table

    @property
    def size(self) -> int:
        """The width of a vector."""
        return self.config.size

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Encode texts into float32 (n, size), every row of length 1."""
        vectors = np.empty((len(texts), self.size), np.float32)
        for start in range(0, len(texts), BATCH_TEXTS):
            part = slice(start, start + BATCH_TEXTS)
            vectors[part] = self._encode(features_of(texts[part]))
        return vectors

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors into a folder, making it."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_text(json.dumps(asdict(self.config), indent=2) + "\n", encoding="utf-8")
        save_file({"table": self._table}, folder / WEIGHTS)

    @classmethod
    def load(cls, folder: Path) -> "LearnedEncoder":
        """Read an encoder that `save` wrote.

        Raises:
            EncoderError: files are missing or damaged.
        """
        try:
            config = LearnedConfig(**json.loads((folder / CONFIG).read_text(encoding="utf-8")))
            if config.kind != LearnedConfig.kind:
                raise EncoderError(f"{folder}: made by a Rubrika that encodes differently ({config.kind}); ingest anew")
            return cls(config, load_file(folder / WEIGHTS)["table"])
        except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
            raise EncoderError(
                f"{folder}: the encoder's files cannot be read ({error}); ingest into a new folder"
            ) from None

    def _encode(self, features: Features) -> FloatArray:
        rows, place = np.unique(feature_rows(features.hashes, self.config.bits), return_inverse=True)
        bags = csr_array((features.weights, place, features.offsets), (len(features.offsets) - 1, len(rows)))
        return unit_rows(bags @ self._table[rows].astype(np.float32))


def feature_rows(hashes: NDArray[np.uint64], bits: int) -> NDArray[np.int64]:
    """The row of each feature in a table of 2^bits rows."""
    return (hashes & np.uint64(2**bits - 1)).astype(np.int64)


def unit_rows(vectors: FloatArray) -> FloatArray:
    """Scale rows to length 1; a text without a single feature gets a direction all such texts share."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    empty = np.full(vectors.shape[1], vectors.shape[1] ** -0.5, np.float32)
    return np.where(norms > 0, vectors / np.maximum(norms, 1e-30), empty).astype(np.float32)
