"""How many wrong labels `rubrika audit` finds: some are flipped at random, then all are ranked.

    python benchmarks/audit.py FILE [--products N] [--flip 0.05] [--seed 0]

Of N products drawn from FILE, a part gets another category, any with the same chance. Prints a Markdown row: how many
labels were flipped, and how many of them are among as many first rows, ranked by `rubrika audit`, by the neighbours
among the stored vectors, which have learned from the flipped labels (as `rubrika audit` did before), and, where
cleanlab is installed (`pip install cleanlab`), by its `find_label_issues` on the probabilities that the vectors of
`rubrika audit` give; then how many wrong labels it expects, and its seconds.
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rubrika.encode.duplicates import group_number, merged_groups, text_groups
from rubrika.encode.learned import LearnedConfig
from rubrika.index.folder import Index
from rubrika.index.location import Location
from rubrika.ingest.audit import audit
from rubrika.ingest.crossfit import cross_fitted, folds_of
from rubrika.ingest.ingest import ingest
from rubrika.ingest.reach import Cohort
from rubrika.products.reader import Reader
from rubrika.retrieve.exact import ExactSearch
from rubrika.retrieve.issues import similarities
from rubrika.vote import weighted_vote

# How sharply similarities become probabilities for cleanlab: of 5 to 60, with this one it finds the most.
TEMPERATURE = 15.0


def flipped(table: pa.Table, part: float, seed: int) -> tuple[pa.Table, set[int]]:
    """A table with other categories in a part of its rows, and the ids of these products."""
    random, ids = np.random.default_rng(seed), table["category_id"].to_numpy()
    known, code = np.unique(ids, return_inverse=True)
    chosen = random.permutation(len(ids))[: round(part * len(ids))]
    code[chosen] = (code[chosen] + random.integers(1, len(known), len(chosen))) % len(known)
    names = dict(zip(ids.tolist(), table["category_name"].to_pylist(), strict=True))
    for name, column in (("category_id", known[code]), ("category_name", [names[id] for id in known[code].tolist()])):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place), pa.array(column, table.schema.field(place).type))
    return table, set(table["product_id"].take(chosen).to_pylist())


def by_stored_neighbours(index: Index) -> list[int]:
    """Product ids ranked by how much more similarity ten neighbours lend the winner of their vote than the label."""
    points = [point for page in index.store.scroll(["category_id"], vectors=True) for point in page]
    ids, vectors = np.array([it.id for it in points], np.uint64), np.array([it.vectors["text"] for it in points])
    labels, own = np.array([it.category_id for it in points]), np.arange(len(points))
    search = ExactSearch(vectors, 10, own)
    search.add(ids, vectors, labels, own)
    hits = search.hits()
    winners = weighted_vote(hits, 60.0).winners
    sign = (hits.categories == winners[:, None]).astype(int) - (hits.categories == labels[:, None])
    margin = np.where(winners == labels, -np.inf, (np.clip(hits.scores, 0, 1) * sign).sum(axis=1))
    return list(ids[np.lexsort((ids, -margin))].tolist())


def by_cleanlab(file: Path, encoders: Mapping[str, LearnedConfig]) -> list[int] | None:
    """Product ids ranked by cleanlab's default filter and its best ranking; None where it is not installed."""
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        return None
    products = sorted((it for batch in Reader([file], labelled=True) for it in batch.products), key=lambda it: it.id)
    numbers = np.array([group_number(it.title, it.group, it.id) for it in products], np.int64)
    groups = merged_groups(numbers, text_groups([product.text for product in products]))
    labels = np.unique([it.category.id for it in products if it.category], return_inverse=True)[1]
    chances, weights = np.zeros((len(products), labels.max() + 1), np.float32), {"text": 1.0}
    for fold in cross_fitted(Cohort(products), folds_of(groups), weights, {}, encoders):
        for rows, found in similarities(fold.asked, fold.vectors, weights, labels):
            likely = np.exp(TEMPERATURE * (found - found.max(axis=1, keepdims=True)))
            chances[rows] = likely / likely.sum(axis=1, keepdims=True)
    # It wants a probability of every label: one that cannot be known is no issue.
    judged = np.flatnonzero(chances[np.arange(len(labels)), labels] > 0)
    kept, codes = np.unique(labels[judged], return_inverse=True)
    order = find_label_issues(codes, chances[judged][:, kept], return_indices_ranked_by="self_confidence", n_jobs=1)
    return [products[row].id for row in judged[order].tolist()]


def main() -> None:
    """Flip, ingest, audit and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--products", type=int, default=10**9)
    parser.add_argument("--flip", type=float, default=0.05, help="the part of the labels")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    table = pq.read_table(options.file)
    drawn = np.sort(np.random.default_rng(options.seed).permutation(len(table))[: options.products])
    table, wrong = flipped(table.take(drawn), options.flip, options.seed)

    def first(ranked: list[int] | None) -> str:
        return "–" if ranked is None else f"{len(wrong & set(ranked[: len(wrong)])):,}"

    with TemporaryDirectory() as folder:
        file, at = Path(folder) / "flipped.parquet", Location(Path(folder) / "index", cache=Path(folder))
        pq.write_table(table, file)
        ingest(at, Reader([file], labelled=True), calibrated=False)
        with Index.open(at) as index:
            started = time.monotonic()
            found = audit(index)
            seconds, before, encoders = time.monotonic() - started, by_stored_neighbours(index), index.learned
        row = [f"{len(table):,}", f"{len(wrong):,}", first(found.issues.ids.tolist()), first(before)]
        row += [first(by_cleanlab(file, encoders)), f"{found.expected:,}", f"{seconds:.0f}"]
    print("| products | flipped | audit | as before | cleanlab | expected | audit s |\n|---|---|---|---|---|---|---|")
    print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
