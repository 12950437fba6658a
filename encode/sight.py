"""Makes one vector of what a transformers vision model says of a picture, as a torch module that runs and trains.

Imports torch: import it where used.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from rubrika.encode.hub import quiet_transformers
from rubrika.encode.pooling import check_weights
from rubrika.errors import EncoderError


class Sight(nn.Module):
    """A vision model and its pooling: pixels in, one vector a picture out, not scaled.

    The vector is the projected picture of a CLIP-like model, else the first token of a model that has one for the whole
    picture, else its pooled output, else the mean over its places.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - transformers' own
        super().__init__()
        self.model = model
        self.has_token = any(name.endswith("cls_token") for name, _ in model.named_parameters())

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Vectors (n, size) of pixels (n, 3, height, width)."""
        vectors: torch.Tensor
        if hasattr(self.model, "get_image_features"):
            features = self.model.get_image_features(pixel_values=pixels)
            # A tensor until transformers 5, which wraps it.
            vectors = getattr(features, "pooler_output", features)
            return vectors
        output = self.model(pixel_values=pixels)
        if self.has_token:
            vectors = output.last_hidden_state[:, 0]
        elif getattr(output, "pooler_output", None) is not None:
            vectors = output.pooler_output.flatten(1)
        elif output.last_hidden_state.ndim == 3:
            vectors = output.last_hidden_state.mean(1)
        else:
            raise EncoderError(f"it is of a kind whose vectors are unknown ({self.model.config.model_type})")
        return vectors


def load_sight(folder: Path) -> tuple[Sight, Any]:
    """Load a vision model, and the processor that makes pixels of pictures for it, from a folder.

    Raises:
        EncoderError: weights that it needs are missing, which transformers would make up.
    """
    from transformers import AutoImageProcessor, AutoModel

    quiet_transformers()
    # Pillow's processors: torchvision's give slightly other pixels, and it need not be installed.
    processor = AutoImageProcessor.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, backend="pil"
    )
    model, report = AutoModel.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, dtype=torch.float32, output_loading_info=True
    )
    sight = Sight(model)
    check_weights(report["missing_keys"], needs_pooler=not sight.has_token)
    return sight, processor
