"""Runs the linear layers of a model by oneDNN, which packs their weights once: on some CPUs more than twice as fast.

Torch leaves them to MKL, which is slow on processors that are not Intel's. Vectors agree to the rounding of floats.
Imports torch: import it where used.
"""

import torch
from torch import nn


class PackedLinear(nn.Module):
    """A linear layer to be run, not trained."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self._weight = linear.weight.detach().to_mkldnn()
        self.bias = None if linear.bias is None else linear.bias.detach()
        self._bias = None if self.bias is None else self.bias.to_mkldnn()

    @property
    def weight(self) -> torch.Tensor:
        """The weights as they were, for models that look at them beside running the layer."""
        return self._weight.to_dense()

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """What the linear layer gives (…, out) for values (…, in)."""
        result: torch.Tensor = torch.ops.aten.mkldnn_linear(values.to_mkldnn(), self._weight, self._bias).to_dense()
        return result


def pack(module: nn.Module) -> None:
    """Replace the linear layers within a module that is on the CPU; where torch lacks oneDNN, leave them."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    for name, part in module.named_children():
        # Not a subclass: attention of torch's own reads the weights of one.
        if type(part) is nn.Linear and part.weight.dtype == torch.float32:
            setattr(module, name, PackedLinear(part))
        else:
            pack(part)
