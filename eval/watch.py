"""Watches stages of work: how long each takes, and when asked how much memory it has at its peak."""

import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

EVERY_SECONDS = 0.02
GIGABYTE = 1e9

_STATM = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: its name, its seconds, and the most memory this process had meanwhile, if that was watched."""

    name: str
    seconds: float
    peak_gb: float | None


class Watch:
    """Keeps what the stages took.

    Args:
        memory: whether to watch memory too, fifty times a second.
    """

    def __init__(self, memory: bool = False) -> None:
        self._memory = memory
        self.stages: list[Stage] = []

    @property
    def seconds(self) -> dict[str, float]:
        """How long each stage took, by its name."""
        return {stage.name: stage.seconds for stage in self.stages}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Watch one stage; one that fails is not kept."""
        sampler = _Sampler() if self._memory else None
        started = time.monotonic()
        try:
            yield
        finally:
            peak = sampler.stop() if sampler else None
        self.stages.append(Stage(name, round(time.monotonic() - started, 1), peak))


class _Sampler:
    """Asks again and again, in a thread of its own, for the resident memory."""

    def __init__(self) -> None:
        self._peak, self._over = 0, Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """The most that was seen, in gigabytes."""
        self._over.set()
        self._thread.join()
        return round(self._peak / GIGABYTE, 2)

    def _run(self) -> None:
        while True:
            self._peak = max(self._peak, _resident())
            if self._over.wait(EVERY_SECONDS):
                return


def _resident() -> int:
    """Resident memory in bytes; where the system does not tell, the most there has been so far."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
