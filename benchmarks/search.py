"""What part of an exact scan's hits the search of an index finds, and in how many milliseconds a query.

    python benchmarks/search.py INDEX FILE [--images DIR] [--queries 2000] [--stores before,now,http,grpc,URL]

The points of INDEX are copied into each store, and the products of FILE are searched for by every named vector. `now`
is the embedded store, `before` how that was searched once: 8 bits for all values, without a quantile, and twenty points
rescored. `http` and `grpc` are the tests' stand-ins for a server, exact and slow; a URL is a real one, where the copy
is deleted in the end. Recall at 10 is by score: a hit counts when it is as near as the tenth of the exact scan.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from unittest.mock import patch

import numpy as np

from rubrika.index.folder import Index
from rubrika.index.location import Location
from rubrika.ingest.move import push
from rubrika.products.images import PictureFolder
from rubrika.products.product import Products
from rubrika.products.reader import Reader
from rubrika.retrieve.exact import exact_hits
from rubrika.store import edge
from rubrika.store.base import FloatArray, Store
from rubrika.store.connection import QUANTILE, Connection, Recall
from rubrika.store.open import create_store, temporary_collection
from rubrika.store.recall import TOP_K, recall

SECONDS = 3_600  # that the stand-ins may take for an answer

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


@contextmanager
def copied(source: Store, sizes: dict[str, int], kind: str) -> Iterator[Store]:
    """A store of one kind with the points of another."""
    quantile = patch.object(edge, "QUANTILE", None if kind == "before" else QUANTILE)
    with place(kind) as at, quantile, closing(create_store(at, sizes)) as store:
        push(source, store)
        if kind == "before":
            # One hit more is asked for, to settle ties.
            store.recall = dict.fromkeys(sizes, Recall(oversampling=2 * TOP_K / (TOP_K + 1)))
        yield store


@contextmanager
def place(kind: str) -> Iterator[Path | Connection]:
    """Where a new store of one kind goes."""
    if kind in ("before", "now"):
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / "edge"
    elif kind == "http":
        from qdrant_http import serve

        with serve() as server:
            yield Connection(server.url, "products", timeout=SECONDS)
    elif kind == "grpc":
        from qdrant_grpc import serve_grpc

        with serve_grpc() as (_, port):
            yield Connection("http://127.0.0.1:1", "products", timeout=SECONDS, grpc_port=port)
    else:
        with temporary_collection(Connection(kind, "products")) as collection:
            yield collection


def queries_of(index: Index, products: Products, pictures: PictureFolder | None, count: int) -> dict[str, FloatArray]:
    """The vectors of the first products, those that have one."""
    first = [product for batch in products for product in batch.products][:count]
    vectors = index.encoders.encode(first, pictures).vectors
    return {name: rows[rows.any(axis=1)] for name, rows in vectors.items()}


def main() -> None:
    """Search each store by each vector."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--stores", default="before,now")
    options = parser.parse_args()
    pictures = PictureFolder.scan(options.images) if options.images else None
    print("| store | vector | wide | points | recall at 10 | ms a query | of processor time |")
    print("|---|---|---:|---:|---:|---:|---:|")
    with Index.open(Location(options.index)) as index:
        queries = queries_of(index, Reader([options.file], labelled=False), pictures, options.queries)
        exact, counts = {}, {}
        for name in queries:
            points = chain.from_iterable(index.store.scroll(False, vectors=True))
            rows = np.array([point.vectors[name] for point in points if name in point.vectors])
            counts[name] = len(rows)
            exact[name] = exact_hits(rows, np.zeros(len(rows), np.int64), queries[name], TOP_K).scores
        for kind in options.stores.split(","):
            with copied(index.store, index.manifest.sizes, kind) as store:
                for name, asked in queries.items():
                    started = np.array([time.monotonic(), time.process_time()])
                    part = recall(store.search(name, asked, TOP_K).scores, exact[name])
                    took = 1_000 * (np.array([time.monotonic(), time.process_time()]) - started) / len(asked)
                    shape = f"{asked.shape[1]} | {counts[name]:,}"
                    print(f"| {kind} | {name} | {shape} | {part:.5f} | {took[0]:.2f} | {took[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
