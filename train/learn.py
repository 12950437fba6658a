"""Learns encoders from labelled products, on the CPU, in a minute or two: of texts, or of texts with other vectors.

Every feature has a vector, a product's is their weighted mean, and a category has one too; all are trained so that
softmax(scale · cosine(product, category)) names the right category (cosine softmax, as in NormFace, Wang et al. 2017).
The scale is kept low: products of one category are then not squeezed onto its vector, and neighbours tell more than
the category vectors do, see docs/encoder.md.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from rubrika.encode.learned import LearnedConfig, LearnedEncoder
from rubrika.errors import EncoderError
from rubrika.products.selection import Products, Selection
from rubrika.progress import Progress
from rubrika.train.bags import Bags, read_bags
from rubrika.train.inputs import Input, Projections

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class LearnSettings:
    """How to learn; the defaults were chosen on held-out groups, see docs/encoder.md.

    Args:
        size: the width of a vector.
        bits: the table has 2^bits rows; None: about as many as there are different features, at most 2^21.
        epochs: how often every product is seen; None: the fewer products, the more often (4 to 20 times).
        batch: products a step; None: about a hundredth of them, 64 to 512.
        rate: the learning rate of features, divided by each row's root of summed squared gradients (Adagrad by row).
        category_rate: the learning rate of category vectors (Adam).
        input_rate: the learning rate of projections (Adam).
        scale: of the cosine in the softmax.
        most: learn from at most so many products, drawn at random: memory grows with them, not with the file.
        seed: of the starting vectors, the order of products, and which are drawn.
    """

    size: int = 128
    bits: int | None = None
    epochs: int | None = None
    batch: int | None = None
    rate: float = 0.03
    category_rate: float = 0.003
    input_rate: float = 0.0003
    scale: float = 10.0
    most: int = 2_000_000
    seed: int = 0

    def pace(self, count: int) -> tuple[int, int]:
        """Epochs and batch for `count` products: a small shelf needs enough steps, a large one not too many."""
        batch = self.batch or int(np.clip(2 ** round(np.log2(max(count, 1) / 100)), 64, 512))
        return self.epochs or int(np.clip(round(300_000 / max(count, 1)), 4, 20)), batch


def cosine_softmax(scale: float, smoothing: float = 0.0) -> Loss:
    """The loss of product vectors (n, size), category vectors (c, size) and true categories (n,), summed over n."""

    def loss(products: torch.Tensor, categories: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        cosine = F.normalize(products) @ F.normalize(categories).T
        return F.cross_entropy(scale * cosine, truth, reduction="sum", label_smoothing=smoothing)

    return loss


def learn(
    products: Products,
    progress: Progress,
    settings: LearnSettings | None = None,
    loss: Loss | None = None,
    inputs: Mapping[str, Input] | None = None,
) -> LearnedEncoder:
    """Learn an encoder; the same products, settings and machine give the same encoder.

    Args:
        products: labelled products, read once; when there are more than `most`, twice.
        progress: where to show how far it is.
        settings: how to learn.
        loss: another loss to try instead of the cosine softmax.
        inputs: vectors of other encoders for the same products, in their order, by name.

    Raises:
        EncoderError: fewer than two categories to tell apart.
    """
    settings = settings or LearnSettings()
    inputs, count = inputs or {}, len(products)
    if count > settings.most:
        # Bad rows are among the rows, and are not drawn from.
        count = sum(len(batch.products) for batch in products)
    if count > settings.most:
        drawn = _drawn(count, settings)
        products, inputs = Selection(products, drawn), {name: given.part(drawn) for name, given in inputs.items()}
    bags = read_bags(products, settings.bits, progress)
    categories = len(bags.categories)
    if categories < 2:
        raise EncoderError(
            f"an encoder is learned from at least 2 categories, the products have {categories}; add products of others"
        )
    run = _Run(bags, inputs, settings, loss or cosine_softmax(settings.scale))
    epochs, batch = settings.pace(len(bags))
    steps = epochs * -(-len(bags) // batch)
    title = "learning the joint encoder" if inputs else "learning the text encoder"
    with progress.stage(title, epochs * len(bags)) as advance:
        for step, chosen in enumerate(_batches(len(bags), epochs, batch, settings.seed)):
            run.step(chosen, left=1 - step / steps)
            advance(len(chosen))
    return run.encoder(count if count > settings.most else len(bags))


def _drawn(count: int, settings: LearnSettings) -> NDArray[np.bool_]:
    chosen = np.zeros(count, bool)
    chosen[np.random.default_rng(settings.seed).permutation(count)[: settings.most]] = True
    return chosen


def _batches(count: int, epochs: int, batch: int, seed: int) -> Iterator[NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    for _ in range(epochs):
        order = random.permutation(count)
        for start in range(0, count, batch):
            yield order[start : start + batch]


class _Run:
    """The parameters while they are learned."""

    def __init__(self, bags: Bags, inputs: Mapping[str, Input], settings: LearnSettings, loss: Loss) -> None:
        self._bags, self._inputs, self._settings, self._loss = bags, inputs, settings, loss
        generator = torch.Generator().manual_seed(settings.seed)
        bound = settings.size**-0.5
        self._table = torch.empty(2**bags.bits, settings.size).uniform_(-bound, bound, generator=generator)
        self._squares = torch.zeros(len(self._table))
        self._category = torch.nn.Parameter(
            torch.randn(len(bags.categories), settings.size, generator=generator) * bound
        )
        self._projections = Projections(inputs, settings.size, generator)
        self._labels = torch.from_numpy(bags.labels)
        self._random = np.random.default_rng(settings.seed + 1)
        self._rates = [settings.category_rate, settings.input_rate]
        parts = [[self._category], list(self._projections.parameters())]
        self._optimiser = torch.optim.Adam([{"params": part} for part in parts if part])

    def step(self, chosen: NDArray[np.int64], left: float) -> None:
        """Learn from one batch; rates fall in proportion to what is `left` of the run, from 1 to 0."""
        rows, bag, spread = self._bags.batch(chosen)
        mean = (bag @ self._table[rows]).requires_grad_()
        self._optimiser.zero_grad()
        whole = self._with_inputs(mean, chosen) if self._inputs else mean
        self._loss(whole, self._category, self._labels[chosen]).backward()  # type: ignore[no-untyped-call]
        for group, rate in zip(self._optimiser.param_groups, self._rates, strict=False):
            group["lr"] = rate * left
            for parameter in group["params"]:
                parameter.grad /= len(chosen)
        self._optimiser.step()
        assert mean.grad is not None  # noqa: S101 - for the type checker
        gradient = spread @ mean.grad
        self._squares[rows] += gradient.square().mean(1)
        gradient *= (-self._settings.rate * left * (self._squares[rows] + 1e-16).rsqrt())[:, None]
        self._table.index_add_(0, rows, gradient)

    def encoder(self, products: int) -> LearnedEncoder:
        """What has been learned, where there were so many products to learn from."""
        widths = {name: given.vectors.shape[1] for name, given in self._inputs.items()}
        categories = tuple(self._bags.categories.tolist())
        config = LearnedConfig(self._settings.size, self._bags.bits, widths, products=products, categories=categories)
        return LearnedEncoder(config, self._table.to(torch.float16).numpy(), self._projections.folded())

    def _with_inputs(self, mean: torch.Tensor, chosen: NDArray[np.int64]) -> torch.Tensor:
        """Show of each product either its text or its other vectors: each must name the category by itself.

        Learned together, the text would soon explain every product it has seen, and nothing be left for pictures to
        say. Learned apart but towards the same category vectors, they can be added up.
        """
        there = np.logical_or.reduce([given.there[chosen] for given in self._inputs.values()])
        without_text = there & (self._random.random(len(chosen)) < 0.5)
        shown: torch.Tensor = self._projections(chosen, without_text)
        return mean * torch.from_numpy(~without_text[:, None]).float() + shown
