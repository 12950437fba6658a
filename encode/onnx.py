"""Exports torch modules to ONNX, in 8 bits where asked for, and opens them with onnxruntime.

Imports torch and onnxruntime: import it where used.
"""

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

Inputs = Mapping[str, torch.Tensor]
OUTPUT = "vectors"
SLOWER = ["SkipLayerNormFusion"]  # what it fuses a residual and its norm into runs ten times slower than the two apart


def open_graph(
    path: Path, load: Callable[[], nn.Module], inputs: Inputs, dynamic: Sequence[int], *, int8: bool = False
) -> onnxruntime.InferenceSession:
    """Open an ONNX file, which is made when there is none, of a module that gives one tensor; `int8` quantises it.

    `inputs` are examples by name, in which a dimension of 1 would be taken for a constant; those in `dynamic` may
    change.
    """
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Made in a folder of its own and moved, so that a killed export leaves no half a model.
        with TemporaryDirectory(dir=path.parent) as folder, _quiet():
            made = Path(folder) / path.name
            _export(load().eval(), inputs, dynamic, made, int8)
            os.replace(made, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOWER)


def _export(module: nn.Module, inputs: Inputs, dynamic: Sequence[int], path: Path, int8: bool) -> None:
    for part in module.modules():
        switch: Any = getattr(part, "set_attn_implementation", None)
        if switch is not None:
            # Written out, attention becomes fewer and faster ONNX nodes than torch's own operator does.
            switch("eager")
    exported = path.with_suffix(".fp32") if int8 else path
    torch.onnx.export(
        module,
        tuple(inputs.values()),
        exported,
        dynamo=True,
        verbose=False,
        external_data=int8,  # one file holds up to 2 GB; what will be quantised may be more
        input_names=list(inputs),
        output_names=[OUTPUT],
        dynamic_shapes=({dimension: torch.export.Dim.DYNAMIC for dimension in dynamic},) * len(inputs),
    )
    if int8:
        quantize_dynamic(exported, path, weight_type=QuantType.QInt8, per_channel=True)


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
