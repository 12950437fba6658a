"""What an index makes of categories that its encoder has not learned: by their names, and by five products of each.

    python benchmarks/newcomers.py FILE [--group-by COLUMN] [--hidden 30] [--smallest 40] [--known 3000] [--seed 0]
        [--text-encoder SPEC [--backend onnx-int8]]

All products of some categories are hidden, of at least `--smallest` products each, and of the others whole groups. The
rest is ingested; then the names of the hidden categories are listed, and all that was hidden is classified; then five
products of each hidden category are ingested, of different groups, and the others of its groups leave the test. Prints
JSON: what was predicted right, what was taken from known categories, and how many products were flagged as new. With
a pretrained text encoder, a joint vector votes that is learned from its vectors too.
"""

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rubrika.index.categories import read_names, write_names
from rubrika.index.folder import Choice, Index
from rubrika.index.location import Location
from rubrika.index.manifest import Manifest
from rubrika.ingest.ingest import ingest
from rubrika.products.product import Kept, Product
from rubrika.products.reader import Reader
from rubrika.products.split import families
from rubrika.retrieve.classify import classify
from rubrika.retrieve.confidence import NEW

EXAMPLES, MAX_NEW = 5, 1_500


def category_of(product: Product) -> int:
    """Its label."""
    return product.category.id if product.category else -1


def answers(at: Location, asked: Sequence[Product]) -> tuple[np.ndarray, np.ndarray, list[str | None]]:
    """Predicted categories, decisions, and suggestions."""
    with Index.open(at) as index:
        found = list(classify(index, Kept(asked)))
    winners = np.concatenate([one.votes.winners for one in found])
    decisions = np.concatenate([one.decided.decisions for one in found])
    return winners, decisions, [name for one in found for name in one.suggestions()]


def main() -> None:
    """Hide, ingest, classify, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--group-by")
    for name, default in (("hidden", 30), ("smallest", 40), ("known", 3_000), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--text-encoder")
    parser.add_argument("--backend", default="torch")
    chosen = parser.parse_args()
    reader = Reader([chosen.file], labelled=True, group_by=chosen.group_by)
    products = [product for batch in reader for product in batch.products]
    truth, random = np.array([category_of(product) for product in products]), np.random.default_rng(chosen.seed)
    ids = np.array([product.id for product in products], np.uint64)
    groups = families(ids, [product.group for product in products])
    categories, sizes = np.unique(truth, return_counts=True)
    hidden = random.permutation(categories[sizes >= chosen.smallest])[: chosen.hidden]
    is_hidden = np.isin(truth, hidden)
    order = random.permutation(groups.max() + 1)[groups]
    order[is_hidden] = np.iinfo(np.int64).max
    held = order < order[np.argsort(order, kind="stable")[chosen.known]]
    known = [products[row] for row in np.flatnonzero(held)]
    new = [products[row] for row in random.permutation(np.flatnonzero(is_hidden))]
    figures: dict[str, float] = {}

    def note(stage: str, asked: Sequence[Product]) -> None:
        winners, decisions, suggested = answers(at, [*asked[:MAX_NEW], *known])
        count = min(len(asked), MAX_NEW)
        mine = np.array([category_of(product) for product in asked[:count]])
        named = [product.category.path if product.category else "" for product in asked[:count]]
        taken, labels = np.isin(winners[count:], hidden), np.array([category_of(product) for product in known])
        figures[f"{stage}: predicted right"] = float((winners[:count] == mine).mean())
        figures[f"{stage}: suggested right"] = float(np.mean([a == b for a, b in zip(suggested, named, strict=False)]))
        figures[f"{stage}: flagged new"] = float((decisions[:count] == NEW).mean())
        figures[f"{stage}: known flagged new"] = float((decisions[count:] == NEW).mean())
        figures[f"{stage}: known taken"] = float(taken.mean())
        figures[f"{stage}: known right"] = float((winners[count:] == labels).mean())

    with tempfile.TemporaryDirectory() as folder:
        at = Location(Path(folder) / "index", cache=Path(folder))
        choice = Choice(chosen.text_encoder, backend=chosen.backend, vote="joint" if chosen.text_encoder else None)
        ingest(at, Kept([products[row] for row in np.flatnonzero(~held & ~is_hidden)]), choice=choice)
        note("unknown", new)
        names = {category_of(product): product.category.path for product in new if product.category}
        write_names(at.folder, (read_names(at.folder) or {}) | names)
        note("names", new)
        examples, taken = defaultdict[int, list[Product]](list), set[str]()
        for product in new:
            mine = examples[category_of(product)]
            if len(mine) < EXAMPLES and (product.group or str(product.id)) not in taken:
                mine.append(product)
                taken.add(product.group or str(product.id))
        ingest(at, Kept([product for mine in examples.values() for product in mine]))
        note("five each", [product for product in new if (product.group or str(product.id)) not in taken])
        vote = Manifest.read(at.folder).vote
    figures |= {"unseen_reach": vote.unseen_reach, "name_reach": vote.name_reach or 0.0, "hidden": len(hidden)}
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}, indent=1))


if __name__ == "__main__":
    main()
