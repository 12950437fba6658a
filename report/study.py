"""Works out what the report of an evaluation says: where it errs, how sure it is, what the embedding looks like."""

import json
import warnings
from collections import Counter
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rubrika.eval import metrics
from rubrika.eval.evaluate import Answers, Evaluation
from rubrika.eval.heldout import Stage, Timer
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
Positions = NDArray[np.float64]


@dataclass(frozen=True)
class ReportData:
    """What a report says, under the names of report.json."""

    evaluation: Evaluation
    macro_interval: Interval  # 95 %, as is the next
    hierarchical_interval: Interval
    reliability: list[metrics.Bin]
    risk: list[metrics.Risk]
    sizes: list[metrics.Size]
    scores: list[metrics.Score]  # of every category with a held-out product, by id
    pairs: list[dict[str, Any]]  # the most frequent mistakes, with examples
    # `counts` of products of each of their `categories` (rows) taken for each other (columns)
    confusion: dict[str, Any]
    map: dict[str, Any]  # held-out products on a plane, as `spots`, and `how` they were placed
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
        text = json.dumps(figures, default=asdict)
        return dict(json.loads(text, parse_float=lambda number: round(float(number), DIGITS)))


def study(evaluation: Evaluation, answers: Answers, timer: Timer) -> ReportData:
    """Work out what a report says from an evaluation's figures and its answers, product by product."""
    truth, predicted, tree = answers.truth, answers.predicted, answers.tree
    right, seed = truth == predicted, evaluation.split.seed
    with timer.stage("study the mistakes"):
        scores = metrics.scores_of(truth, predicted, answers.samples.learned)
        pairs = _pairs(answers)
        confused = list(dict.fromkeys(pair[key] for pair in pairs for key in ("category_id", "taken_for")))[:CONFUSED]
        macro = metrics.macro_f1_interval(truth, predicted, answers.groups, seed)
        hierarchical = metrics.hierarchical_f1_interval(truth, predicted, tree, answers.groups, seed)
    with timer.stage("map the embedding"):
        embedding = _map(answers, seed)
    named = np.union1d(truth, predicted).tolist()
    return ReportData(
        evaluation=evaluation,
        macro_interval=macro,
        hierarchical_interval=hierarchical,
        reliability=metrics.reliability(answers.confidences, right),
        risk=metrics.risk(answers.confidences, right),
        sizes=metrics.by_size(scores),
        scores=scores,
        pairs=pairs,
        confusion={"categories": confused, "counts": metrics.confusion(truth, predicted, confused)},
        map=embedding,
        paths={category: path for category in named if (path := tree.path(category))},
    )


def _pairs(answers: Answers) -> list[dict[str, Any]]:
    pairs = []
    for mistake in metrics.mistakes(answers.truth, answers.predicted, answers.confidences, PAIRS):
        pair = asdict(mistake)
        rows = pair.pop("rows")[:EXAMPLES]
        pair["examples"] = [_product(answers, row) | {"confidence": float(answers.confidences[row])} for row in rows]
        pairs.append(pair)
    return pairs


def _product(answers: Answers, row: int) -> dict[str, Any]:
    samples = answers.samples
    return {"product_id": samples.ids[row], "title": shortened(samples.titles[row], MAX_TITLE)}


def _map(answers: Answers, seed: int) -> dict[str, Any]:
    rows = answers.samples.rows
    truth = answers.truth[rows]
    how, positions = lay_out(answers.samples.vectors, seed)
    # A thousandth of the plane is less than a dot.
    spots = zip(rows, truth.tolist(), _groups(truth, answers.tree), positions.round(3).tolist(), strict=True)
    return {
        "how": how,
        "spots": [
            _product(answers, row) | {"category_id": category, "group": group, "x": x, "y": y}
            for row, category, group, (x, y) in spots
        ],
    }


def _groups(truth: Labels, tree: Tree) -> list[str]:
    """The largest branches by name, at the first level of the tree that has more than one; all others as one."""
    levels = (tree.names(tree.nodes(truth, level)).tolist() for level in range(1, tree.depth + 1))
    names: list[str] = next((names for names in levels if len(set(names)) > 1), [OTHERS] * len(truth))
    counts = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    largest = {name for name, _ in counts[:GROUPS]}
    return [name if name in largest else OTHERS for name in names]


def lay_out(vectors: NDArray[np.float16], seed: int) -> tuple[str, Positions]:
    """How vectors of unit length (n, size) were laid out on a plane, so that near ones stay near, and where (n, 2).

    The same vectors and seed always give the same.
    """
    if len(vectors) < MIN_TSNE:
        return "principal components", _components(vectors, 2)
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    # One thread adds numbers up in one order.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reduced = _components(vectors, COMPONENTS).astype(np.float32)
        perplexity = min(PERPLEXITY, (len(reduced) - 1) / 3)
        positions = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(reduced)
    return f"t-SNE of the first {reduced.shape[1]} principal components", positions.astype(np.float64)


def _components(vectors: NDArray[np.float16], count: int) -> Positions:
    """The first principal components (n, at most `count`), with at least two columns, of zeros if need be."""
    centred = vectors.astype(np.float64)
    if not len(centred):
        return np.zeros((0, 2))
    centred -= centred.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :count]
    # An axis may point either way: its largest part is made positive.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return np.pad(centred @ axes, ((0, 0), (0, max(2 - axes.shape[1], 0))))
