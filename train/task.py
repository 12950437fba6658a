"""A model to train for categories with its products, and how well it knows those that were held out.

Imports torch: import it where used.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score
from torch import nn

from rubrika.encode.base import FloatArray, best_device, inference, unit_rows
from rubrika.encode.text import CPU_TOKENS, batches_of
from rubrika.train.schedule import IntArray
from rubrika.train.validation import nearest_categories

# Products learnt from that the held-out ones look for neighbours among.
KNOWN = 20_000


@dataclass(frozen=True)
class Task:
    """A model to train, and the products to train it on.

    Args:
        module: everything that is trained or kept frozen.
        forward: rows to their vectors (n, size) and the scores of categories (n, categories).
        fresh: how the names of weights begin that start from nothing.
        lengths: tokens of each row.
        labels: the category of each row, coded from 0.
        held_out: which rows to measure on.
        identity: changes with the model and the products.
    """

    module: nn.Module
    forward: Callable[[IntArray], tuple[torch.Tensor, torch.Tensor]]
    fresh: tuple[str, ...]
    lengths: IntArray
    labels: IntArray
    held_out: NDArray[np.bool_]
    identity: str

    def head_f1(self) -> float:
        """Weighted F1 of the held-out products by the head."""
        rows = np.flatnonzero(self.held_out)
        return float(f1_score(self.labels[rows], self._predict(rows)[1], average="weighted"))

    def neighbours_f1(self) -> float:
        """Weighted F1 of the held-out products by a vote of their neighbours among those learnt from."""
        known, asked = np.flatnonzero(~self.held_out)[:KNOWN], np.flatnonzero(self.held_out)
        vectors, _ = self._predict(np.concatenate([known, asked]))
        found = nearest_categories(vectors[: len(known)], self.labels[known], vectors[len(known) :])
        return float(f1_score(self.labels[asked], found, average="weighted"))

    def _predict(self, rows: IntArray) -> tuple[FloatArray, IntArray]:
        """Unit vectors of some rows and the categories that the head gives them."""
        self.module.eval()
        parts = list(batches_of(self.lengths[rows].tolist(), CPU_TOKENS))
        vectors, categories = list[FloatArray](), list[IntArray]()
        with inference(best_device()):
            for part in parts:
                found, scores = self.forward(rows[part])
                vectors.append(found.float().cpu().numpy())
                categories.append(scores.argmax(1).cpu().numpy())
        back = np.argsort(np.concatenate(parts))
        return unit_rows(np.concatenate(vectors)[back]), np.concatenate(categories)[back]
