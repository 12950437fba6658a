"""Runs a text model more than twice as fast on a CPU: exported to ONNX, its weights as int8, by onnxruntime.

Int8 scales are found for each batch, so that a text's vector may differ a little with its company (cosine above 0.99).
Imports torch and onnxruntime: import it where used.
"""

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

from rubrika.encode.batching import IntArray, Run
from rubrika.encode.encoder import FloatArray
from rubrika.errors import EncoderError

INPUTS, OUTPUT = ["input_ids", "attention_mask"], "vectors"


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
    path = cache / "onnx" / f"{identity}.onnx"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Made aside and moved, so that a killed export leaves no half a model.
        with TemporaryDirectory(dir=path.parent) as folder:
            os.replace(_export(load(), Path(folder)), path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(ids: IntArray, mask: IntArray) -> FloatArray:
        vectors: FloatArray = session.run([OUTPUT], dict(zip(INPUTS, (ids, mask), strict=True)))[0]
        return vectors

    return run


def _export(module: nn.Module, folder: Path) -> Path:
    # Two rows of different length: a dimension of 1 would be taken for a constant.
    ids = torch.ones(2, 5, dtype=torch.int64)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    for part in module.modules():
        switch: Any = getattr(part, "set_attn_implementation", None)
        if switch is not None:
            # Written out, attention becomes fewer and faster ONNX nodes than torch's own operator does.
            switch("eager")
    with _quiet():
        torch.onnx.export(
            module.eval(),
            (ids, mask),
            folder / "fp32.onnx",
            dynamo=True,
            verbose=False,
            input_names=INPUTS,
            output_names=[OUTPUT],
            dynamic_shapes=(free, free),
        )
        quantize_dynamic(folder / "fp32.onnx", folder / "int8.onnx", weight_type=QuantType.QInt8, per_channel=True)
    return folder / "int8.onnx"


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters warn of what they come across on the way; what they made is tested instead."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
