"""Works out what the report of an evaluation says: where it errs, how sure it is, what the embedding looks like."""

import json
import warnings
from collections import Counter
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rubrika.eval.evaluate import Answers, Evaluation
from rubrika.eval.heldout import Stage, Timer
from rubrika.eval.metrics import (
    Bin,
    Risk,
    Score,
    Size,
    by_size,
    confusion,
    hierarchical_f1_interval,
    macro_f1_interval,
    mistakes,
    reliability,
    risk,
    scores_of,
)
from rubrika.products.product import Category
from rubrika.products.text import shortened
from rubrika.retrieve.tree import Tree

DIGITS = 6
PAIRS, EXAMPLES, CONFUSED = 12, 4, 14
MAX_TITLE = 100
OTHERS = "others"
GROUPS = 8

# How many products the map shows.
MAPPED = 3_000
COMPONENTS, PERPLEXITY = 50, 30
# Fewer points have too few neighbours for t-SNE to say more than PCA does.
MIN_TSNE = 20

Interval = tuple[float, float]
Labels = NDArray[np.int64]
Places = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Example:
    """A held-out product that was predicted wrongly, and the confidence of that prediction."""

    product_id: int
    title: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Pair:
    """A category that is taken for another: how many of its held-out products, of how many, with examples."""

    category_id: int
    taken_for: int
    count: int
    products: int
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many products of each category (rows) are taken for each other (columns)."""

    categories: tuple[int, ...]
    counts: list[list[int]]


@dataclass(frozen=True, slots=True)
class Spot:
    """A product on the map."""

    product_id: int
    title: str
    category_id: int
    group: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Map:
    """Held-out products on a plane, and the method that placed them."""

    how: str
    spots: list[Spot]


@dataclass(frozen=True)
class ReportData:
    """What a report says."""

    evaluation: Evaluation
    macro_interval: Interval  # 95 %, as is the next
    hierarchical_interval: Interval
    reliability: list[Bin]
    risk: list[Risk]
    sizes: list[Size]
    scores: list[Score]  # of every category with a held-out product, by id
    pairs: list[Pair]  # the most frequent mistakes
    confusion: Confusion  # among the categories of these
    map: Map
    paths: dict[int, str]  # of every category that is named here
    stages: tuple[Stage, ...] = ()  # all that differs from run to run

    def levels(self, category: int) -> list[str]:
        """The names of a category from the top of the tree, without the root; its id where it has no path."""
        return Category(category, self.paths.get(category, str(category))).levels

    def label(self, category: int) -> str:
        """A category on one line, for a person."""
        return " › ".join(self.levels(category))

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, with numbers rounded to six digits."""
        figures = self.evaluation.to_dict()
        # The stages say it, and more.
        del figures["seconds"]
        figures |= {field.name: getattr(self, field.name) for field in fields(self) if field.name != "evaluation"}
        plain: dict[str, Any] = json.loads(
            json.dumps(figures, default=asdict), parse_float=lambda number: round(float(number), DIGITS)
        )
        return plain


def study(evaluation: Evaluation, answers: Answers, timer: Timer) -> ReportData:
    """Work out what a report says.

    Args:
        evaluation: the figures.
        answers: product by product.
        timer: records what this takes.
    """
    truth, predicted, tree = answers.truth, answers.predicted, answers.tree
    right, seed = truth == predicted, evaluation.split.seed
    with timer.stage("study the mistakes"):
        scores = scores_of(truth, predicted, answers.samples.learned)
        pairs = _pairs(answers)
        confused = list(dict.fromkeys(each for pair in pairs for each in (pair.category_id, pair.taken_for)))[:CONFUSED]
        macro = macro_f1_interval(truth, predicted, answers.groups, seed)
        hierarchical = hierarchical_f1_interval(truth, predicted, tree, answers.groups, seed)
    with timer.stage("map the embedding"):
        embedding = _map(answers, seed)
    named = np.union1d(truth, predicted).tolist()
    return ReportData(
        evaluation=evaluation,
        macro_interval=macro,
        hierarchical_interval=hierarchical,
        reliability=reliability(answers.confidences, right),
        risk=risk(answers.confidences, right),
        sizes=by_size(scores),
        scores=scores,
        pairs=pairs,
        confusion=Confusion(tuple(confused), confusion(truth, predicted, confused)),
        map=embedding,
        paths={category: path for category in named if (path := tree.path(category))},
    )


def _pairs(answers: Answers) -> list[Pair]:
    ids, titles = answers.samples.ids, answers.samples.titles

    def example(row: int) -> Example:
        return Example(int(ids[row]), shortened(titles[row], MAX_TITLE), float(answers.confidences[row]))

    return [
        Pair(each.category_id, each.taken_for, each.count, each.products, tuple(map(example, each.rows[:EXAMPLES])))
        for each in mistakes(answers.truth, answers.predicted, answers.confidences, PAIRS)
    ]


def _map(answers: Answers, seed: int) -> Map:
    samples, truth = answers.samples, answers.truth[answers.samples.rows]
    how, places = lay_out(samples.vectors, seed)
    # A thousandth of the plane is less than a dot.
    rows = zip(samples.rows, truth.tolist(), _groups(truth, answers.tree), places.round(3).tolist(), strict=True)
    return Map(
        how,
        [
            Spot(int(samples.ids[row]), shortened(samples.titles[row], MAX_TITLE), category, group, x, y)
            for row, category, group, (x, y) in rows
        ],
    )


def _groups(truth: Labels, tree: Tree) -> list[str]:
    """The largest branches by name, at the first level of the tree that has more than one; all others as one."""
    for level in range(1, tree.depth + 1):
        names: list[str] = tree.names(tree.nodes(truth, level)).tolist()
        if len(set(names)) > 1:
            break
    else:
        return [OTHERS] * len(truth)
    counts = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    largest = {name for name, _ in counts[:GROUPS]}
    return [name if name in largest else OTHERS for name in names]


def lay_out(vectors: NDArray[np.float16], seed: int) -> tuple[str, Places]:
    """Lay vectors out on a plane, so that those that are near stay near: by t-SNE, or without scikit-learn by PCA.

    Args:
        vectors: of unit length (n, size).
        seed: of t-SNE, which begins from the principal components.

    Returns:
        How it was done, and the places (n, 2); the same vectors and seed always give the same.
    """
    if find_spec("sklearn") is None or len(vectors) < MIN_TSNE:
        return "principal components", _components(vectors, 2)
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    # One thread adds numbers up in one order.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reduced = _components(vectors, COMPONENTS).astype(np.float32)
        perplexity = min(PERPLEXITY, (len(reduced) - 1) / 3)
        places = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(reduced)
    return f"t-SNE of the first {reduced.shape[1]} principal components", places.astype(np.float64)


def _components(vectors: NDArray[np.float16], count: int) -> Places:
    """The first principal components (n, at most `count`), with at least two columns, of zeros if need be."""
    centred = vectors.astype(np.float64)
    if not len(centred):
        return np.zeros((0, 2))
    centred -= centred.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :count]
    # An axis may point either way: its largest part is made positive.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    components: Places = np.pad(centred @ axes, ((0, 0), (0, max(2 - axes.shape[1], 0))))
    return components
