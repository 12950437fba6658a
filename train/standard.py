"""A linear layer on vectors brought to mean 0 and spread 1 first, which is what every head here is made of.

Vectors of a pretrained encoder point much the same way: nine tenths of multilingual-e5-small's length is common to all.
A head that starts on what differs learns in a hundred steps what takes thousands otherwise.
Imports torch: import it where used.
"""

import torch
from torch import nn


class StandardisedLinear(nn.Module):
    """Vectors (n, width) to (n, size)."""

    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(self, sample: torch.Tensor, size: int) -> None:
        """Measure how vectors lie, once.

        Args:
            sample: vectors (m, width) of the untrained encoder.
            size: how many numbers come out.
        """
        super().__init__()
        self.register_buffer("mean", sample.mean(0))
        self.register_buffer("spread", sample.std(0, correction=0).clamp(min=1e-6))
        self.linear = nn.Linear(sample.shape[1], size)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """What comes out."""
        out: torch.Tensor = self.linear((vectors.float() - self.mean) / self.spread).float()
        return out
