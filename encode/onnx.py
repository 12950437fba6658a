"""Exports a transformer to ONNX, quantised to 8 bits."""

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnxruntime
import torch
from torch import nn

OUTPUT = "vectors"
# What it fuses a residual and its norm into runs ten times slower than the two apart.
SLOWER = ["SkipLayerNormFusion"]


def open_graph(path: Path, make: Callable[[Path], Path]) -> onnxruntime.InferenceSession:
    """Open an ONNX file, which is made when there is none.

    Args:
        path: where it is kept.
        make: given an empty folder, writes the file there and says where.
    """
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Made aside and moved, so that a killed export leaves no half a model.
        with TemporaryDirectory(dir=path.parent) as folder, _quiet():
            os.replace(make(Path(folder)), path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOWER)


def export(
    module: nn.Module, inputs: Mapping[str, torch.Tensor], free: Mapping[int, Any], path: Path, *, whole: bool
) -> Path:
    """Write a module to an ONNX file.

    Args:
        module: gives one tensor, the output called `vectors`.
        inputs: an example of each by name; a dimension of 1 would be taken for a constant.
        free: which of their dimensions may change.
        path: the file.
        whole: keep the weights in that file, up to 2 GB, rather than in another beside it.
    """
    torch.onnx.export(
        module.eval(),
        tuple(inputs.values()),
        path,
        dynamo=True,
        verbose=False,
        external_data=not whole,
        input_names=list(inputs),
        output_names=[OUTPUT],
        dynamic_shapes=(dict(free),) * len(inputs),
    )
    return path


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
