"""What Ray costs and gains on one machine: its actors beside one process, and how their memory grows.

    python benchmarks/spread.py train.parquet [--rows 50000] [--actors 2] [--encoder index/encoders/text]

The server is the stand-in of the tests over HTTP, in a process of its own, with Qdrant Edge behind it. The encoder is
learned once from the first 10,000 rows, or is the one named, and no run waits for that; nothing is calibrated. Each run
is a process of its own, with new points in a new collection, and then the same rows again, of which nothing changed.
Memory is the largest that a process had to itself (uss), sampled four times a second, and so is processor time, of all
processes but the server, which a busy machine does not change.
"""

import argparse
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pyarrow.parquet as pq
from roundtrip import server

LEARNED_FROM, SAMPLED = 10_000, 0.25
MB = 2**20


class Watch(threading.Thread):
    """The most that this process, and each of those that it began, had to itself, and what they took of processors."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most: dict[str, float] = {}
        self.took: dict[int, float] = {}

    @property
    def seconds(self) -> float:
        """Of processors, so far."""
        return sum(self.took.values())

    def run(self) -> None:
        """Look again and again."""
        me = psutil.Process()
        while True:
            # Ray's are no children of this one for long.
            for process in (me, *psutil.process_iter()):
                try:
                    line = " ".join(process.cmdline())
                    if process.pid == me.pid or "ray::" in line:
                        self.took[process.pid] = sum(process.cpu_times()[:2])
                    what = "driver" if process == me else "actor" if "MapWorker" in line else "writer"
                    if process == me or "ray::" in line:
                        used = process.memory_full_info().uss / MB
                        self.most[what] = max(self.most.get(what, 0), used)
                except psutil.Error:
                    continue
            time.sleep(SAMPLED)


def run(folder: Path, file: Path, url: str, actors: int) -> None:
    """Ingest twice into a new collection, and say what it took."""
    from rubrika.encode.learned import LearnedEncoder
    from rubrika.index.encoders import Encoders
    from rubrika.index.location import Location
    from rubrika.ingest.ingest import ingest
    from rubrika.products.reader import Reader
    from rubrika.retrieve.ray import Ray
    from rubrika.store.connection import Connection

    watch = Watch()
    watch.start()
    encoders = Encoders(LearnedEncoder.load(folder / "encoder"), cache=folder)
    at = Location(folder / url.rsplit("/", 1)[1], Connection(url.rsplit("/", 1)[0], url.rsplit("/", 1)[1]), folder)
    found: dict[str, object] = {}
    for name in ("new", "again"):
        started, before = time.monotonic(), watch.seconds
        reader, spread = Reader([file], labelled=True), None
        if actors:
            from rubrika.ingest.ray import Spread

            spread = Spread(Ray(actors=actors), reader, at.folder.with_suffix(".rejects"))
        # The second time another option is given, so that every row is compared.
        report = ingest(at, reader, prepared=encoders, calibrated=False, spread=spread, verified=False, image_url=name)
        seconds, took = round(time.monotonic() - started, 1), round(watch.seconds - before, 1)
        found[name] = {"seconds": seconds, "processor": took, "added": report.added, "same": report.unchanged}
    print(json.dumps(found | {"MB": {name: round(most) for name, most in watch.most.items()}}))


def main() -> None:
    """Measure all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--encoder", type=Path)
    parser.add_argument("--run", nargs=3)
    given = parser.parse_args()
    if given.run:
        run(Path(given.run[0]), given.file, given.run[1], int(given.run[2]))
        return
    from rubrika.products.reader import Reader
    from rubrika.progress import Silent
    from rubrika.train.embed import learn

    with TemporaryDirectory() as temporary, server(over_grpc=False, seconds=0.0) as (url, _):
        folder = Path(temporary)
        table = pq.read_table(given.file)
        sizes = {rows: folder / f"{rows}.parquet" for rows in (LEARNED_FROM, given.rows // 10, given.rows)}
        for rows, path in sizes.items():
            pq.write_table(table.slice(0, rows), path)
        if given.encoder:
            shutil.copytree(given.encoder, folder / "encoder")
        else:
            learn(Reader([sizes[LEARNED_FROM]], labelled=True), Silent()).save(folder / "encoder")
        for rows in (given.rows // 10, given.rows):
            for actors in (0, given.actors):
                name = f"{url}/r{rows}a{actors}"
                command = [sys.executable, __file__, sizes[rows], "--run", folder, name, actors]
                done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(done.stderr[-2000:])
                print(f"{rows:,} rows, {actors or 'no'} actors: {done.stdout.strip()}", flush=True)


if __name__ == "__main__":
    main()
