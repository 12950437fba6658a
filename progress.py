"""How long work reports its progress, and stops between two steps on Ctrl-C."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Protocol

Advance = Callable[[int], None]


class Progress(Protocol):
    """Shows stages of work."""

    def stage(self, title: str, total: int) -> AbstractContextManager[Advance]:
        """Open a stage of `total` steps; call the function it yields with the number of steps just done."""

    def note(self, text: str) -> None:
        """Say one thing."""


class Silent:
    """Shows nothing."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """As in Progress."""
        yield lambda steps: None

    def note(self, text: str) -> None:
        """As in Progress."""


class Interrupt:
    """Within `with Interrupt() as interrupt`, a first SIGINT or SIGTERM only sets `requested`; a second one interrupts.

    Outside the main thread, where signals cannot be caught, nothing is changed.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interrupt":
        """Catch the signals."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        """Let signals do what they did before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
