"""Encodes pictures with any transformers vision model, ViT first of all, from a model hub or a folder."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from rubrika.encode.encoder import FloatArray
from rubrika.encode.hub import model_folder
from rubrika.encode.pretrained import fingerprint, identity_of, unit_vectors


class VisionEncoder:
    """A transformers vision model as a `PictureEncoder`; `Sight` says which vector it takes."""

    def __init__(self, model: str) -> None:
        """Load a model by its name on the hub, or from a folder.

        Raises:
            EncoderError: it cannot be found, or cannot be used so.
        """
        from rubrika.encode.device import best_device, placed
        from rubrika.encode.sight import load_sight

        folder = model_folder(model)
        sight, self._processor = load_sight(folder)
        self._device = best_device()
        self._sight = placed(sight, self._device)
        self.identity = identity_of("vision", fingerprint(folder))
        self.size: int = self._vectors([Image.new("RGB", (32, 32))]).shape[1]

    def encode(self, pictures: Sequence[Image.Image]) -> FloatArray:
        """Encode RGB pictures, as one batch, into float32 (n, size), every row of length 1."""
        return unit_vectors(self._vectors(pictures)) if len(pictures) else np.empty((0, self.size), np.float32)

    def _vectors(self, pictures: Sequence[Image.Image]) -> FloatArray:
        from rubrika.encode.device import run_pictures

        return run_pictures(self._look, pictures, self._device)

    def _look(self, pictures: Sequence[Image.Image]) -> Any:  # noqa: ANN401 - a tensor; torch is imported where used
        pixels = self._processor(images=list(pictures), return_tensors="pt")["pixel_values"]
        return self._sight(pixels.to(self._device))
