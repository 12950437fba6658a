"""Learns the default text encoder from labelled products, on the CPU, in a minute or two.

Every feature has a vector, a product's is their weighted mean, and a category has one too; all are trained so that
softmax(scale · cosine(product, category)) names the right category (cosine softmax, as in NormFace, Wang et al. 2017).
The scale is kept low: products of one category are then not squeezed onto its vector, and neighbours tell more than
the category vectors do, see docs/encoder.md.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rubrika.encode.features import features_of
from rubrika.encode.learned import LearnedConfig, LearnedEncoder, feature_rows
from rubrika.errors import EncoderError
from rubrika.products.selection import Products
from rubrika.progress import Progress
from scipy.sparse import csr_array
from torch.nn import functional as F

MIN_BITS, MAX_BITS = 10, 21


@dataclass(frozen=True, slots=True)
class LearnSettings:
    """How to learn; the defaults were chosen on held-out groups, see docs/encoder.md.

    Args:
        size: the width of a vector.
        bits: the table has 2^bits rows; None: as many as there are different features, at most 2^MAX_BITS.
        epochs: how often every product is seen; None: the fewer products, the more often (4 to 20 times).
        batch: products a step; None: about a hundredth of them, 64 to 512.
        rate: the learning rate of features, divided by each row's root of summed squared gradients (Adagrad by row).
        category_rate: the learning rate of category vectors (Adam).
        scale: of the cosine in the softmax.
        seed: of the starting vectors and the order of products.
    """

    size: int = 128
    bits: int | None = None
    epochs: int | None = None
    batch: int | None = None
    rate: float = 0.03
    category_rate: float = 0.003
    scale: float = 10.0
    seed: int = 0

    def pace(self, count: int) -> tuple[int, int]:
        """Epochs and batch for `count` products: a small shelf needs enough steps, a large one not too many."""
        batch = self.batch or int(np.clip(2 ** round(np.log2(max(count, 1) / 100)), 64, 512))
        return self.epochs or int(np.clip(round(300_000 / max(count, 1)), 4, 20)), batch


@dataclass(frozen=True, slots=True)
class _Bags:
    """Features of all products, flat: product i has rows[offsets[i]:offsets[i + 1]]; its weights there sum to 1."""

    bits: int
    rows: NDArray[np.int32]
    weights: NDArray[np.float32]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]


Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def cosine_softmax(scale: float, smoothing: float = 0.0) -> Loss:
    """The loss of product vectors (n, size), category vectors (c, size) and true categories (n,), summed over n."""

    def loss(products: torch.Tensor, categories: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        cosine = F.normalize(products) @ F.normalize(categories).T
        return F.cross_entropy(scale * cosine, truth, reduction="sum", label_smoothing=smoothing)

    return loss


def learn(
    products: Products, progress: Progress, settings: LearnSettings | None = None, loss: Loss | None = None
) -> LearnedEncoder:
    """Learn an encoder; the same products, settings and machine give the same encoder.

    Args:
        products: labelled products, read once.
        progress: where to show how far it is.
        settings: how to learn.
        loss: another loss to try instead of the cosine softmax.

    Raises:
        EncoderError: fewer than two categories to tell apart.
    """
    settings = settings or LearnSettings()
    bags = _read(products, settings.bits, progress)
    categories = int(bags.labels.max(initial=-1)) + 1
    if categories < 2:
        raise EncoderError(
            f"an encoder is learned from at least 2 categories, the products have {categories}; add products of others"
        )
    table = _train(bags, categories, settings, loss or cosine_softmax(settings.scale), progress)
    return LearnedEncoder(LearnedConfig(settings.size, bags.bits), table.to(torch.float16).numpy())


def _read(products: Products, bits: int | None, progress: Progress) -> _Bags:
    rows, weights, counts, labels = [], [], [], []
    with progress.stage("reading products to learn from", len(products)) as advance:
        for batch in products:
            features = features_of([product.text for product in batch.products])
            count = np.diff(features.offsets)
            total = np.add.reduceat(np.append(features.weights, 0), features.offsets[:-1]) if len(count) else count
            rows.append(feature_rows(features.hashes, bits or MAX_BITS).astype(np.int32))
            weights.append(features.weights / np.repeat(total, count).astype(np.float32))
            counts.append(count)
            labels += [product.category.id for product in batch.products if product.category]
            advance(batch.rows)
    if not labels:
        raise EncoderError("there is no readable labelled product to learn from; see the rows set aside")
    flat = np.concatenate(rows)
    bits = bits or _bits_for(flat)
    return _Bags(
        bits=bits,
        rows=flat & np.int32(2**bits - 1),
        weights=np.concatenate(weights),
        offsets=np.concatenate([[0], np.cumsum(np.concatenate(counts))]),
        labels=np.unique(np.array(labels), return_inverse=True)[1],
    )


def _bits_for(rows: NDArray[np.int32]) -> int:
    different = int(np.count_nonzero(np.bincount(rows, minlength=2**MAX_BITS)))
    return int(np.clip(round(np.log2(max(different, 1))), MIN_BITS, MAX_BITS))


def _train(bags: _Bags, categories: int, settings: LearnSettings, loss: Loss, progress: Progress) -> torch.Tensor:
    generator = torch.Generator().manual_seed(settings.seed)
    bound = settings.size**-0.5
    table = torch.empty(2**bags.bits, settings.size).uniform_(-bound, bound, generator=generator)
    squares = torch.zeros(len(table))
    category = torch.nn.Parameter(torch.randn(categories, settings.size, generator=generator) * bound)
    optimiser = torch.optim.Adam([category], lr=settings.category_rate)
    labels = torch.from_numpy(bags.labels)
    count = len(bags.labels)
    epochs, batch = settings.pace(count)
    steps = epochs * -(-count // batch)
    with progress.stage("learning the text encoder", epochs * count) as advance:
        for step, chosen in enumerate(_batches(count, epochs, batch, settings.seed)):
            left = 1 - step / steps
            rows, bag, spread = _bag(bags, chosen, len(table))
            mean = (bag @ table[rows]).requires_grad_()
            optimiser.zero_grad()
            loss(mean, category, labels[chosen]).backward()  # type: ignore[no-untyped-call]
            assert mean.grad is not None and category.grad is not None  # noqa: S101, PT018 - for the type checker
            category.grad /= len(chosen)
            optimiser.param_groups[0]["lr"] = settings.category_rate * left
            optimiser.step()
            gradient = spread @ mean.grad
            squares[rows] += gradient.square().mean(1)
            gradient *= (-settings.rate * left * (squares[rows] + 1e-16).rsqrt())[:, None]
            table.index_add_(0, rows, gradient)
            advance(len(chosen))
    return table


def _batches(count: int, epochs: int, batch: int, seed: int) -> Iterator[NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    for _ in range(epochs):
        order = random.permutation(count)
        for start in range(0, count, batch):
            yield order[start : start + batch]


def _bag(bags: _Bags, chosen: NDArray[np.int64], size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The table rows that a batch needs, the matrix that averages them into products, and its transpose."""
    start, length = bags.offsets[chosen], bags.offsets[chosen + 1] - bags.offsets[chosen]
    ends = np.cumsum(length)
    flat = np.arange(ends[-1]) + np.repeat(start - (ends - length), length)
    used = np.zeros(size, bool)
    used[bags.rows[flat]] = True
    rows = np.flatnonzero(used)
    place = np.empty(size, np.int32)
    place[rows] = np.arange(len(rows), dtype=np.int32)
    matrix = csr_array(
        (bags.weights[flat], place[bags.rows[flat]], np.concatenate([[0], ends]).astype(np.int32)),
        (len(chosen), len(rows)),
    )
    return torch.from_numpy(rows), _sparse(matrix), _sparse(csr_array(matrix.T))


def _sparse(matrix: csr_array) -> torch.Tensor:
    offsets, columns, values = (torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data))
    with warnings.catch_warnings():
        # torch says of every first sparse matrix that its support is in beta.
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(offsets, columns, values, size=matrix.shape, check_invariants=False)
