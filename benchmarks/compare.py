"""Rubrika beside what people would use instead, on the same held-out products, each in a process of its own.

    python benchmarks/compare.py FILE [--group-by COLUMN] [--methods rubrika,fasttext,...] [--output table.md]

Every method gets the same texts and the same split (that of `rubrika evaluate`), and is timed as a whole process:
wall and processor seconds, and peak memory. Weighted F1 comes with its 95 % interval, and with the paired bootstrap of
the difference to Rubrika.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rubrika.eval.heldout import read_labels
from rubrika.eval.split import group_split, plain_split
from rubrika.metrics import metrics_of, paired_difference, weighted_f1_interval
from rubrika.products.parquet import Reader
from rubrika.products.selection import Selection
from rubrika.progress import Silent

SEED = 0
Texts = list[str]
Labels = np.ndarray
Predict = Callable[[Texts, Labels, Texts], Labels]


def tfidf_knn(train: Texts, labels: Labels, test: Texts) -> Labels:
    """Character TF-IDF, five neighbours weighted by similarity."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.neighbors import KNeighborsClassifier

    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), min_df=2, sublinear_tf=True, dtype=np.float32)
    neighbours = KNeighborsClassifier(5, weights=lambda d: np.exp(-20 * d), metric="cosine", algorithm="brute")
    return neighbours.fit(vectorizer.fit_transform(train), labels).predict(vectorizer.transform(test))


def tfidf_svm(train: Texts, labels: Labels, test: Texts) -> Labels:
    """Words, word pairs and character 3–5-grams by TF-IDF, and a linear SVM."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.svm import LinearSVC

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, dtype=np.float32)
    grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, dtype=np.float32)
    return make_pipeline(make_union(words, grams), LinearSVC(C=0.5, random_state=SEED)).fit(train, labels).predict(test)


def fasttext(train: Texts, labels: Labels, test: Texts) -> Labels:
    """FastText's supervised classifier with sub-words and word pairs, on two threads."""
    import fasttext as engine

    lines = [text.lower().replace("\n", " ") for text in train]
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.writelines(f"__label__{label} {line}\n" for label, line in zip(labels.tolist(), lines, strict=True))
        file.flush()
        settings = {"epoch": 15, "lr": 0.5, "wordNgrams": 2, "minn": 3, "maxn": 5, "dim": 100, "loss": "softmax"}
        model = engine.train_supervised(file.name, thread=2, verbose=0, seed=SEED, **settings)
    # The wrapper's own predict does not work with numpy 2; the engine under it does.
    rows = (model.f.predict(text.lower().replace("\n", " ") + "\n", 1, 0.0, "strict") for text in test)
    return np.array([int(row[0][1].removeprefix("__label__")) for row in rows])


PEERS: dict[str, Predict] = {"fastText": fasttext, "TF-IDF + linear SVM": tfidf_svm, "TF-IDF kNN": tfidf_knn}
RUBRIKA = "Rubrika"


def rubrika(reader: Reader, held_out: np.ndarray) -> Labels:
    """Learn, ingest and classify as the commands do."""
    from rubrika.index.index import Index
    from rubrika.ingest.ingest import ingest
    from rubrika.retrieve.classify import classify

    with tempfile.TemporaryDirectory() as folder:
        ingest(Path(folder), Selection(reader, ~held_out), cache=Path(folder))
        with Index.open(Path(folder), Path(folder)) as index:
            parts = [found.votes.winners for found in classify(index, Selection(reader, held_out))]
    return np.concatenate(parts)


def run_one(method: str, file: Path, group_by: str | None, output: Path) -> None:
    """Run one method in this process and write its predictions with their truth."""
    reader = Reader([file], labelled=True, group_by=group_by)
    labels = read_labels(reader, Silent())
    split = (
        group_split(labels.ids, labels.groups, 0.1, SEED, group_by) if group_by else plain_split(labels.ids, 0.1, SEED)
    )
    if method == RUBRIKA:
        predicted = rubrika(reader, split.held_out)
    else:
        texts = [product.text for batch in reader for product in batch.products]
        train, test = ([texts[i] for i in np.flatnonzero(part)] for part in (~split.held_out, split.held_out))
        predicted = PEERS[method](train, labels.categories[~split.held_out], test)
    groups = np.unique(np.array(labels.groups, object)[split.held_out].astype(str), return_inverse=True)[1]
    np.savez(output, truth=labels.categories[split.held_out], predicted=predicted, groups=groups)


def timed(method: str, file: Path, group_by: str | None, folder: Path) -> dict[str, object]:
    """Run a method in a process of its own; what it cost and what it predicted."""
    output = folder / f"{method}.npz"
    command = [sys.executable, __file__, str(file), "--one", method, "--output", str(output)]
    started = time.monotonic()
    process = subprocess.Popen(command + (["--group-by", group_by] if group_by else []))
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{method} failed")
    with np.load(output) as saved:
        return {
            "method": method,
            "wall": time.monotonic() - started,
            "cpu": usage.ru_utime + usage.ru_stime,
            "memory": usage.ru_maxrss / 2**20,
            **{name: saved[name] for name in ("truth", "predicted", "groups")},
        }


def table(runs: list[dict[str, object]]) -> str:
    """The comparison as a Markdown table; the first run is what the others are compared with."""
    lines = [
        "| method | weighted F1 | 95 % interval | macro F1 | first minus this, 95 % | wall s | CPU s | memory GB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        scores = metrics_of(run["truth"], run["predicted"])
        low, high = weighted_f1_interval(run["truth"], run["predicted"], run["groups"])
        worse, better = paired_difference(run["truth"], runs[0]["predicted"], run["predicted"], run["groups"])
        lines.append(
            f"| {run['method']} | {scores.weighted_f1:.4f} | {low:.4f} … {high:.4f} | {scores.macro_f1:.4f} "
            f"| {worse:+.4f} … {better:+.4f} | {run['wall']:.0f} | {run['cpu']:.0f} | {run['memory']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--group-by")
    parser.add_argument("--methods", default=",".join([RUBRIKA, *PEERS]))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.one:
        run_one(options.one, options.file, options.group_by, options.output)
        return
    with tempfile.TemporaryDirectory() as folder:
        runs = [timed(method, options.file, options.group_by, Path(folder)) for method in options.methods.split(",")]
    print(table(runs))
    if options.output:
        options.output.write_text(table(runs) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
