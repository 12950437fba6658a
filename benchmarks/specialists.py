"""Specialists for categories that are taken for one another: is a head of their own worth having beside the vote?

    python benchmarks/specialists.py FILE [--group-by COLUMN] [--seed N]

Products are split in three: 80 % to learn from, 10 % to validate, 10 % untouched. Categories confused on the validation
part make clusters, and each gets a logistic regression learned from its own products, which decides where the vote
falls inside. Once every cluster uses its specialist, once only those that it helps on one half of the validation part
and does not harm on the other. Prints, as a Markdown table, what that is worth on the untouched part.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from encoder import neighbours
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer

from rubrika.eval.heldout import Labels, read_labels
from rubrika.eval.split import group_split, plain_split
from rubrika.metrics import metrics_of, paired_difference
from rubrika.products.product import Selection
from rubrika.products.reader import Reader
from rubrika.progress import Silent
from rubrika.train.embed import learn
from rubrika.vote import weighted_vote

LARGEST, FEWEST = 5, 2  # categories in a cluster; confusions that join two
COLUMNS = ("specialist", "clusters", "inside", "put right", "put wrong", "weighted F1", "macro F1", "change, 95 %")
VECTOR, WORDS = "the vector", "TF-IDF"

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Case:
    """All products: true categories, those that the vote gives to held-out ones, groups, parts, and what heads see."""

    truth: Rows
    vote: Rows
    groups: Rows
    train: Mask
    test: Mask
    seen: dict[str, np.ndarray]


def case_of(reader: Reader, labels: Labels, seed: int) -> Case:
    """Split, learn, and vote."""
    held = part_of(labels, np.ones(len(labels.ids), bool), 0.2, seed, reader.group_by)
    test = part_of(labels, held, 0.5, seed, reader.group_by)
    texts = [product.text for batch in reader for product in batch.products]
    vectors = learn(Selection(reader, ~held), Silent()).encode(texts)
    vote = labels.categories.copy()
    vote[held] = weighted_vote(neighbours(vectors[~held], vectors[held], vote[~held], 10), 60.0).winners
    groups = np.unique(np.array(labels.groups if reader.group_by else labels.ids).astype(str), return_inverse=True)[1]
    return Case(labels.categories, vote, groups, ~held, test, {VECTOR: vectors, WORDS: np.array(texts, object)})


def part_of(labels: Labels, rows: Mask, part: float, seed: int, group_by: str | None) -> Mask:
    """A part of some rows, by whole groups when there are any."""
    ids, groups = labels.ids[rows], [labels.groups[row] for row in np.flatnonzero(rows)]
    chosen = np.zeros(len(rows), bool)
    split = group_split(ids, groups, part, seed, group_by) if group_by else plain_split(ids, part, seed)
    chosen[rows] = split.held_out
    return chosen


def confusions(case: Case) -> tuple[Rows, Rows]:
    """Pairs of categories (m, 2) taken for one another on the validation part, and how often, most often first."""
    wrong = ~case.train & ~case.test & (case.vote != case.truth) & np.isin(case.truth, case.truth[case.train])
    directed = np.stack([case.truth[wrong], case.vote[wrong]], 1)
    pairs, counts = np.unique(np.sort(directed, 1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return pairs[order], counts[order]


def clusters_of(pairs: Rows, counts: Rows) -> list[Rows]:
    """Clusters of at most LARGEST categories; the most confused pairs join first."""
    cluster: dict[int, frozenset[int]] = {}
    for one, other in pairs[counts >= FEWEST].tolist():
        joined = cluster.get(one, frozenset([one])) | cluster.get(other, frozenset([other]))
        if len(joined) <= LARGEST:
            cluster |= dict.fromkeys(joined, joined)
    return [np.array(sorted(members)) for members in dict.fromkeys(cluster.values())]


def head(name: str) -> Pipeline:
    """A logistic regression of the vector, or of words, word pairs and character 3–5-grams weighted in the cluster."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), min_df=2, sublinear_tf=True)
    seen = FunctionTransformer(lambda vectors: 3 * vectors) if name == VECTOR else make_union(words, grams)
    return make_pipeline(seen, LogisticRegression(C=10, max_iter=500))


def rows_of(case: Case, clusters: list[Rows], name: str) -> list[str]:
    """A row of the table for all specialists, and one for those that validation speaks for."""
    every, confirmed, kept = case.vote.copy(), case.vote.copy(), []
    first = case.groups % 2 == 0
    for cluster in clusters:
        known = case.train & np.isin(case.truth, cluster)
        asked = np.flatnonzero(~case.train & np.isin(case.vote, cluster))
        every[asked] = said = head(name).fit(case.seen[name][known], case.truth[known]).predict(case.seen[name][asked])
        gain = (said == case.truth[asked]).astype(int) - (case.vote[asked] == case.truth[asked])
        chosen, checked = (gain[(~case.test & half)[asked]].sum() for half in (first, ~first))
        if chosen > 0 and checked >= 0:
            confirmed[asked] = said
            kept.append(cluster)
    return [row(case, f"{name}, every cluster", clusters, every), row(case, f"{name}, confirmed", kept, confirmed)]


def row(case: Case, name: str, clusters: list[Rows], predicted: Rows) -> str:
    """What some predictions are worth on the untouched part, beside the vote's."""
    truth, vote, said = (of[case.test] for of in (case.truth, case.vote, predicted))
    scores = metrics_of(truth, said)
    low, high = paired_difference(truth, said, vote, case.groups[case.test])
    inside = np.isin(vote, [category for cluster in clusters for category in cluster]).sum()
    right, wrong = ((said == truth) & (vote != truth)).sum(), ((said != truth) & (vote == truth)).sum()
    f1 = f"{scores.weighted_f1:.4f} | {scores.macro_f1:.4f} | {low:+.4f} … {high:+.4f}"
    return f"| {name} | {len(clusters)} | {inside:,} | {right} | {wrong} | {f1} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--group-by")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    reader = Reader([options.file], labelled=True, group_by=options.group_by)
    case = case_of(reader, read_labels(reader, Silent()), options.seed)
    pairs, counts = confusions(case)
    clusters = clusters_of(pairs, counts)
    print(f"{case.train.sum():,} products to learn from, {case.test.sum():,} untouched")
    print(f"{counts.sum():,} confusions of {len(pairs):,} pairs, {(counts == 1).sum():,} of which are seen once\n")
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    print(row(case, "none: the vote", [], case.vote))
    within = [np.isin(case.vote, cluster) & np.isin(case.truth, cluster) for cluster in clusters]
    perfect = np.where(np.any(within, axis=0), case.truth, case.vote)
    print(row(case, "one that is always right", clusters, perfect), flush=True)
    for name in case.seen:
        print("\n".join(rows_of(case, clusters, name)), flush=True)


if __name__ == "__main__":
    main()
