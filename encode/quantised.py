"""Runs a text model several times as fast on a CPU: exported to ONNX, its weights as int8, by onnxruntime.

Int8 scales are found for each batch, so that a text's vector may differ a little with its company (cosine above 0.99).
Imports torch and onnxruntime: import it where used.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

from rubrika.encode.batching import IntArray, Run
from rubrika.encode.encoder import FloatArray
from rubrika.encode.export import OUTPUT, export, open_graph
from rubrika.errors import EncoderError

IDS, MASK = "input_ids", "attention_mask"


class SentenceGraph(nn.Module):
    """A sentence-transformers model with the inputs and the output of `Pooled`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Vectors (n, size) of texts (n, tokens)."""
        features = self.model({"input_ids": input_ids, "attention_mask": attention_mask})
        vectors: torch.Tensor = features["sentence_embedding"]
        return vectors


def run_with_onnx(identity: str, cache: Path | None, load: Callable[[], nn.Module]) -> Run:
    """Run a model in int8, exporting it when the cache has none of that identity.

    Args:
        identity: of the encoder.
        cache: the folder where exported models are kept.
        load: gives a module like `Pooled`; called only to export.

    Raises:
        EncoderError: there is no cache.
    """
    if cache is None:
        raise EncoderError("onnx-int8 needs a folder to keep the exported model in")
    session = open_graph(cache / "onnx" / f"{identity}.onnx", lambda folder: _export(load(), folder))

    def run(ids: IntArray, mask: IntArray) -> FloatArray:
        vectors: FloatArray = session.run([OUTPUT], {IDS: ids, MASK: mask})[0]
        return vectors

    return run


def _export(module: nn.Module, folder: Path) -> Path:
    inputs = {
        IDS: torch.ones(2, 5, dtype=torch.int64),
        MASK: torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
    }
    for part in module.modules():
        switch: Any = getattr(part, "set_attn_implementation", None)
        if switch is not None:
            # Written out, attention becomes fewer and faster ONNX nodes than torch's own operator does.
            switch("eager")
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    exact, small = export(module, inputs, free, folder / "fp32.onnx", whole=False), folder / "int8.onnx"
    quantize_dynamic(exact, small, weight_type=QuantType.QInt8, per_channel=True)
    return small
