"""One thread that owns the index: single requests that wait together are classified together, changes come in turn.

The embedded engine holds the interpreter while it searches, so that more threads would gain nothing; a batch does.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rubrika.api import Index
from rubrika.errors import RubrikaError
from rubrika.index.folder import Index as Opened
from rubrika.index.location import CATEGORIES
from rubrika.index.manifest import MANIFEST
from rubrika.products.product import BATCH_ROWS, Product

# Where several ask at once, each asks again when it has its answer: a batch waits for as many as there were, until
# nobody has come for so long, and no longer than that in all.
GAP, WINDOW = 0.005, 0.03  # seconds
MAX_JOBS, MAX_WAITING = 1_024, 8_192
Done = TypeVar("Done")
Row = dict[str, Any]
Classify = Callable[[Opened, Sequence[Product]], list[Row]]


class BusyError(RubrikaError):
    """More waits than the service takes on."""


@dataclass
class _Job:
    """What is asked of the index: products to classify, or else any work."""

    products: Sequence[Product] = ()
    work: Callable[[Index], Any] | None = None
    future: "Future[Any]" = field(default_factory=Future)


class Worker:
    """Runs what is asked of an index, in order; it starts when something is."""

    def __init__(self, index: Index, classify: Classify, opened: Callable[[Opened], None]) -> None:
        self._index, self._classify, self._on_open = index, classify, opened
        self._jobs = queue.SimpleQueue[_Job | None]()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._waiting = [0, 0]  # jobs and their products
        self._folder: Path | None = None
        self._state: tuple[object, ...] | None = None
        self._expected = 1  # requests at once

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return self._waiting[0]

    def classify(self, products: Sequence[Product]) -> "Future[list[Row]]":
        """The answers about products, in their order; BusyError when too much waits."""
        return self._put(_Job(products))

    def run(self, work: Callable[[Index], Done]) -> "Future[Done]":
        """What work on the index returns; what was asked for before is done before."""
        return self._put(_Job(work=work))

    def stop(self) -> None:
        """End when all that waits is done."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread:
            self._jobs.put(None)
            thread.join()
            self._index.close()

    def _put(self, job: _Job) -> "Future[Any]":
        with self._lock:
            jobs, products = self._waiting[0] + 1, self._waiting[1] + len(job.products)
            if jobs > MAX_JOBS or products > MAX_WAITING:
                raise BusyError(f"{self._waiting[0]:,} requests wait already; try again in a moment")
            self._waiting = [jobs, products]
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="rubrika-index", daemon=True)
                self._thread.start()
        self._jobs.put(job)
        return job.future

    def _loop(self) -> None:
        held: _Job | None = None
        while job := held or self._jobs.get():
            held, batch = None, [job]
            if job.work is None:
                held, ended = self._gather(batch)
                if ended:
                    self._jobs.put(None)
            try:
                self._do(batch)
            finally:
                with self._lock:
                    self._waiting[0] -= len(batch)
                    self._waiting[1] -= sum(len(each.products) for each in batch)

    def _gather(self, batch: list[_Job]) -> tuple[_Job | None, bool]:
        """Add what waits, and what comes now while fewer than expected are there; return what has to wait."""
        until, count = time.monotonic() + WINDOW, len(batch[0].products)
        while count < BATCH_ROWS:
            try:
                patience = min(GAP, until - time.monotonic()) if len(batch) < self._expected else 0.0
                job = self._jobs.get(timeout=max(patience, 0.0))
            except queue.Empty:
                break
            if job is None:
                return None, True
            if job.work or count + len(job.products) > BATCH_ROWS:
                return job, False
            batch.append(job)
            count += len(job.products)
        return None, False

    def _do(self, batch: list[_Job]) -> None:
        wanted = [job for job in batch if job.future.set_running_or_notify_cancel()]
        if not wanted:
            return
        try:
            if work := wanted[0].work:
                self._fresh()
                wanted[0].future.set_result(work(self._index))
                return
            rows = iter(self._classify(self._fresh(), [each for job in wanted for each in job.products]))
            answers = [[next(rows) for _ in job.products] for job in wanted]
        except BaseException as error:
            if len(wanted) == 1:
                wanted[0].future.set_exception(error)
                return
            # One of them may be what no other has to suffer from.
            for job in wanted:
                self._alone(job)
            return
        # Those that have their answers now, and those that came meanwhile.
        self._expected = self._waiting[0]
        for job, answer in zip(wanted, answers, strict=True):
            job.future.set_result(answer)

    def _alone(self, job: _Job) -> None:
        try:
            job.future.set_result(self._classify(self._fresh(), job.products))
        except BaseException as error:
            job.future.set_exception(error)

    def _fresh(self) -> Opened:
        """The index as it is now: opened anew when it was changed, by this process or another."""
        self._folder = self._folder or self._index.opened().folder
        # Taken first, so that no change in between is missed.
        state = _state(self._folder)
        if state != self._state:
            self._index.close()
            self._on_open(self._index.opened())
            self._state = state
        return self._index.opened()


def _state(folder: Path) -> tuple[object, ...]:
    """What differs after every change of an index."""
    found = [(path.stat() if path.exists() else None) for path in (folder / MANIFEST, folder / CATEGORIES)]
    return tuple((each.st_ino, each.st_mtime_ns, each.st_size) if each else None for each in found)
