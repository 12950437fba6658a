"""What the two views of the learned encoder are worth, alone and together, beside a linear SVM.

    python benchmarks/views.py FILE [--group-by COLUMN] [--holdout 0.1] [--splits 3] [--seeds 1] [--svm]

Each split holds out whole groups (without a column, the same part of every category). Prints Markdown rows: weighted
and macro F1 of the vote of ten exact neighbours, for each share of the margin view and for the share that learning
chose, as the mean over splits and seeds; the largest difference of two seeds; and, with --svm, the SVM's.
"""

import argparse
from pathlib import Path

import numpy as np

from rubrika.encode.base import unit_rows
from rubrika.encode.hashing import rich_features_of
from rubrika.encode.learned import bags_of, side_by_side
from rubrika.eval.baselines import LinearSvm
from rubrika.eval.metrics import metrics_of
from rubrika.products.product import Kept
from rubrika.products.reader import Reader
from rubrika.products.split import group_split, stratified_split
from rubrika.progress import Silent
from rubrika.retrieve.exact import exact_hits
from rubrika.train.embed import LearnSettings, learn
from rubrika.train.views import SHARES
from rubrika.vote import weighted_vote


def main() -> None:
    """Learn once a split and seed, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--group-by")
    parser.add_argument("--holdout", type=float, default=0.1)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--svm", action="store_true")
    options = parser.parse_args()
    reader = Reader([options.file], labelled=True, group_by=options.group_by)
    products = [product for batch in reader for product in batch.products]
    ids = np.array([product.id for product in products], np.uint64)
    labels = np.array([product.category.id for product in products if product.category], np.int64)
    texts = [product.text for product in products]
    found: dict[str, list[tuple[float, float]]] = {}

    def note(name: str, predicted: np.ndarray, truth: np.ndarray) -> None:
        metrics = metrics_of(truth, predicted)
        found.setdefault(name, []).append((metrics.weighted_f1, metrics.macro_f1))

    for split in range(options.splits):
        if options.group_by:
            groups = [product.group for product in products]
            asked = group_split(ids, groups, options.holdout, split, options.group_by).held_out
        else:
            asked = stratified_split(ids, labels, options.holdout, split).held_out
        known = Kept([product for product, out in zip(products, asked, strict=True) if not out])
        for seed in range(options.seeds):
            encoder = learn(known, Silent(), LearnSettings(seed=seed))
            print(f"split {split}, seed {seed}: the margin view counts for {encoder.config.margin}", flush=True)
            views = encoder.views(bags_of(rich_features_of(texts), encoder.config.bits))
            for name, share in [*((f"{share}", share) for share in SHARES), ("chosen", encoder.config.margin)]:
                vectors = unit_rows(side_by_side(*views, share))
                hits = exact_hits(vectors[~asked], labels[~asked], vectors[asked], 10)
                note(name, weighted_vote(hits, 60.0).winners, labels[asked])
        if options.svm:
            rows = np.flatnonzero(asked).tolist()
            svm = LinearSvm().fit([text for text, out in zip(texts, asked, strict=True) if not out], labels[~asked])
            note("linear SVM", svm.predict([texts[row] for row in rows]), labels[asked])
    print("| the margin view counts for | weighted F1 | macro F1 |\n|---|---|---|")
    for name, figures in found.items():
        weighted, macro = np.mean(figures, axis=0)
        print(f"| {name} | {weighted:.4f} | {macro:.4f} |")
    if options.seeds > 1:
        chosen = np.array(found["chosen"])[:, 0].reshape(options.splits, options.seeds)
        print(f"seeds differ by {np.ptp(chosen, axis=1).max():.4f} at most")


if __name__ == "__main__":
    main()
