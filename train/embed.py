"""Learns the default text encoder from labelled products, on the CPU."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch.nn import functional as F

from rubrika.encode.base import FloatArray
from rubrika.encode.hashing import features_of
from rubrika.encode.learned import LearnedConfig, LearnedEncoder, feature_rows
from rubrika.errors import EncoderError
from rubrika.products.product import Products, Selection
from rubrika.progress import Progress

MIN_BITS, MAX_BITS = 10, 21


@dataclass(frozen=True, slots=True)
class FeatureBags:
    """Features of all products: product i has rows[offsets[i]:offsets[i + 1]].

    Args:
        bits: rows are numbers below 2^bits.
        rows: int32, the table row of each feature.
        weights: uint8, how much each feature counts: whole numbers, as there are hundreds of millions of them.
        totals: float64 (n,), the weights of each product added up.
        offsets: int64 (n + 1,).
        labels: int64 (n,), categories numbered from 0.
        categories: int64, the id of each category, ascending.
    """

    bits: int
    rows: NDArray[np.int32]
    weights: NDArray[np.uint8]
    totals: NDArray[np.float64]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]
    categories: NDArray[np.int64]

    def __len__(self) -> int:
        """How many products there are."""
        return len(self.labels)

    def batch(self, chosen: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The table rows that these products need, the matrix that averages them, (n, rows), and its transpose.

        Each product's weights sum to 1 there.
        """
        start, length = self.offsets[chosen], self.offsets[chosen + 1] - self.offsets[chosen]
        ends = np.cumsum(length)
        flat = np.arange(ends[-1]) + np.repeat(start - (ends - length), length)
        needed = self.rows[flat]
        used = np.zeros(2**self.bits, bool)
        used[needed] = True
        rows = np.flatnonzero(used)
        place = np.empty(2**self.bits, np.int32)
        place[rows] = np.arange(len(rows), dtype=np.int32)
        offsets = np.concatenate([[0], ends]).astype(np.int32)
        weights = (self.weights[flat] / np.repeat(self.totals[chosen], length)).astype(np.float32)
        matrix = csr_array((weights, place[needed], offsets), (len(chosen), len(rows)))
        return torch.from_numpy(rows), _sparse(matrix), _sparse(csr_array(matrix.T))


def read_feature_bags(products: Products, bits: int | None, progress: Progress) -> FeatureBags:
    """Read labelled products, keeping hashed features alone.

    Args:
        products: read once; memory is some 5 bytes a feature, 700 a product with a short title, and twice the rows'
            4 bytes while they are put together.
        bits: of the table; None: about as many rows as there are different features.
        progress: where to show how far it is.

    Raises:
        EncoderError: there is not one labelled product.
    """
    rows, weights, counts, totals, labels = [], [], [], [], list[int]()
    with progress.stage("reading products to learn from", len(products)) as advance:
        for batch in products:
            features = features_of([product.text for product in batch.products])
            count = np.diff(features.offsets)
            owner = np.repeat(np.arange(len(count)), count)
            rows.append(feature_rows(features.hashes, bits or MAX_BITS).astype(np.int32))
            weights.append(features.weights.astype(np.uint8))
            totals.append(np.bincount(owner, features.weights, minlength=len(count)))
            counts.append(count)
            labels += [product.category.id for product in batch.products if product.category]
            advance(batch.rows)
    if not labels:
        raise EncoderError("there is no readable labelled product to learn from; see the rows set aside")
    flat = np.concatenate(rows)
    rows.clear()
    categories, codes = np.unique(np.array(labels, np.int64), return_inverse=True)
    bits = bits or _bits_for(flat)
    flat &= np.int32(2**bits - 1)
    return FeatureBags(
        bits=bits,
        rows=flat,
        weights=np.concatenate(weights),
        totals=np.concatenate(totals),
        offsets=np.concatenate([[0], np.cumsum(np.concatenate(counts))]),
        labels=codes,
        categories=categories,
    )


def _bits_for(rows: NDArray[np.int32]) -> int:
    different = int(np.count_nonzero(np.bincount(rows, minlength=2**MAX_BITS)))
    return int(np.clip(round(np.log2(max(different, 1))), MIN_BITS, MAX_BITS))


def _sparse(matrix: csr_array) -> torch.Tensor:
    offsets, columns, values = (torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data))
    with warnings.catch_warnings():
        # torch says of every first sparse matrix that its support is in beta.
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(offsets, columns, values, size=matrix.shape, check_invariants=False)


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
    bags = read_feature_bags(products, settings.bits, progress)
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

    def __init__(self, bags: FeatureBags, inputs: Mapping[str, Input], settings: LearnSettings, loss: Loss) -> None:
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
