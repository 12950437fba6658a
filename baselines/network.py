"""A softmax classifier on products' vectors: a linear head, or one behind a hidden layer (an MLP)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rubrika.baselines.baseline import CHUNK, Part, best_of, joined
from rubrika.metrics import metrics_of
from rubrika.progress import Advance, Progress
from rubrika.store.base import FloatArray
from rubrika.vote import Votes

if TYPE_CHECKING:
    from torch import nn

# So many epochs without a better F1 are enough.
PATIENCE = 3


@dataclass(frozen=True, slots=True)
class Epoch:
    """After each time that all products were seen: the mean loss over them, weighted F1 of products kept apart."""

    loss: float
    weighted_f1: float


@dataclass(frozen=True)
class Rehearsed:
    """How a network is to be fitted, and how that was found out.

    Args:
        network: with as many epochs as were best.
        curve: epoch by epoch, past the best one.
        votes: of the products kept apart, after the best epoch.
    """

    network: "Network"
    curve: tuple[Epoch, ...]
    votes: Votes


@dataclass(frozen=True, slots=True)
class Network:
    """A network on one or several named vectors side by side.

    Args:
        name: as in Baseline.
        vectors: as in Baseline.
        hidden: the width of the hidden layer; 0: there is none.
        epochs: how often every product is seen, or at most, while that is being chosen.
        batch: products a step; None: about a hundredth of them, 16 to 256.
        rate: of learning (AdamW).
        dropout: the part of the hidden layer that is left out at each step.
        seed: of the starting weights and the order of products.
    """

    name: str
    vectors: tuple[str, ...]
    hidden: int = 0
    epochs: int = 20
    batch: int | None = None
    rate: float = 0.001
    dropout: float = 0.3
    seed: int = 0

    def fit(self, part: Part, progress: Progress) -> "FittedNetwork":
        """As in Baseline."""
        with progress.stage(f"fitting {self.name}", self.epochs * len(part)) as advance:
            *_, (fitted, _) = self._epochs(part, advance)
        return fitted

    def rehearse(self, part: Part, apart: Part, progress: Progress) -> Rehearsed:
        """Choose how many epochs to take, by early stopping.

        Args:
            part: products to learn from.
            apart: products to measure on after each epoch.
            progress: where to show how far it is.
        """
        curve: list[Epoch] = []
        best = 0
        with progress.stage(f"choosing the epochs of {self.name}", self.epochs * len(part)) as advance:
            for fitted, loss in self._epochs(part, advance):
                votes = fitted.predict(apart)
                curve.append(Epoch(loss, metrics_of(apart.labels, votes.winners).weighted_f1))
                if len(curve) == 1 or curve[-1].weighted_f1 > curve[best].weighted_f1:
                    best, best_votes = len(curve) - 1, votes
                if len(curve) - 1 - best >= PATIENCE:
                    break
        return Rehearsed(replace(self, epochs=best + 1), tuple(curve), best_votes)

    def _epochs(self, part: Part, advance: Advance) -> Iterator[tuple["FittedNetwork", float]]:
        """After each epoch what was learned by then, and the mean loss; it is the same network throughout."""
        import torch

        from rubrika.train.model import seeded

        known, code = np.unique(part.labels, return_inverse=True)
        rows, labels = torch.from_numpy(inputs(part, self.vectors)), torch.from_numpy(code)
        random = np.random.default_rng(self.seed)
        with seeded(self.seed):
            module = self._module(rows.shape[1], len(known))
        optimiser = torch.optim.AdamW(module.parameters(), self.rate)
        batch = self.batch or int(np.clip(2 ** round(np.log2(len(part) / 100)), 16, 256))
        for epoch in range(self.epochs):
            module.train()
            losses = 0.0
            # A seed an epoch: whoever asks for the next one may have drawn numbers meanwhile.
            with seeded(self.seed + epoch):
                for chosen in np.array_split(random.permutation(len(part)), -(-len(part) // batch)):
                    loss = torch.nn.functional.cross_entropy(module(rows[chosen]), labels[chosen])
                    optimiser.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimiser.step()
                    losses += loss.item() * len(chosen)
                    advance(len(chosen))
            yield FittedNetwork(self.vectors, known, module), losses / len(part)

    def _module(self, width: int, categories: int) -> "nn.Module":
        from torch import nn

        if not self.hidden:
            return nn.Linear(width, categories)
        inner = (nn.Linear(width, self.hidden), nn.ReLU(), nn.Dropout(self.dropout))
        return nn.Sequential(*inner, nn.Linear(self.hidden, categories))


@dataclass(frozen=True, slots=True)
class FittedNetwork:
    """A network that has learned.

    Args:
        vectors: what it looks at.
        categories: what its outputs stand for, ascending.
        module: inputs to scores.
    """

    vectors: tuple[str, ...]
    categories: NDArray[np.int64]
    module: "nn.Module"

    def predict(self, part: Part) -> Votes:
        """As in Fitted."""
        import torch

        self.module.eval()
        rows, votes = inputs(part, self.vectors), []
        with torch.inference_mode():
            for start in range(0, len(part), CHUNK):
                scores = self.module(torch.from_numpy(rows[start : start + CHUNK])).numpy()
                votes.append(best_of(self.categories, scores))
        return joined(votes)


def inputs(part: Part, names: Sequence[str]) -> FloatArray:
    """Vectors side by side, each scaled so that its numbers are around 1; zeros for one that a product lacks."""
    rows: FloatArray = np.concatenate([part.vectors[name] * part.vectors[name].shape[1] ** 0.5 for name in names], 1)
    return rows.astype(np.float32, copy=False)
