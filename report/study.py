"""Studies an evaluation closer, for a report: where it errs, how sure it is, what the embedding looks like."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from rubrika.eval.evaluate import Answers, Evaluation
from rubrika.eval.heldout import Timer
from rubrika.eval.metrics import (
    by_size,
    confusion,
    hierarchical_f1_interval,
    macro_f1_interval,
    mistakes,
    reliability,
    risk,
    scores_of,
)
from rubrika.products.text import shortened
from rubrika.report.findings import Confusion, Example, Findings, Map, Pair, Spot
from rubrika.report.map import lay_out
from rubrika.retrieve.tree import Tree

PAIRS, EXAMPLES = 12, 4
CONFUSED = 14
LONGEST_TITLE = 100
REST = "others"
COLOURS = 8


def study(evaluation: Evaluation, answers: Answers, timer: Timer) -> Findings:
    """Work out what a report says.

    Args:
        evaluation: the figures.
        answers: product by product.
        timer: keeps what this takes.
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
        drawn = _map(answers, seed)
    named = {int(category) for category in np.union1d(truth, predicted)}
    return Findings(
        evaluation=evaluation,
        macro_interval=macro,
        hierarchical_interval=hierarchical,
        reliability=reliability(answers.confidences, right),
        risk=risk(answers.confidences, right),
        sizes=by_size(scores),
        scores=scores,
        pairs=pairs,
        confusion=Confusion(tuple(confused), confusion(truth, predicted, confused)),
        map=drawn,
        paths={category: path for category in sorted(named) if (path := tree.path(category))},
    )


def _pairs(answers: Answers) -> list[Pair]:
    samples = answers.samples
    return [
        Pair(
            found.category_id,
            found.taken_for,
            found.count,
            found.products,
            tuple(
                Example(
                    int(samples.ids[row]),
                    shortened(samples.titles[row], LONGEST_TITLE),
                    float(answers.confidences[row]),
                )
                for row in found.rows[:EXAMPLES]
            ),
        )
        for found in mistakes(answers.truth, answers.predicted, answers.confidences, PAIRS)
    ]


def _map(answers: Answers, seed: int) -> Map:
    samples = answers.samples
    layout = lay_out(samples.vectors, seed)
    truth = answers.truth[samples.rows]
    spots = [
        Spot(
            int(samples.ids[row]),
            shortened(samples.titles[row], LONGEST_TITLE),
            category,
            group,
            # A thousandth of the plane is less than a dot.
            round(x, 3),
            round(y, 3),
        )
        for row, category, group, (x, y) in zip(
            samples.rows.tolist(), truth.tolist(), _groups(truth, answers.tree), layout.places.tolist(), strict=True
        )
    ]
    return Map(layout.how, spots)


def _groups(truth: NDArray[np.int64], tree: Tree) -> list[str]:
    """The largest branches by name, at the first level of the tree that has more than one; all others as one."""
    for level in range(1, tree.depth + 1):
        names: list[str] = tree.names(tree.nodes(truth, level)).tolist()
        if len(set(names)) > 1:
            break
    else:
        return [REST] * len(truth)
    counts = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    largest = {name for name, _ in counts[:COLOURS]}
    return [name if name in largest else REST for name in names]
