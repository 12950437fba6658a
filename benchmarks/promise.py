"""How often the promise is broken: the grouped splits whose automatic decisions are wrong more often than asked.

    python benchmarks/promise.py FILE [--group-by COLUMN] [--products N] [--splits 20] [--known-groups]

Each split draws whole groups of products until there are N, ingests three quarters of them (by groups that Rubrika
finds itself; with `--known-groups` by the column), and classifies the other quarter and, up to MAX_TEST products, what
was not drawn. It prints, for each bound: in how many splits the error among the automatic decisions was above it, in
how many by more than the chance of a test that large (exact binomial, 5 %), the part of products decided, and the part
that an oracle could have decided that knew the errors of this test. Then the false alarms among products of known
categories, the calibration error, and the seconds of an ingest.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from rubrika.eval.metrics import calibration_error, coverage
from rubrika.index.folder import Index
from rubrika.index.location import Location
from rubrika.ingest.ingest import ingest
from rubrika.products.product import Kept, Product
from rubrika.products.reader import Reader
from rubrika.products.split import families
from rubrika.retrieve.classify import classify
from rubrika.retrieve.confidence import AUTO, NEW, rethreshold
from rubrika.retrieve.guarantee import Policy, threshold

BOUNDS = (0.01, 0.02, 0.05)
MAX_TEST, SIGNIFICANT = 10_000, 0.05


def split(products: list[Product], count: int, seed: int) -> tuple[list[Product], list[Product]]:
    """Products to ingest and to classify, by whole groups."""
    ids = np.array([product.id for product in products], np.uint64)
    groups = families(ids, [product.group for product in products])
    order = np.random.default_rng(seed).permutation(groups.max() + 1)[groups]
    rows = np.argsort(order, kind="stable")
    first = order[rows[int(min(count, len(rows)) * 0.75)]]
    cut = int(np.searchsorted(order[rows], first))
    return [products[row] for row in rows[:cut]], [products[row] for row in rows[cut : cut + MAX_TEST]]


def run(stored: list[Product], asked: list[Product]) -> dict[str, float]:
    """The figures of one split."""
    with tempfile.TemporaryDirectory() as folder:
        at, started = Location(Path(folder) / "index", cache=Path(folder)), time.monotonic()
        ingest(at, Kept(stored))
        seconds = time.monotonic() - started
        with Index.open(at) as index:
            found = list(classify(index, Kept(asked)))
            fit = index.manifest.calibration.leaf
    confidences = np.concatenate([one.decided.confidences for one in found])
    unlike = np.concatenate([one.decided.decisions for one in found]) == NEW
    winners = np.concatenate([one.votes.winners for one in found])
    truth = np.array([product.category.id for product in asked if product.category])
    known = np.isin(truth, [product.category.id for product in stored if product.category])
    right = winners == truth
    figures = {"seconds": seconds, "ece": calibration_error(confidences, right), "alarms": unlike[known].mean()}
    for bound in BOUNDS:
        auto = rethreshold(confidences, unlike, threshold(fit, Policy(bound))) == AUTO
        wrong, decided = int((~right[auto]).sum()), int(auto.sum())
        clear = decided > 0 and binomtest(wrong, decided, bound, alternative="greater").pvalue < SIGNIFICANT
        oracle = coverage(confidences, right, bound)
        figures |= {f"broken {bound}": wrong > bound * decided, f"clearly {bound}": clear}
        figures |= {f"auto {bound}": auto.mean(), f"oracle {bound}": oracle}
    return figures


def main() -> None:
    """Run every split and print the means as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--group-by")
    parser.add_argument("--products", type=int, default=10**9)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--known-groups", action="store_true", help="name the groups to the index too")
    arguments = parser.parse_args()
    reader = Reader([arguments.file], labelled=True, group_by=arguments.group_by)
    products = [product for batch in reader for product in batch.products]
    rows = []
    for seed in range(arguments.splits):
        stored, asked = split(products, arguments.products, seed)
        if not arguments.known_groups:
            stored = [replace(product, group="") for product in stored]
        rows.append(run(stored, asked))
        print(json.dumps({name: round(float(value), 4) for name, value in rows[-1].items()}), flush=True)
    means = {name: round(float(np.mean([row[name] for row in rows])), 4) for name in rows[0]}
    print(json.dumps({"stored": len(stored), "asked": len(asked), "splits": len(rows)} | means))


if __name__ == "__main__":
    main()
