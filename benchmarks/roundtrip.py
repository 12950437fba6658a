"""What the distance of a server costs: the main operations through a server that answers later and later.

    python benchmarks/roundtrip.py test.parquet --index index [--grpc] [--delays 0,2,10,50] [--times 3]

The server is the stand-in of the tests, over HTTP or gRPC, in a process of its own, with Qdrant Edge behind it; every
answer comes so many milliseconds later. The index is copied, and stays where it is. Of several times the least counts:
other work on the machine only adds.
"""

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

TESTS = Path(__file__).resolve().parents[1] / "tests"


def serve(over_grpc: bool, seconds: float) -> None:
    """Be the server, until the input ends."""
    sys.path.insert(0, str(TESTS))
    from edge_client import EdgeClient
    from qdrant_grpc import serve_grpc
    from qdrant_http import serve as serve_http

    client = EdgeClient()
    # The answers of one come later, and it has all the points; the other only tells where it is.
    with serve_http(client=client) as http, serve_grpc(client=client) as (grpc, port):
        http.seconds = grpc.seconds = seconds
        print(http.url, port if over_grpc else 0, flush=True)
        sys.stdin.read()


@contextmanager
def server(over_grpc: bool, seconds: float) -> Iterator[tuple[str, int | None]]:
    """A server's url and its gRPC port."""
    arguments = ["--serve", str(seconds), *(["--grpc"] if over_grpc else [])]
    process = subprocess.Popen(
        [sys.executable, __file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        url, port = process.stdout.readline().split() if process.stdout else ("", "")
        yield url, int(port) or None
    finally:
        # The end of its input ends it.
        process.communicate()


def measured(folder: Path, test: Path, over_grpc: bool, seconds: float) -> dict[str, float]:
    """Seconds of each operation with an index that is moved to the server and back."""
    from rubrika.index.folder import Index
    from rubrika.index.location import Location
    from rubrika.ingest.move import move_index
    from rubrika.products.reader import Reader
    from rubrika.retrieve.classify import classify
    from rubrika.store.connection import Connection

    found = dict[str, float]()

    def timed(name: str, work: Callable[[], object]) -> None:
        start = time.monotonic()
        work()
        found[name] = time.monotonic() - start

    with TemporaryDirectory() as temporary, server(over_grpc, seconds) as (url, port):
        copy = shutil.copytree(folder, Path(temporary) / "index")
        with Index.open(Location(copy, cache=copy)) as index:
            # What is imported and compiled first is no matter of the server.
            next(iter(classify(index, Reader([test], labelled=False))))
        there = Connection(url, "products", grpc_port=port)
        timed("push", lambda: move_index(Location(copy, there, cache=copy)))
        with Index.open(Location(copy, there, cache=copy)) as index:
            reader = Reader([test], labelled=False)
            timed("classify", lambda: sum(len(each.batch.products) for each in classify(index, reader)))
            timed("scroll", lambda: sum(map(len, index.store.scroll())))
            timed("scroll with vectors", lambda: sum(map(len, index.store.scroll(vectors=True))))
        shutil.rmtree(copy / "edge", ignore_errors=True)
        timed("pull", lambda: move_index(Location(copy, cache=copy)))
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("test", type=Path, nargs="?")
    parser.add_argument("--index", type=Path, default=Path("rubrika-index"))
    parser.add_argument("--grpc", action="store_true")
    parser.add_argument("--delays", default="0,2,10,50")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--serve", type=float)
    given = parser.parse_args()
    if given.serve is not None:
        serve(given.grpc, given.serve)
        return
    delays = [int(each) for each in given.delays.split(",")]
    runs = [dict[str, float]() for _ in delays]
    for _ in range(given.times):
        for delay, least in zip(delays, runs, strict=True):
            for name, seconds in measured(given.index, given.test, given.grpc, delay / 1_000).items():
                least[name] = min(seconds, least.get(name, seconds))
    print("| seconds |", *(f"{each} ms |" for each in delays))
    print("|---|" + "---:|" * len(runs))
    for name in runs[0]:
        shown = (f"{run[name]:.1f} ({run[name] / runs[0][name]:.2f} ×) |" for run in runs)
        print(f"| {name} |", *shown)


if __name__ == "__main__":
    main()
