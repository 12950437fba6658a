"""Rubrika beside what people would use instead, on the same held-out products, each in a process of its own.

    python benchmarks/compare.py FILE [--group-by COLUMN] [--methods Rubrika,fastText,...] [--model FOLDER]
        [--splits 1] [--categories N --rows M] [--output table.md] [--page docs/benchmarks.md]

Every method gets the same texts and the same split (that of `rubrika evaluate`), and is timed as a whole process:
wall and processor seconds, and peak memory. Weighted F1 comes with its 95 % interval, and with the paired bootstrap of
the difference to Rubrika. Of several --splits, F1, time and memory are the mean (of memory the most), and the intervals
are of all their held-out products together, of which those of one group are drawn together. With --categories each
split is of so many rows of so many categories, drawn anew from those that have at least 60. Two rows are too slow to
run whole: sentence-transformers (of the --model) with scikit-learn's kNN, the reference's way, and Rubrika's vectors in
qdrant-client's local mode. They are timed on a sample and extrapolated, which an ≈ says, and have no F1.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from reference import local_mode, sentence_neighbours

from rubrika.eval.baselines import Baseline, FastText, LinearSvm, NearestNeighbours
from rubrika.eval.heldout import read_labels
from rubrika.eval.metrics import metrics_of, paired_difference, weighted_f1_interval
from rubrika.index.location import Location
from rubrika.products.product import Selection
from rubrika.products.reader import Reader
from rubrika.products.split import group_split, plain_split
from rubrika.progress import Silent

PEERS: dict[str, Baseline] = {
    "fastText": FastText(),
    "TF-IDF + linear SVM": LinearSvm(),
    "TF-IDF kNN": NearestNeighbours(),
}
RUBRIKA = "Rubrika"
SENTENCES = "sentence-transformers + kNN"
LOCAL = "learned vectors in qdrant-client's local mode"
EXTRAPOLATED = (SENTENCES, LOCAL)
BEGIN, END = "<!-- compared -->", "<!-- /compared -->"


def rubrika(reader: Reader, held_out: np.ndarray) -> np.ndarray:
    """Learn, ingest and classify as the commands do."""
    from rubrika.index.folder import Index
    from rubrika.ingest.ingest import ingest
    from rubrika.retrieve.classify import classify

    with tempfile.TemporaryDirectory() as folder:
        ingest(Location(Path(folder), cache=Path(folder)), Selection(reader, ~held_out))
        with Index.open(Location(Path(folder), cache=Path(folder))) as index:
            parts = [found.votes.winners for found in classify(index, Selection(reader, held_out))]
    return np.concatenate(parts)


def extrapolated(method: str, reader: Reader, held_out: np.ndarray, model: str) -> float:
    """Seconds that a slow method would take beyond this process."""
    texts = [product.text for batch in reader for product in batch.products]
    train, test = ([texts[i] for i in np.flatnonzero(part)] for part in (~held_out, held_out))
    if method == SENTENCES:
        return sentence_neighbours(train, test, model)
    from rubrika.train.embed import learn

    encoder = learn(Selection(reader, ~held_out), Silent())
    return local_mode(encoder.encode(train), encoder.encode(test))


def run_one(method: str, file: Path, group_by: str | None, model: str, seed: int, output: Path) -> None:
    """Run one method in this process and write its predictions with their truth, or what is to be added to its time."""
    reader = Reader([file], labelled=True, group_by=group_by)
    labels = read_labels(reader, Silent())
    split = (
        group_split(labels.ids, labels.groups, 0.1, seed, group_by) if group_by else plain_split(labels.ids, 0.1, seed)
    )
    if method in EXTRAPOLATED:
        np.savez(output, added=extrapolated(method, reader, split.held_out, model))
        return
    # When nothing groups the rows, each is a group of its own.
    names = np.array(labels.groups, object).astype(str) if group_by else labels.ids
    groups = np.unique(names, return_inverse=True)[1]
    if method == RUBRIKA:
        predicted = rubrika(reader, split.held_out)
    else:
        texts = [product.text for batch in reader for product in batch.products]
        train, test = ([texts[row] for row in np.flatnonzero(part)] for part in (~split.held_out, split.held_out))
        predicted = PEERS[method].fit(train, labels.categories[~split.held_out]).predict(test)
    np.savez(
        output,
        truth=labels.categories[split.held_out],
        predicted=predicted,
        groups=groups[split.held_out],
    )


def timed(method: str, file: Path, group_by: str | None, model: str, seed: int) -> dict[str, object]:
    """Run a method in a process of its own; what it cost and what it predicted."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "predicted.npz")
        asked = ["--one", method, "--model", model, "--seed", str(seed), "--output", str(output)]
        started = time.monotonic()
        # As the command line has it: threads that spin would slow down a machine that does something else, too.
        environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
        command = [sys.executable, __file__, str(file), *asked, *(["--group-by", group_by] if group_by else [])]
        process = subprocess.Popen(command, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{method} failed")
        with np.load(output) as saved:
            return {
                "wall": time.monotonic() - started,
                "cpu": usage.ru_utime + usage.ru_stime,
                "memory": usage.ru_maxrss / 2**20,
                **{name: saved[name] for name in saved.files},
            }


def table(runs: dict[str, list[dict[str, object]]]) -> str:
    """The comparison as a Markdown table, of each method's runs; the first one is what the others are compared with."""
    lines = [
        "| method | weighted F1 | 95 % interval | macro F1 | first minus this, 95 % | wall s | CPU s | memory GB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    first = next(iter(runs))
    for method, splits in runs.items():
        wall, cpu = (np.mean([float(run[name]) for run in splits]) for name in ("wall", "cpu"))
        memory = max(float(run["memory"]) for run in splits)
        if "added" in splits[0]:
            wall += np.mean([float(run["added"]) for run in splits])
            lines.append(f"| {method} | | | | | ≈ {wall:,.0f} | | {memory:.2f} |")
            continue
        scores = [metrics_of(run["truth"], run["predicted"]) for run in splits]
        weighted, macro = (np.mean([getattr(it, name) for it in scores]) for name in ("weighted_f1", "macro_f1"))
        truth, predicted, groups = (pooled(splits, name) for name in ("truth", "predicted", "groups"))
        low, high = weighted_f1_interval(truth, predicted, groups)
        worse, better = paired_difference(truth, pooled(runs[first], "predicted"), predicted, groups)
        lines.append(
            f"| {method} | {weighted:.4f} | {low:.4f} … {high:.4f} | {macro:.4f} "
            f"| {worse:+.4f} … {better:+.4f} | {wall:.0f} | {cpu:.0f} | {memory:.2f} |"
        )
    return "\n".join(lines)


def pooled(splits: list[dict[str, object]], name: str) -> np.ndarray:
    """One array of several splits."""
    return np.concatenate([np.asarray(run[name]) for run in splits])


def put(rows: str, file: Path, page: Path) -> None:
    """Put a table into a page between its marks, with what it was measured on."""
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    text = page.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{file.parent.name}/{file.name} on {machine}:\n\n{rows}\n{END}{after}", "utf-8")


def drawn(file: Path, categories: int, rows: int, seed: int, folder: Path) -> Path:
    """A file of so many rows of so many categories of another one, of those that have at least 60."""
    table, random = pd.read_parquet(file), np.random.default_rng(seed)
    counts = table["category_id"].value_counts()
    chosen = random.permutation(np.sort(counts[counts >= 60].index.to_numpy()))[:categories]
    table = table[table["category_id"].isin(chosen)]
    table.iloc[np.sort(random.permutation(len(table))[:rows])].to_parquet(folder / f"drawn-{seed}.parquet")
    return folder / f"drawn-{seed}.parquet"


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--group-by")
    parser.add_argument("--methods")
    parser.add_argument("--model", default="", help="a sentence-transformers or transformers folder")
    parser.add_argument("--splits", type=int, default=1)
    parser.add_argument("--categories", type=int)
    parser.add_argument("--rows", type=int, default=1_500)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--page", type=Path, help="a page with marks between which the table goes")
    options = parser.parse_args()
    if options.one:
        run_one(options.one, options.file, options.group_by, options.model, options.seed, options.output)
        return
    # Without a model there is nothing to time the reference's way with.
    methods = [RUBRIKA, *PEERS, *([SENTENCES] if options.model else []), LOCAL]
    methods = options.methods.split(",") if options.methods else methods
    # Method by method within a split, so that what else the machine does befalls all of them alike.
    runs: dict[str, list[dict[str, object]]] = {method: [] for method in methods}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.splits):
            file = options.file
            if options.categories:
                file = drawn(file, options.categories, options.rows, seed, Path(folder))
            for method in methods:
                runs[method].append(timed(method, file, options.group_by, options.model, seed))
    print(table(runs))
    if options.output:
        options.output.write_text(table(runs) + "\n", encoding="utf-8")
    if options.page:
        put(table(runs), options.file.absolute(), options.page)


if __name__ == "__main__":
    main()
