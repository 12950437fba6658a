"""Encodes pictures with the CLIP models of open_clip."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rubrika.encode.encoder import FloatArray
from rubrika.encode.hub import ask_hub, copy_on_disk
from rubrika.encode.pretrained import file_hash, identity_of, unit_vectors
from rubrika.errors import EncoderError

MODEL, WEIGHTS = "ViT-B-32", "laion2b_s34b_b79k"


class ClipEncoder:
    """The picture half of an open_clip model as a `PictureEncoder`."""

    def __init__(self, model: str = MODEL, weights: str = WEIGHTS) -> None:
        """Load a model.

        Args:
            model: the architecture's name in open_clip.
            weights: their name in open_clip, or a file.

        Raises:
            EncoderError: there are none such, or neither hub nor copy.
        """
        import open_clip

        from rubrika.encode.device import best_device, placed

        file = Path(weights).expanduser()
        if not file.is_file():
            _check_names(model, weights)
        self.identity = identity_of("clip", model, file_hash(file) if file.is_file() else weights)
        whole, _, self._prepare = open_clip.create_model_and_transforms(model, str(file) if file.is_file() else weights)
        self._device = best_device()
        # The half that reads texts is dropped.
        self._model = placed(whole.visual, self._device)
        self.size: int = self._vectors([Image.new("RGB", (32, 32))]).shape[1]

    def encode(self, pictures: Sequence[Image.Image]) -> FloatArray:
        """Encode RGB pictures, as one batch, into float32 (n, size), every row of length 1."""
        return unit_vectors(self._vectors(pictures)) if len(pictures) else np.empty((0, self.size), np.float32)

    def _vectors(self, pictures: Sequence[Image.Image]) -> FloatArray:
        from rubrika.encode.device import run_pictures

        return run_pictures(self._look, pictures, self._device)

    def _look(self, pictures: Sequence[Image.Image]) -> Any:  # noqa: ANN401 - a tensor; torch is imported where used
        import torch

        return self._model(torch.stack([self._prepare(picture) for picture in pictures]).to(self._device))


def _check_names(model: str, weights: str) -> None:
    """Say in one sentence, and at once, what open_clip would say in a page or after minutes of trying again."""
    from open_clip import list_models
    from open_clip.pretrained import get_pretrained_cfg

    if model not in list_models():
        raise EncoderError(f"open_clip has no model called {model}")
    place = get_pretrained_cfg(model, weights).get("hf_hub")
    if not place:
        raise EncoderError(f"{weights} is neither a file nor the name of weights that open_clip has for {model}")
    repository = "/".join(place.split("/")[:2])
    if ask_hub(repository) is None:
        copy_on_disk(repository)
