"""Chooses how much the margin view counts for beside the learned one, on products that neither has learned from."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rubrika.encode.base import FloatArray
from rubrika.encode.learned import LearnedEncoder
from rubrika.train.bags import FeatureBags
from rubrika.train.validation import NEIGHBOURS, TEMPERATURE

IntArray = NDArray[np.int64]
Inputs = Mapping[str, NDArray[np.float16] | FloatArray]  # vectors of other encoders for all products, by name

# Never the margin view alone: it knows neither new words and categories nor pictures.
SHARES = (0.0, 0.3, 0.4, 0.5, 0.6, 0.75, 0.85)
# Best on several shops; another one is taken where that is better by more than chance.
USUAL = 0.5
# So few products are asked fold by fold; of more a fifth are asked, but so many at most, and so many learned from.
FEW, FOLDS, ASKED, LEARNED_FROM = 1_000, 3, 2_000, 20_000
QUERIES = 256  # compared at once


def chosen_share(bags: FeatureBags, inputs: Inputs, fit: Callable[[IntArray], LearnedEncoder]) -> float:
    """The share whose vote is right most often; `fit` learns both views from the rows that it is given.

    Near duplicates are never on both sides. Where nothing can be held out, it is the usual one.
    """
    random = np.random.default_rng(0)
    rows = bags.order[np.sort(random.permutation(len(bags.order))[: LEARNED_FROM + ASKED])]
    code = np.unique(bags.groups[rows], return_inverse=True)[1]
    folds = FOLDS if len(rows) <= FEW else max(5, round(len(rows) / ASKED))
    fold = (random.permutation(code.max() + 1) % folds)[code]
    truth, winners = list[IntArray](), [list[IntArray]() for _ in SHARES]
    for number in range(FOLDS if len(rows) <= FEW else 1):
        known, asked = rows[fold != number], rows[fold == number]
        if len(np.unique(bags.labels[known])) < 2 or not len(asked):
            continue
        encoder = fit(known)
        stored, queries = (encoder.views(bags.features[part], _of(inputs, part)) for part in (known, asked))
        for start in range(0, len(asked), QUERIES):
            part = slice(start, start + QUERIES)
            truth.append(bags.labels[asked[part]])
            votes = _votes([view[part] for view in queries], stored, bags.labels[known])
            for found, each in zip(winners, votes, strict=True):
                found.append(each)
    if not truth:
        return USUAL
    right = np.stack([np.concatenate(each) == np.concatenate(truth) for each in winners])
    best = right[right.sum(axis=1).argmax()]
    # Two standard errors of the difference on the same products; the best of several is the best partly by chance.
    equal = best.sum() - right.sum(axis=1) <= 2 * (right != best).sum(axis=1) ** 0.5
    return min((share for share, good in zip(SHARES, equal, strict=True) if good), key=lambda share: abs(share - USUAL))


def _votes(queries: Sequence[FloatArray], stored: Sequence[FloatArray], labels: IntArray) -> Iterator[IntArray]:
    """What the nearest stored products vote for by each share, for views (n, size) of queries and of those products.

    Both views side by side are as similar as each by itself, weighted: no share needs products of its own.
    """
    dots = [query @ each.T for query, each in zip(queries, stored, strict=True)]
    lengths = [[np.square(view).sum(axis=1) for view in views] for views in (queries, stored)]
    for share in SHARES:
        learned, margin = np.float32((1 - share) ** 2), np.float32(share**2)
        rows, columns = (np.sqrt(np.maximum(learned * one + margin * other, 1e-30)) for one, other in lengths)
        similarity = (learned * dots[0] + margin * dots[1]) / columns / rows[:, None]
        width = min(NEIGHBOURS, len(labels))
        nearest = np.argpartition(similarity, -width, axis=1)[:, -width:]
        scores = np.take_along_axis(similarity, nearest, axis=1)
        weights, categories = np.exp(TEMPERATURE * (scores - scores.max(axis=1, keepdims=True))), labels[nearest]
        votes = ((categories[:, :, None] == categories[:, None]) * weights[:, None]).sum(axis=2)
        yield categories[np.arange(len(votes)), votes.argmax(axis=1)]


def _of(inputs: Inputs, rows: IntArray) -> dict[str, FloatArray]:
    return {name: vectors[rows].astype(np.float32) for name, vectors in inputs.items()}
