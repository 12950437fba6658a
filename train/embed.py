"""Learns the default text encoder from labelled products, on the CPU."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from rubrika.encode.base import FloatArray, unit_or_zero
from rubrika.encode.learned import LearnedConfig, LearnedEncoder, cores
from rubrika.errors import EncoderError
from rubrika.products.product import Products, Selection
from rubrika.progress import Progress, Silent
from rubrika.train.bags import FeatureBags, read_feature_bags
from rubrika.train.kernels import Adam, Table, parts_of
from rubrika.train.margin import MarginSettings, drawn_for_margin, learn_margin
from rubrika.train.views import USUAL, chosen_share

IntArray = NDArray[np.int64]
Mask = NDArray[np.bool_]

THREADS = min(cores(), 8)
CHUNK = 4_096  # rows of vectors that are measured at once


@dataclass(frozen=True, slots=True)
class LearnSettings:
    """How to learn; the defaults were chosen on held-out groups, see docs/encoder.md."""

    size: int = 128  # the width of each view
    margin: float | None = None  # what the margin view counts for, from 0 to 1; None: chosen on products held out
    bits: int | None = None  # the table has 2^bits rows; None: about as many as different features, at most 2^21
    epochs: int | None = None  # how often every product is seen; None: 4 to 20 times, of few products more often
    batch_size: int | None = None  # products a step; None: about a hundredth of them, 64 to 512
    learning_rate: float = 0.03  # of features, divided by each row's root of summed squared gradients (Adagrad by row)
    category_learning_rate: float = 0.003  # of category vectors (Adam)
    input_learning_rate: float = 0.0003  # of projections (Adam)
    scale: float = 10.0  # of the cosine in the softmax
    features: int = 256  # of a product that has more, each epoch shows so many, and the next one others
    max_products: int = 2_000_000  # learn from so many at most, drawn at random: memory does not grow with the file
    seed: int = 0  # of the starting vectors, the order of products, and which are drawn

    def pace(self, count: int) -> tuple[int, int]:
        """Epochs and batch size for `count` products: few need enough steps, many must not take too many."""
        batch_size = self.batch_size or int(np.clip(2 ** round(np.log2(max(count, 1) / 100)), 64, 512))
        return self.epochs or int(np.clip(round(300_000 / max(count, 1)), 4, 20)), batch_size


@dataclass(frozen=True)
class Input:
    """Vectors of one other encoder for all products to learn from."""

    vectors: NDArray[np.float16] | FloatArray  # (n, width); a row of zeros is a product that has none
    there: Mask  # which products have one, (n,)
    mean: FloatArray  # over those that have one, (width,)
    deviation: FloatArray  # standard deviation · √width, so that a standardised vector is about 1 long, (width,)

    @classmethod
    def of(cls, vectors: NDArray[np.float16] | FloatArray) -> "Input":
        """Measure mean and deviation, some thousand rows at a time."""
        there: Mask = np.asarray(vectors.any(axis=1))
        sums = np.zeros((2, vectors.shape[1]))
        for start in range(0, len(vectors), CHUNK):
            part = vectors[start : start + CHUNK].astype(np.float64)
            sums += part.sum(axis=0), np.square(part).sum(axis=0)
        mean, square = sums / max(int(there.sum()), 1)
        deviation = (np.sqrt(np.maximum(square - mean**2, 0)) + 1e-6) * vectors.shape[1] ** 0.5
        return cls(vectors, there, mean.astype(np.float32), deviation.astype(np.float32))


def learn(
    products: Products,
    progress: Progress,
    settings: LearnSettings | None = None,
    inputs: Mapping[str, Input] | None = None,
) -> LearnedEncoder:
    """Learn an encoder; the same products, settings and machine give the same encoder.

    The products are read once; when there are more than `max_products`, twice. `inputs` are vectors of other encoders
    for the same products, in their order, by name.
    """
    settings, inputs, count = settings or LearnSettings(), inputs or {}, len(products)
    if count > settings.max_products:
        count = sum(len(batch.products) for batch in products)  # bad rows are among the rows, and are not drawn from
    if drawn := count > settings.max_products:
        chosen = np.zeros(count, bool)
        chosen[np.random.default_rng(settings.seed).permutation(count)[: settings.max_products]] = True
        products = Selection(products, chosen)
        inputs = {k: replace(v, vectors=v.vectors[chosen], there=v.there[chosen]) for k, v in inputs.items()}
    bags = read_feature_bags(products, settings.bits, progress)
    categories = len(bags.categories)
    if categories < 2:
        raise EncoderError(f"learning needs at least 2 categories, the products have {categories}; add others")
    share = settings.margin
    if share is None:
        vectors = {name: given.vectors for name, given in inputs.items()}
        # Half the epochs tell as well which share is best.
        brief = replace(settings, epochs=max(settings.pace(len(bags.labels))[0] // 2, 2))
        with progress.stage("choosing between views", 1) as advance:
            share = chosen_share(bags, vectors, lambda rows: _fitted(bags, rows, inputs, brief, USUAL, Silent()))
            advance(1)
    return _fitted(bags, bags.order, inputs, settings, share, progress, count if drawn else None)


def learn_part(bags: FeatureBags, chosen: Mask, inputs: Mapping[str, FloatArray], margin: float) -> LearnedEncoder:
    """An encoder that has learned from the labels of the products chosen, (n,), and knows none of the others.

    The margin view counts for `margin`. `inputs` are vectors of all products, (n, width) by name.
    """
    given = {name: Input.of(vectors) for name, vectors in inputs.items()}
    return _fitted(bags, bags.order[chosen[bags.order]], given, LearnSettings(), margin, Silent())


def _fitted(
    bags: FeatureBags,
    rows: IntArray,
    inputs: Mapping[str, Input],
    settings: LearnSettings,
    share: float,
    progress: Progress,
    count: int | None = None,
) -> LearnedEncoder:
    """The encoder that learns from some of the products, by their rows (n,); the order of the rows counts.

    They were drawn from `count` products, by default from no others.
    """
    bags = bags.of(rows)
    run = _Run(bags, inputs, settings)
    epochs, batch_size = settings.pace(len(rows))
    steps, random = epochs * -(-len(rows) // batch_size), np.random.default_rng(settings.seed)
    orders = ((epoch, rows[random.permutation(len(rows))]) for epoch in range(epochs))
    batches = (
        (epoch, order[start : start + batch_size])
        for epoch, order in orders
        for start in range(0, len(order), batch_size)
    )
    stage = progress.stage(f"learning the {'joint' if inputs else 'text'} encoder", epochs * len(rows))
    # Threads that wait for one another at each small product of matrices take longer than one does.
    with stage as advance, threadpool_limits(1, "blas"):
        for step, (epoch, batch) in enumerate(batches):
            run.step(batch, epoch, left=1 - step / steps)
            advance(len(batch))
    encoder, categories = run.encoder(count or len(rows), share), run.categories
    del run  # its table is large, and the margin view needs room
    if not share:
        return encoder
    features = int(np.diff(bags.features.indptr)[rows].sum())
    drawn = rows[drawn_for_margin(features, bags.labels[rows], settings.seed)]
    chunks = (drawn[start : start + CHUNK] for start in range(0, len(drawn), CHUNK))
    vectors = np.concatenate([encoder.views(bags.features[chunk])[0] for chunk in chunks])
    with progress.stage("learning margins", 1) as advance:
        chosen = MarginSettings(size=settings.size, seed=settings.seed)
        margin = learn_margin(bags.features, drawn, bags.labels[drawn], vectors, categories, chosen)
        advance(1)
    return encoder.with_margin(margin)


class _Run:
    """The parameters while they are learned: a table of feature vectors, category vectors, a projection an input."""

    def __init__(self, bags: FeatureBags, inputs: Mapping[str, Input], settings: LearnSettings) -> None:
        self._bags, self._inputs, self._settings = bags, inputs, settings
        random, size = np.random.default_rng(settings.seed), settings.size
        bound = np.float32(size**-0.5)
        table = random.random((2**bags.bits, size), np.float32)
        table *= 2 * bound
        table -= bound
        self._table = Table(table, THREADS)
        self._category = random.standard_normal((len(bags.categories), size), np.float32) * bound
        # Small at first, so that pictures join what the text has begun; the last row is for having a vector at all.
        self._projections = {
            name: random.standard_normal((given.vectors.shape[1] + 1, size), np.float32) * bound * np.float32(0.1)
            for name, given in inputs.items()
        }
        self._random = np.random.default_rng(settings.seed + 1)
        self._optimiser = Adam([self._category, *self._projections.values()])
        self._rates = [settings.category_learning_rate, *(settings.input_learning_rate for _ in inputs)]

    def step(self, chosen: IntArray, epoch: int, left: float) -> None:
        """Learn from one batch; rates fall in proportion to what is `left` of the run, from 1 to 0."""
        part = parts_of(self._bags.features, chosen, epoch, self._settings.features)
        vectors, with_text = self._table.means(part), np.ones((len(chosen), 1), np.float32)
        others = self._other_inputs(chosen, with_text) if self._inputs else {}
        vectors *= with_text
        for name, padded in others.items():
            vectors += padded @ self._projections[name]
        (queries, lengths), (keys, key_lengths) = _unit(vectors), _unit(self._category)
        # Of the softmax's loss by each cosine.
        scale = np.float32(self._settings.scale)
        cosines: FloatArray = scale * (queries @ keys.T)
        cosines -= cosines.max(axis=1, keepdims=True)
        np.exp(cosines, out=cosines)
        cosines /= cosines.sum(axis=1, keepdims=True)
        cosines[np.arange(len(chosen)), self._bags.labels[chosen]] -= 1
        cosines *= scale
        gradient = _through_unit(cosines @ keys, queries, lengths)
        gradients = [_through_unit(cosines.T @ queries, keys, key_lengths)]
        gradients += [padded.T @ gradient for padded in others.values()]
        self._optimiser.step(
            [each / np.float32(len(chosen)) for each in gradients], [rate * left for rate in self._rates]
        )
        self._table.descend(part, gradient * with_text, self._settings.learning_rate * left)

    def _other_inputs(self, chosen: IntArray, with_text: FloatArray) -> dict[str, FloatArray]:
        """Show of each product either its text or its other vectors: each must name the category by itself.

        Learned together, the text would soon explain every product it has seen, and nothing be left for pictures to
        say. Learned apart but towards the same category vectors, they can be added up. `with_text` (n, 1) becomes 0
        where the others are shown, here as what is to be projected, (n, width + 1).
        """
        there = np.logical_or.reduce([given.there[chosen] for given in self._inputs.values()])
        without_text = there & (self._random.random(len(chosen)) < 0.5)
        with_text[without_text] = 0
        found = {}
        for name, given in self._inputs.items():
            shown = (given.there[chosen] & without_text)[:, None].astype(np.float32)
            standard = (given.vectors[chosen].astype(np.float32) - given.mean) / given.deviation
            found[name] = np.concatenate([standard, np.ones_like(shown)], axis=1) * shown
        return found

    @property
    def categories(self) -> FloatArray:
        """A vector of length 1 for each category, (c, size)."""
        return unit_or_zero(self._category)

    def encoder(self, products: int, margin: float) -> LearnedEncoder:
        """The encoder as far as it is learned, which has no margin view yet."""
        projections = {}
        for name, given in self._inputs.items():
            learned = self._projections[name]
            # For vectors as they are: (v - mean) / deviation · M + b = v · S + (b - mean · S) with S = M / deviation.
            scaled = learned[:-1] / given.deviation[:, None]
            projections[name] = np.concatenate([scaled, (learned[-1] - given.mean @ scaled)[None]]).astype(np.float32)
        widths = {name: given.vectors.shape[1] for name, given in self._inputs.items()}
        categories = tuple(self._bags.categories.tolist())
        config = LearnedConfig(
            self._settings.size,
            self._bags.bits,
            widths,
            products=products,
            categories=categories,
            unseen_words=self._bags.unseen_words,
            margin=margin,
        )
        return LearnedEncoder(config, self._table.vectors.astype(np.float16), projections, self._bags.words)


def _unit(vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Vectors (n, size) scaled to length 1, and how long they were, (n, 1)."""
    lengths: FloatArray = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
    return vectors / lengths, lengths


def _through_unit(gradient: FloatArray, unit: FloatArray, lengths: FloatArray) -> FloatArray:
    """The gradient of vectors, of that of the same vectors scaled to length 1."""
    return np.asarray((gradient - (gradient * unit).sum(axis=1, keepdims=True) * unit) / lengths)
