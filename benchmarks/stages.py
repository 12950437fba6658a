"""How many products a second each stage takes by itself: reading, encoding, searching, voting and deciding.

    python benchmarks/stages.py FILE --index DIR [--products 20000] [--repeats 3]

The best of several runs; seconds of the wall and of the processor, the latter of all threads together.
"""

import argparse
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rubrika.index.folder import Index
from rubrika.index.location import Location
from rubrika.products.reader import Reader
from rubrika.retrieve.confidence import decide
from rubrika.vote import vote_over, with_unseen_bonus


def best(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """The fewest seconds, of the wall and of the processor."""
    found = []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        work()
        found.append((time.perf_counter() - wall, time.process_time() - processor))
    return min(seconds for seconds, _ in found), min(seconds for _, seconds in found)


def main() -> None:
    """Measure every stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--products", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    reader = Reader([options.file], labelled=False)
    batches = -(-options.products // reader.batch_rows)
    products = [product for batch in itertools.islice(reader, batches) for product in batch.products]
    texts = [product.text for product in products]

    def read() -> None:
        for _ in itertools.islice(reader, batches):
            pass

    with Index.open(Location(options.index, cache=options.index)) as index:
        settings, name = index.manifest.vote, next(iter(index.manifest.vote.weights))
        vectors = index.encoders.encode(products, None, [name]).vectors[name]
        hits = {name: index.store.search(name, vectors, settings.top_k)}

        def vote() -> None:
            votes = vote_over(with_unseen_bonus(hits, settings, index.seen), settings)
            decide(hits, votes, settings.weights, index.manifest.calibration)

        stages = {
            "reading": read,
            "encoding": lambda: index.encoders.encode(products, None, [name]),
            "searching": lambda: index.store.search(name, vectors, settings.top_k),
            "voting and deciding": vote,
        }
        print(f"{len(texts):,} products, {np.mean([len(text) for text in texts]):.0f} characters on average\n")
        print("| stage | products a second | of processor time |\n|---|---:|---:|")
        for stage, work in stages.items():
            wall, processor = best(work, options.repeats)
            print(f"| {stage} | {len(texts) / wall:,.0f} | {len(texts) / processor:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
