"""How cost grows with the number of products: seconds, memory, disk, weighted F1 and latency, as a table and a plot.

    python benchmarks/growth.py FILE [--sizes 10000,30000,100000,300000,1000000] [--test 5000] [--output DIR]

Some rows of FILE are held out at random; of the rest, the first so many in a random order are ingested by `rubrika
ingest` into a new index, learning included, and the held-out ones classified by `rubrika classify`: whole processes,
one after the other. The same held-out rows at every size.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from rubrika.eval.metrics import metrics_of

SIZES = "10000,30000,100000,300000,1000000"
COMMAND = str(Path(sys.executable).parent / "rubrika")


@dataclass(frozen=True)
class Grown:
    """What one size costs: seconds, gigabytes of memory at the peak, megabytes on disk, milliseconds.

    Memory is given with the files that are mapped into it, which the system may drop, and without them.
    """

    products: int
    ingest: float
    ingest_memory: float
    ingest_own: float
    disk: float
    classify: float
    classify_memory: float
    classify_own: float
    weighted_f1: float
    p50: float
    p99: float
    search: float
    cold: float
    encoder: float


def run(*command: str) -> tuple[float, float, float]:
    """Seconds of a whole process, and gigabytes at its peak, with and without files mapped into memory."""
    started, own = time.monotonic(), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while True:
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        said = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
        own = max(own, int(said[1]) if said else 0)
        time.sleep(0.05)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return time.monotonic() - started, usage.ru_maxrss * 1024 / 1e9, own * 1024 / 1e9


def megabytes(folder: Path) -> float:
    """What a folder takes on the disk, holes left out."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file()) / 1e6


def grown(rows: pa.Table, asked: Path, truth: pa.Table, folder: Path) -> Grown:
    """Ingest rows, classify the file that is asked about, and measure."""
    train, index, result = folder / "train.parquet", folder / "index", folder / "result.parquet"
    pq.write_table(rows, train, row_group_size=65_536)
    ingesting = run(COMMAND, "ingest", str(train), "--index", str(index))
    classifying = run(COMMAND, "classify", str(asked), "--index", str(index), "-o", str(result))
    predicted = pq.read_table(result)["predicted_category_id"].to_numpy()
    latency = [sys.executable, str(Path(__file__).with_name("latency.py")), str(asked), "--index", str(index)]
    said = json.loads(subprocess.run([*latency, "--json"], check=True, capture_output=True, text=True).stdout)
    return Grown(
        len(rows),
        *ingesting,
        megabytes(index),
        *classifying,
        weighted_f1=metrics_of(truth["category_id"].to_numpy(), predicted).weighted_f1,
        p50=said["p50"],
        p99=said["p99"],
        search=said["search"],
        cold=said["cold_seconds"],
        encoder=megabytes(index / "encoders"),
    )


def table(found: list[Grown], asked: int) -> str:
    """The figures as a Markdown table."""
    lines_ = [
        f"| products | ingest s | GB (own) | on disk MB (encoder) | classify {asked:,} s | GB (own) | weighted F1 "
        "| one product warm p50 / p99 ms | of it search ms | one product cold s |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines_ += [
        f"| {each.products:,} | {each.ingest:.0f} | {each.ingest_memory:.1f} ({each.ingest_own:.1f}) "
        f"| {each.disk:,.0f} ({each.encoder:,.0f}) "
        f"| {each.classify:.1f} | {each.classify_memory:.1f} ({each.classify_own:.1f}) | {each.weighted_f1:.4f} "
        f"| {each.p50:.1f} / {each.p99:.1f} | {each.search:.1f} | {each.cold:.1f} |"
        for each in found
    ]
    return "\n".join(lines_)


def plot(found: list[Grown], path: Path) -> None:
    """Seconds, megabytes and milliseconds over products, both logarithmic, as a PNG."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    products = [each.products for each in found]
    axes.plot(products, [each.ingest for each in found], "o-", label="ingest, s")
    axes.plot(products, [each.disk for each in found], "o-", label="on disk, MB")
    axes.plot(products, [each.p50 for each in found], "o-", label="one product warm, ms")
    axes.set(xscale="log", yscale="log", xlabel="products", title="How cost grows")
    axes.legend()
    figure.savefig(path, metadata={"Software": None})


def main() -> None:
    """Measure every size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--test", type=int, default=5_000)
    parser.add_argument("--output", type=Path, help="where growth.json, growth.md and growth.png go")
    options = parser.parse_args()
    rows = pq.read_table(options.file)
    order = np.random.default_rng(0).permutation(len(rows))
    held_out, rest = rows.take(order[: options.test]), order[options.test :]
    found: list[Grown] = []
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "asked.parquet"
        pq.write_table(held_out.drop_columns(["category_id", "category_name"]), asked)
        for size in (int(size) for size in options.sizes.split(",")):
            with tempfile.TemporaryDirectory() as own:
                found.append(grown(rows.take(np.sort(rest[:size])), asked, held_out, Path(own)))
            print(table(found, options.test).splitlines()[-1], flush=True)
    found.sort(key=lambda each: each.products)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "growth.json").write_text(json.dumps([asdict(each) for each in found], indent=2) + "\n")
        (options.output / "growth.md").write_text(table(found, options.test) + "\n", encoding="utf-8")
        plot(found, options.output / "growth.png")


if __name__ == "__main__":
    main()
