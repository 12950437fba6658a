"""Vectors of other encoders as inputs to learning: standardised, sometimes left out, and projected."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from rubrika.encode.encoder import FloatArray

CHUNK = 4_096


@dataclass(frozen=True)
class Input:
    """Vectors of one other encoder for all products to learn from.

    Args:
        vectors: float16 or float32 (n, width); a row of zeros is a product that has none.
        there: bool (n,), which products have one.
        mean: float32 (width,), over those that have one.
        spread: float32 (width,), what they are divided by to be about 1 long: standard deviation · √width.
    """

    vectors: NDArray[np.float16] | FloatArray
    there: NDArray[np.bool_]
    mean: FloatArray
    spread: FloatArray

    @classmethod
    def of(cls, vectors: NDArray[np.float16] | FloatArray) -> "Input":
        """Measure mean and spread, some thousand rows at a time."""
        there = np.zeros(len(vectors), bool)
        total, squares = np.zeros(vectors.shape[1]), np.zeros(vectors.shape[1])
        for start in range(0, len(vectors), CHUNK):
            part = vectors[start : start + CHUNK].astype(np.float64)
            there[start : start + CHUNK] = part.any(axis=1)
            total += part.sum(axis=0)
            squares += np.square(part).sum(axis=0)
        count = max(int(there.sum()), 1)
        mean = total / count
        # Divided by the root of the width, so that a standardised vector is about 1 long, however wide.
        spread = (np.sqrt(np.maximum(squares / count - mean**2, 0)) + 1e-6) * vectors.shape[1] ** 0.5
        return cls(vectors, there, mean.astype(np.float32), spread.astype(np.float32))

    def part(self, chosen: NDArray[np.bool_]) -> "Input":
        """The vectors of the products that are marked in `chosen` (n,)."""
        return replace(self, vectors=self.vectors[chosen], there=self.there[chosen])


class Projections(torch.nn.Module):
    """One matrix an input; what it gives is added to the mean of a product's features."""

    def __init__(self, inputs: Mapping[str, Input], size: int, generator: torch.Generator) -> None:
        super().__init__()
        self._inputs = inputs
        # Small at first, so that pictures join what the text has begun.
        self.matrices = torch.nn.ParameterDict(
            {
                name: torch.nn.Parameter(
                    torch.randn(given.vectors.shape[1] + 1, size, generator=generator) * size**-0.5 * 0.1
                )
                for name, given in inputs.items()
            }
        )

    def forward(self, chosen: NDArray[np.int64], kept: NDArray[np.bool_]) -> torch.Tensor:
        """The sum of the projected vectors of these products (n, size); `kept` says for which they are looked at."""
        parts = []
        for name, given in self._inputs.items():
            there = (given.there[chosen] & kept)[:, None].astype(np.float32)
            standard = (given.vectors[chosen].astype(np.float32) - given.mean) / given.spread
            padded = torch.from_numpy(np.concatenate([standard, np.ones_like(there)], axis=1) * there)
            parts.append(padded @ self.matrices[name])
        return torch.stack(parts).sum(0)

    def folded(self) -> dict[str, FloatArray]:
        """For vectors as they are: (v - mean) / spread · M + b = v · S + (b - mean · S) with S = M / spread."""
        matrices = {}
        for name, given in self._inputs.items():
            learned = self.matrices[name].detach().numpy()
            scaled = learned[:-1] / given.spread[:, None]
            matrices[name] = np.concatenate([scaled, (learned[-1] - given.mean @ scaled)[None]]).astype(np.float32)
        return matrices
