"""Where models run: on a GPU in half precision when there is one, else on the CPU, in the way that suits it.

Imports torch: import it where used.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from PIL import Image
from torch import nn

from rubrika.encode.encoder import FloatArray
from rubrika.encode.packed import pack

# A CPU is quickest when what a layer says of all pictures stays in its cache.
CPU_PICTURES = 4

Module = TypeVar("Module", bound=nn.Module)


def best_device() -> torch.device:
    """The GPU when there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def placed(module: Module, device: torch.device) -> Module:
    """A module made ready to run on a device, and no longer to be trained, saved or exported."""
    module.to(device).eval()
    if device.type == "cpu":
        pack(module)
    return module


@contextmanager
def inference(device: torch.device) -> Iterator[None]:
    """No gradients; on a GPU half precision where a layer bears it."""
    if device.type == "cpu":
        with torch.inference_mode():
            yield
        return
    half = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    with torch.inference_mode(), torch.autocast(device.type, half):
        yield


def run_pictures(
    run: Callable[[Sequence[Image.Image]], torch.Tensor], pictures: Sequence[Image.Image], device: torch.device
) -> FloatArray:
    """Run pictures through a model, on a CPU a few at a time.

    Args:
        run: pictures to vectors (m, size).
        pictures: at least one.
        device: where `run` runs.
    """
    step = CPU_PICTURES if device.type == "cpu" else len(pictures)
    with inference(device):
        parts = [run(pictures[start : start + step]).float().cpu() for start in range(0, len(pictures), step)]
    vectors: FloatArray = torch.cat(parts).numpy()
    return vectors
