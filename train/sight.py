"""Loads the picture model that joint training starts from, feeds it pictures, and saves it again.

Its vectors are made by the `Sight` that encodes, so that a saved folder gives what was trained.
Imports torch: import it where used.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from rubrika.encode.device import inference
from rubrika.encode.hub import model_folder
from rubrika.encode.picture import MAX_SIDE, THREADS
from rubrika.encode.pretrained import fingerprint
from rubrika.encode.sight import Sight, load_sight
from rubrika.encode.specs import VIT
from rubrika.errors import EncoderError
from rubrika.products.pictures import PictureError, open_picture
from rubrika.train.base import explained, freeze
from rubrika.train.settings import FinetuneSettings

BATCH = 32


@dataclass(frozen=True)
class PictureBase:
    """A picture encoder with weights and what prepares pictures for it.

    Args:
        module: the model and its pooling.
        processor: pictures to pixels.
        identity: changes with the model.
        failures: pictures that could not be used so far, and why.
    """

    module: Sight
    processor: Any
    identity: str
    failures: dict[Path, str] = field(default_factory=dict)

    def pixels(self, paths: Sequence[Path | None]) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Pixels of the pictures that can be used, None when there are none, and which of the paths they are."""
        with ThreadPoolExecutor(THREADS) as threads:
            opened = list(threads.map(self._open, paths))
        pictures = [picture for picture in opened if picture is not None]
        seen = torch.tensor([picture is not None for picture in opened])
        if not pictures:
            return None, seen
        pixels: torch.Tensor = self.processor(images=pictures, return_tensors="pt")["pixel_values"]
        return pixels, seen

    def vectors(self, paths: Sequence[Path | None], device: torch.device) -> torch.Tensor:
        """Vectors (m, size) of the pictures that can be used, as they are now.

        Raises:
            EncoderError: there is none.
        """
        self.module.to(device).eval()
        parts = []
        for start in range(0, len(paths), BATCH):
            pixels, _ = self.pixels(paths[start : start + BATCH])
            if pixels is not None:
                with inference(device):
                    parts.append(self.module(pixels.to(device)).float().cpu())
        if not parts:
            raise EncoderError("none of the products has a picture that can be used; give the folder of their pictures")
        return torch.cat(parts).clone()

    def save(self, folder: Path) -> None:
        """Write a folder that `--image-encoder` takes."""
        self.module.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)

    def _open(self, path: Path | None) -> Image.Image | None:
        if path is None or path in self.failures:
            return None
        try:
            return open_picture(path, MAX_SIDE)
        except PictureError as error:
            self.failures[path] = str(error)
            return None


def load_picture_base(base: str, settings: FinetuneSettings) -> PictureBase:
    """Load a picture encoder to train.

    Args:
        base: `vit`, or the name or folder of a transformers vision model.
        settings: for the layers to freeze.

    Raises:
        EncoderError: it cannot be found, or cannot be used so.
    """
    with explained(base):
        folder = model_folder(VIT if base == "vit" else base)
        sight, processor = load_sight(folder)
        if sight.has_token and getattr(sight.model, "pooler", None) is not None:
            # It would be saved as it is, beside layers that it no longer fits.
            sight.model.pooler = None
    freeze(sight.model, settings.freeze_layers)
    return PictureBase(sight, processor, fingerprint(folder))
