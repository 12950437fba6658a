"""Categories that the encoder has never seen: are their products found to be new, and voted for once some are in?

    python benchmarks/newcomers.py FILE --group-by COLUMN [--categories 50]

Some categories are left out whole when the encoder learns, and so is a tenth of the groups of all others. Then the
products of both are classified: which look like nothing known? After that 1, 5 and 20 products of each new category are
ingested, nothing being learned, and other groups of it are classified among all categories.
"""

import argparse
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from rubrika.eval.heldout import Labels, read_labels
from rubrika.eval.split import group_split
from rubrika.index.folder import Index
from rubrika.index.location import Location
from rubrika.ingest.ingest import ingest
from rubrika.metrics import metrics_of
from rubrika.products.product import Selection
from rubrika.products.reader import Reader
from rubrika.progress import Silent
from rubrika.retrieve.classify import classify
from rubrika.retrieve.confidence import nearest

EXAMPLES, ASKED, LARGE = (1, 5, 20), 40, 40
BONUSES = (0.0, 0.05)
FALSE_ALARMS = 0.05
CACHE = Path("nowhere")

Mask = NDArray[np.bool_]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--group-by", required=True)
    parser.add_argument("--categories", type=int, default=50)
    options = parser.parse_args()
    reader = Reader([options.file], labelled=True, group_by=options.group_by)
    labels = read_labels(reader, Silent())
    ids, counts = np.unique(labels.categories, return_counts=True)
    random = np.random.default_rng(0)
    new = random.choice(ids[counts >= LARGE], options.categories, replace=False)
    is_new = np.isin(labels.categories, new)
    held_out = group_split(labels.ids, labels.groups, 0.1, 0, options.group_by).held_out & ~is_new
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "index"
        ingest(Location(folder, cache=CACHE), Selection(reader, ~held_out & ~is_new))
        _, asked = examples(labels, new, 0)
        unlike = np.concatenate([nearness(folder, reader, held_out), nearness(folder, reader, asked)])
        report(unlike, np.arange(len(unlike)) >= held_out.sum())
        print("| examples | bonus | new products right | known products, weighted F1 |\n|---|---|---|---|")
        for count in EXAMPLES:
            added, asked = examples(labels, new, count)
            grown = Path(shutil.copytree(folder, Path(name) / f"index-{count}"))
            ingest(Location(grown, cache=CACHE), Selection(reader, added))
            for bonus in BONUSES:
                right = accuracy(grown, reader, asked, labels, bonus)
                known = metrics_of(labels.categories[held_out], winners(grown, reader, held_out, bonus)).weighted_f1
                print(f"| {count} | {bonus:g} | {right:.1%} | {known:.4f} |", flush=True)


def examples(labels: Labels, new: NDArray[np.int64], count: int) -> tuple[Mask, Mask]:
    """Products to ingest, `count` of each new category, and at most ASKED others of other groups to classify."""
    random = np.random.default_rng(0)
    groups = np.array(labels.groups, object)
    added, asked = np.zeros(len(groups), bool), np.zeros(len(groups), bool)
    for category in new:
        rows = random.permutation(np.flatnonzero(labels.categories == category))
        taken = set(groups[rows[:count]])
        added[rows[:count]] = True
        asked[[row for row in rows[count : count + ASKED] if groups[row] not in taken]] = True
    return added, asked


def nearness(folder: Path, reader: Reader, chosen: Mask) -> NDArray[np.float32]:
    """The similarity of each product's nearest neighbour."""
    with Index.open(Location(folder, cache=CACHE)) as index:
        return np.concatenate([nearest(one.hits) for one in classify(index, Selection(reader, chosen))])


def winners(folder: Path, reader: Reader, chosen: Mask, bonus: float) -> NDArray[np.int64]:
    """The predicted categories."""
    with Index.open(Location(folder, cache=CACHE)) as index:
        vote = replace(index.manifest.vote, newcomer_bonus=bonus)
        index = replace(index, manifest=replace(index.manifest, vote=vote))
        return np.concatenate([one.votes.winners for one in classify(index, Selection(reader, chosen))])


def accuracy(folder: Path, reader: Reader, chosen: Mask, labels: Labels, bonus: float) -> float:
    """The part of new products that get their own category."""
    return float((winners(folder, reader, chosen, bonus) == labels.categories[chosen]).mean())


def report(similarity: NDArray[np.float32], is_new: Mask) -> None:
    """Print how well the nearest neighbour's similarity tells new products from known ones."""
    ranks = rankdata(-similarity)
    positives, negatives = int(is_new.sum()), int((~is_new).sum())
    area = (ranks[is_new].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    bound = np.quantile(similarity[~is_new], FALSE_ALARMS)
    found = float((similarity[is_new] < bound).mean())
    print(
        f"{positives:,} products of new categories against {negatives:,} known ones: ROC area {area:.3f}; "
        f"{found:.1%} of the new are flagged where {FALSE_ALARMS:.0%} of the known are\n"
    )


if __name__ == "__main__":
    main()
