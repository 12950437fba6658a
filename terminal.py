"""What a person sees in a terminal: progress on stderr, tables for stdout."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from rubrika.progress import Advance


class Terminal:
    """Shows stages of work on stderr: bars with rates in a terminal, one line a finished stage elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)

    def note(self, text: str) -> None:
        """Say one thing on stderr."""
        # As it is: in a file name, brackets and colons mean nothing to rich.
        self._console.print(Text(text), soft_wrap=True)

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """As in progress.Progress."""
        started, done = time.monotonic(), 0
        said = TextColumn("{task.description}", markup=False)
        columns = (said, BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal) as bars:
            task = bars.add_task(title, total=total)

            def advance(steps: int) -> None:
                nonlocal done
                done += steps
                bars.update(task, advance=steps)

            yield advance
        seconds = time.monotonic() - started
        self._console.print(Text(f"{title}: {done:,} in {seconds:.1f} s", "dim"), soft_wrap=True)


class _Rate(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")
