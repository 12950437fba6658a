"""Makes one vector of what a transformer says of each token, as a torch module that runs, trains and exports the same.

Imports torch: import it where used.
"""

from pathlib import Path

import torch
from torch import nn

from rubrika.encode.batching import IntArray, Run
from rubrika.encode.device import inference, placed
from rubrika.encode.encoder import FloatArray
from rubrika.encode.hub import quiet_transformers
from rubrika.encode.recipe import Pooling
from rubrika.errors import EncoderError


class Pooled(nn.Module):
    """A transformer and its pooling: token ids and mask in, one vector a text out, not scaled."""

    def __init__(self, model: nn.Module, pooling: Pooling) -> None:
        """Join a transformers encoder with a pooling.

        Args:
            model: of the BERT kind.
            pooling: see `Recipe`.
        """
        super().__init__()
        self.model = model
        self.pooling = pooling

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Vectors (n, size) of texts (n, tokens)."""
        output = self.model(input_ids=input_ids, attention_mask=attention_mask)
        if self.pooling == "pooler":
            pooled: torch.Tensor = output.pooler_output
            return pooled
        tokens: torch.Tensor = output.last_hidden_state
        if self.pooling == "cls":
            return tokens[:, 0]
        weights = attention_mask.unsqueeze(-1).to(tokens.dtype)
        return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1)


def load_pooled(folder: Path, pooling: Pooling) -> Pooled:
    """Load a transformers encoder from a folder.

    Raises:
        EncoderError: it is no encoder, or weights that it needs are missing, which transformers would make up.
    """
    from transformers import AutoModel

    quiet_transformers()
    model, report = AutoModel.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, dtype=torch.float32, output_loading_info=True
    )
    if model.config.is_encoder_decoder:
        raise EncoderError(f"it writes texts ({model.config.model_type}); an encoder such as BERT is needed")
    check_weights(report["missing_keys"], needs_pooler=pooling == "pooler")
    if pooling == "pooler" and getattr(model, "pooler", None) is None:
        raise EncoderError("the model has no pooler layer; pool by mean or cls")
    return Pooled(model, pooling).eval()


def check_weights(missing: set[str], *, needs_pooler: bool) -> None:
    """Refuse a model some of whose weights were not in its files.

    Raises:
        EncoderError: naming one of them.
    """
    lost = sorted(name for name in missing if needs_pooler or "pooler" not in name)
    if lost:
        raise EncoderError(f"its files lack {len(lost)} of the model's weights, such as {lost[0]}")


def run_with_torch(module: nn.Module, device: torch.device) -> Run:
    """Run a module like `Pooled`, which is given up to it."""
    placed(module, device)

    def run(ids: IntArray, mask: IntArray) -> FloatArray:
        with inference(device):
            pooled = module(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))
        vectors: FloatArray = pooled.float().cpu().numpy()
        return vectors

    return run
