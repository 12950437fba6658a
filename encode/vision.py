"""Encodes pictures with any transformers vision model, ViT first of all, from a model hub or a folder."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from rubrika.encode.encoder import FloatArray
from rubrika.encode.hub import model_folder, quiet_transformers
from rubrika.encode.pretrained import fingerprint, identity_of, unit_vectors
from rubrika.errors import EncoderError


class VisionEncoder:
    """A transformers vision model as a `PictureEncoder`.

    The vector is the projected picture of a CLIP-like model, else the first token of a model that has one for the whole
    picture, else its pooled output, else the mean over its places.
    """

    def __init__(self, model: str) -> None:
        """Load a model by its name on the hub, or from a folder.

        Raises:
            EncoderError: it cannot be found, or cannot be used so.
        """
        import torch
        from transformers import AutoImageProcessor, AutoModel

        from rubrika.encode.device import best_device
        from rubrika.encode.pooling import check_weights

        quiet_transformers()
        folder = model_folder(model)
        # Pillow's processors: torchvision's give slightly other pixels, and it need not be installed.
        self._processor = AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, backend="pil"
        )
        self._model, report = AutoModel.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, dtype=torch.float32, output_loading_info=True
        )
        self._has_token = any(name.endswith("cls_token") for name, _ in self._model.named_parameters())
        check_weights(report["missing_keys"], needs_pooler=not self._has_token)
        self._device = best_device()
        self._model.to(self._device).eval()
        self.identity = identity_of("vision", fingerprint(folder))
        self.size: int = self._vectors([Image.new("RGB", (32, 32))]).shape[1]

    def encode(self, pictures: Sequence[Image.Image]) -> FloatArray:
        """Encode RGB pictures, as one batch, into float32 (n, size), every row of length 1."""
        return unit_vectors(self._vectors(pictures)) if len(pictures) else np.empty((0, self.size), np.float32)

    def _vectors(self, pictures: Sequence[Image.Image]) -> FloatArray:
        from rubrika.encode.device import inference

        pixels = self._processor(images=list(pictures), return_tensors="pt")["pixel_values"].to(self._device)
        with inference(self._device):
            pooled = self._pooled(pixels)
        vectors: FloatArray = pooled.float().cpu().numpy()
        return vectors

    def _pooled(self, pixels: Any) -> Any:  # noqa: ANN401 - tensors; torch is imported where used
        if hasattr(self._model, "get_image_features"):
            features = self._model.get_image_features(pixel_values=pixels)
            # A tensor until transformers 5, which wraps it.
            return getattr(features, "pooler_output", features)
        output = self._model(pixel_values=pixels)
        if self._has_token:
            return output.last_hidden_state[:, 0]
        pooled = getattr(output, "pooler_output", None)
        if pooled is not None:
            return pooled.flatten(1)
        if output.last_hidden_state.ndim != 3:
            raise EncoderError(f"it is of a kind whose vectors are unknown ({self._model.config.model_type})")
        return output.last_hidden_state.mean(1)
