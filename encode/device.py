"""Where models run: on a GPU in half precision when there is one, else on the CPU.

Imports torch: import it where used.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def best_device() -> torch.device:
    """The GPU when there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


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
