"""How long a single product takes, and where the time goes.

    python benchmarks/latency.py FILE --index DIR [--products 300] [--cold 5] [--json]

Asks an index about products of FILE one by one: encode, search, vote, decide, as `rubrika classify` does; then in
batches; then a whole `rubrika classify` of one product from process start. p50 and p99 in milliseconds.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rubrika.index.folder import Index
from rubrika.index.location import Location
from rubrika.products.product import Batch
from rubrika.products.reader import Reader
from rubrika.retrieve.classify import classify
from rubrika.vote import vote_over, with_unseen_reach

WARMING = 20


@dataclass(frozen=True)
class Shelf:
    """Some products, as `classify` takes them."""

    batches: list[Batch]
    files: tuple[Path, ...] = ()

    def __len__(self) -> int:
        """How many products."""
        return sum(batch.rows for batch in self.batches)

    def __iter__(self) -> Iterator[Batch]:
        """One batch after the other."""
        return iter(self.batches)

    def check(self) -> None:
        """There is nothing to check."""


def warm(index: Index, shelf: Shelf) -> dict[str, float]:
    """Milliseconds of single products, whole and by stage, and products a second in batches."""
    batches = [Batch(batch.file, [product], []) for batch in shelf for product in batch.products]
    for batch in batches[:WARMING]:
        next(classify(index, Shelf([batch])))
    whole, encoding, searching, voting = [], [], [], []
    for batch in batches:
        started = time.perf_counter()
        next(classify(index, Shelf([batch])))
        whole.append(time.perf_counter() - started)
    name, settings = next(iter(index.manifest.vote.weights)), index.manifest.vote
    for batch in batches:
        times = [time.perf_counter()]
        vectors = index.encoders.encode(batch.products, None, [name]).vectors[name]
        times.append(time.perf_counter())
        hits = {name: index.store.search(name, vectors, settings.top_k)}
        times.append(time.perf_counter())
        vote_over(with_unseen_reach(hits, settings, index.seen), settings)
        times.append(time.perf_counter())
        for stage, seconds in zip((encoding, searching, voting), np.diff(times).tolist(), strict=True):
            stage.append(seconds)
    started = time.perf_counter()
    for _ in classify(index, shelf):
        pass
    found = {"p50": np.median(whole), "p99": np.quantile(whole, 0.99)}
    found |= {"encode": np.median(encoding), "search": np.median(searching), "vote": np.median(voting)}
    milliseconds = {name: round(float(seconds) * 1_000, 3) for name, seconds in found.items()}
    return milliseconds | {"products_a_second": round(len(shelf) / (time.perf_counter() - started), 1)}


def cold(file: Path, index: Path, times: int) -> float:
    """Seconds of `rubrika classify` of the first product of a file, from process start; the median."""
    with tempfile.TemporaryDirectory() as name:
        one = Path(name) / "one.parquet"
        pq.write_table(pa.Table.from_batches([next(pq.ParquetFile(file).iter_batches(1))]), one)
        command = [str(Path(sys.executable).parent / "rubrika"), "classify", str(one), "--index", str(index)]
        seconds = []
        for _ in range(times):
            started = time.perf_counter()
            subprocess.run([*command, "-o", str(Path(name) / "result.parquet")], check=True, capture_output=True)
            seconds.append(time.perf_counter() - started)
    return round(float(np.median(seconds)), 2)


def measured(file: Path, folder: Path, products: int, times: int) -> dict[str, float]:
    """All of it."""
    started, taken = cold(file, folder, times), []
    for batch in itertools.islice(Reader([file], labelled=False), -(-products // 2_048)):
        taken.append(Batch(batch.file, batch.products[:products], []))
    with Index.open(Location(folder, cache=folder)) as index:
        return warm(index, Shelf(taken)) | {"cold_seconds": started}


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--products", type=int, default=300)
    parser.add_argument("--cold", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measured(options.file, options.index, options.products, options.cold)
    print(json.dumps(found) if options.json else "\n".join(f"{name}: {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
