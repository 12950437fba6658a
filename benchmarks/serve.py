"""How many requests a second the service answers, and how long one takes, beside the batch path.

    python benchmarks/serve.py FILE --index DIR [--seconds 20] [--clients 1,8,32] [--workers 1] [--json]

Starts `rubrika serve` on a free port, and asks it about products of FILE, one a request, from so many clients at once,
each of which asks again as soon as it has its answer; the clients are processes of their own, and share the cores with
the service: `client_ms` is what a request takes of a core's time on their side. Before and after each, the same
products in one call of `Index.classify`; `of_batch` is the part of its products a second, a mean of the two. Memory is
the service's, resident, with that of its workers.
"""

import argparse
import json
import multiprocessing
import resource
import subprocess
import sys
import time
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from rubrika.api import Index

PRODUCTS, WARMING, OK = 2_048, 50, HTTPStatus.OK


def client(url: str, products: list[dict[str, Any]], seconds: float, ready: Barrier, send: Connection) -> None:
    """Ask for so long, when all are ready; send how long each request took, in seconds."""
    taken = list[float]()
    bodies = [json.dumps({"products": [product]}) for product in products]
    # The leanest client there is: whatever it takes, the service lacks.
    with closing(HTTPConnection(url.removeprefix("http://"), timeout=60)) as asked:
        asked.connect()
        ready.wait()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            started = time.perf_counter()
            asked.request(
                "POST", "/v1/classify", bodies[len(taken) % len(bodies)], {"Content-Type": "application/json"}
            )
            answer = asked.getresponse()
            answer.read()
            taken.append(time.perf_counter() - started)
            if answer.status != OK:
                raise SystemExit(f"the service answered {answer.status}")
    send.send(taken)


def load(url: str, products: list[dict[str, Any]], clients: int, seconds: float) -> dict[str, float]:
    """Requests a second of so many clients, and milliseconds of one."""
    ends, processes, ready = [], [], multiprocessing.Barrier(clients)
    for number in range(clients):
        end, send = multiprocessing.Pipe(duplex=False)
        part = products[number::clients]
        processes.append(multiprocessing.Process(target=client, args=(url, part, seconds, ready, send)))
        ends.append(end)
        processes[-1].start()
    before = busy()
    taken = np.concatenate([end.recv() for end in ends])
    for process in processes:
        process.join()
    p50, p99 = np.quantile(taken, [0.5, 0.99]) * 1_000
    each = (busy() - before) / len(taken) * 1_000
    return {
        "a_second": round(len(taken) / seconds, 1),
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
        "client_ms": round(each, 2),
    }


def busy() -> float:
    """Seconds of cores that processes of this one had that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def resident(process: int) -> float:
    """Megabytes of a process and of those that it started."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    started = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="utf-8").split()
    own = int(status.split("VmRSS:")[1].split()[0]) / 1_000
    return round(own + sum(resident(int(each)) for each in started), 1)


def batch_path(opened: Index, file: Path) -> float:
    """Products a second of one call."""
    table = pq.read_table(file).slice(0, PRODUCTS)
    started = time.perf_counter()
    opened.classify(table)
    return round(table.num_rows / (time.perf_counter() - started), 1)


def measured(file: Path, index: Path, clients: list[int], seconds: float, workers: int) -> dict[str, Any]:
    """All of it."""
    columns = ["product_id", "text_fields"]
    products = pq.read_table(file, columns=columns).slice(0, PRODUCTS).to_pylist()
    opened = Index.open(index)
    opened.classify(pq.read_table(file).slice(0, WARMING))
    found, batches = dict[str, Any](), [batch_path(opened, file)]
    options = ["--index", str(index), "--port", "0", "--workers", str(workers), "--json"]
    command = [sys.executable, "-m", "rubrika", "serve", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        try:
            url = json.loads(service.stdout.readline())["url"]  # type: ignore[union-attr]
            load(url, products, 4 * workers, 2)
            for count in clients:
                one = load(url, products, count, seconds)
                batches.append(batch_path(opened, file))
                mean = (batches[-2] + batches[-1]) / 2
                found[f"{count} clients"] = one | {"of_batch": round(one["a_second"] / mean, 3)}
                found.setdefault("memory_mb", []).append(resident(service.pid))
        finally:
            service.terminate()
    return found | {"batch_a_second": batches}


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    clients = [int(it) for it in options.clients.split(",")]
    found = measured(options.file, options.index, clients, options.seconds, options.workers)
    print(json.dumps(found) if options.json else "\n".join(f"{name}: {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
