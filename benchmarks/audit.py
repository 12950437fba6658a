"""How wrong labels hurt, and how many of them `rubrika audit` finds: labels are flipped at random, then audited.

    python benchmarks/audit.py FILE --group-by COLUMN [--flip 0,0.01,0.05,0.1] [--seed 0] [--rankings]

A part of the labels is exchanged for another category, any other with the same chance. Prints a Markdown row a part:
weighted F1 on held-out groups whose labels are right, learned from the others with flips among them; then, with all
products ingested, how many of the audit's first rows are flips, and how long it took. With `--rankings` it prints
instead how many flips come first when the same suspects are ranked by what the vote alone says.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from rubrika.eval.heldout import Labels, read_labels
from rubrika.eval.metrics import metrics_of, weighted_f1_interval
from rubrika.index.folder import Index
from rubrika.index.location import Location
from rubrika.index.manifest import VoteSettings
from rubrika.ingest.ingest import ingest
from rubrika.products.product import Batch, Category, Products, Selection
from rubrika.products.reader import Reader
from rubrika.products.split import group_split
from rubrika.progress import Silent
from rubrika.retrieve.audit import LabelIssues, audit
from rubrika.retrieve.classify import classify
from rubrika.vote import vote_over

FIRST = (100, 500, 1_000, 2_000)


@dataclass(frozen=True)
class Relabelled:
    """The good products of a reader with other categories, one a product."""

    products: Products
    categories: Sequence[Category]

    @property
    def files(self) -> Sequence[Path]:
        """As in Products."""
        return self.products.files

    def __len__(self) -> int:
        """How many products there are."""
        return len(self.categories)

    def __iter__(self) -> Iterator[Batch]:
        """Yield them in order."""
        given = iter(self.categories)
        for batch in self.products:
            yield Batch(batch.file, [replace(product, category=next(given)) for product in batch.products], [])

    def check(self) -> None:
        """As in Products."""
        self.products.check()


def flipped(labels: Labels, part: float, seed: int) -> np.ndarray:
    """The categories with a part of them exchanged for any other."""
    random = np.random.default_rng(seed)
    known, code = np.unique(labels.categories, return_inverse=True)
    chosen = random.permutation(len(code))[: round(part * len(code))]
    code[chosen] = (code[chosen] + random.integers(1, len(known), len(chosen))) % len(known)
    return known[code]


def held_out_f1(products: Products, reader: Reader, labels: Labels, column: str) -> str:
    """Weighted F1, with its 95 % interval, on groups that `products` was not learned from."""
    held_out = group_split(labels.ids, labels.groups, 0.1, 0, column).held_out
    with TemporaryDirectory() as folder:
        ingest(Location(Path(folder), cache=Path(folder)), Selection(products, ~held_out))
        with Index.open(Location(Path(folder), cache=Path(folder))) as index:
            found = [one.votes.winners for one in classify(index, Selection(reader, held_out))]
    truth, predicted = labels.categories[held_out], np.concatenate(found)
    groups = np.unique(np.array(labels.groups, object)[held_out].astype(str), return_inverse=True)[1]
    low, high = weighted_f1_interval(truth, predicted, groups)
    return f"{metrics_of(truth, predicted).weighted_f1:.4f} ({low:.4f} … {high:.4f})"


def suspects_of(products: Products) -> tuple[LabelIssues, float]:
    """The suspects of an index of all products, and how long the audit took."""
    with TemporaryDirectory() as folder:
        ingest(Location(Path(folder), cache=Path(folder)), products)
        started = time.monotonic()
        with Index.open(Location(Path(folder), cache=Path(folder))) as index:
            return audit(index).suspects, time.monotonic() - started


def relabelled(reader: Reader, given: np.ndarray) -> Relabelled:
    """The products of a reader with the categories `given`."""
    paths = {product.category.id: product.category for batch in reader for product in batch.products}
    return Relabelled(reader, [paths[category] for category in given.tolist()])


def rows_of(suspects: LabelIssues, labels: Labels) -> np.ndarray:
    """Which rows of the file the suspects are."""
    place = {id: row for row, id in enumerate(labels.ids.tolist())}
    return np.array([place[id] for id in suspects.ids.tolist()], int)


def first_of(wrong: np.ndarray) -> str:
    """How many flips are among the first rows, as cells."""
    return " | ".join(f"{int(wrong[:count].sum()):,}" for count in FIRST)


def row(reader: Reader, labels: Labels, part: float, seed: int, column: str) -> str:
    """One row of the table."""
    given = flipped(labels, part, seed)
    products = relabelled(reader, given)
    f1 = held_out_f1(products, reader, labels, column)
    suspects, seconds = suspects_of(products)
    rows = rows_of(suspects, labels)
    wrong = given[rows] != labels.categories[rows]
    right = (suspects.suggested == labels.categories[rows])[wrong].mean() if wrong.any() else 0.0
    flips = int((given != labels.categories).sum())
    found = f"{int(wrong.sum()):,} ({wrong.sum() / max(flips, 1):.1%})"
    cells = (
        f"{part:.0%}",
        f"{flips:,}",
        f1,
        first_of(wrong),
        f"{len(rows):,}",
        found,
        f"{right:.1%}",
        f"{seconds:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def rankings(reader: Reader, labels: Labels, part: float, seed: int) -> str:
    """A row a way to rank the same suspects."""
    given = flipped(labels, part, seed)
    suspects, _ = suspects_of(relabelled(reader, given))
    rows = rows_of(suspects, labels)
    wrong = given[rows] != labels.categories[rows]
    votes = vote_over(suspects.hits, VoteSettings())
    own = (votes.shares * (votes.categories == suspects.categories[:, None])).sum(axis=1)
    nearest = next(iter(suspects.hits.values())).scores[:, 0]
    by = {
        "every neighbour by its similarity (in use)": suspects.confidence,
        "share of the vote, minus the label's": votes.shares[:, 0] - own,
        "share of the vote × similarity of the nearest": votes.shares[:, 0] * nearest,
    }
    ranked = ((name, np.lexsort((suspects.ids, -score))) for name, score in by.items())
    return "\n".join(f"| {part:.0%} | {name} | {first_of(wrong[order])} |" for name, order in ranked)


def main() -> None:
    """Flip and audit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--group-by", default="group_key")
    parser.add_argument("--flip", default="0,0.01,0.05,0.1", help="parts of the labels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rankings", action="store_true")
    options = parser.parse_args()
    reader = Reader([options.file], labelled=True, group_by=options.group_by)
    labels = read_labels(reader, Silent())
    first = " | ".join(f"in {count:,}" for count in FIRST)
    if options.rankings:
        print(f"| flipped | ranked by | {first} |\n|{'---|' * (2 + len(FIRST))}")
    else:
        print(f"| flipped | labels | weighted F1 | {first} | suspects | flips found | true one suggested | audit s |")
        print(f"|{'---|' * (7 + len(FIRST))}")
    for part in map(float, options.flip.split(",")):
        if options.rankings:
            print(rankings(reader, labels, part, options.seed), flush=True)
        else:
            print(row(reader, labels, part, options.seed, options.group_by), flush=True)


if __name__ == "__main__":
    main()
