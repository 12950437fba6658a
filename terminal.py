"""What a person sees in a terminal: progress on stderr, tables for stdout."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from rubrika.eval.evaluate import Evaluation
from rubrika.products.product import Category
from rubrika.progress import Advance
from rubrika.retrieve.neighbours import Neighbour


class Terminal:
    """Shows stages of work on stderr: bars with rates in a terminal, one line a finished stage elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)

    def note(self, text: str) -> None:
        """Say one thing on stderr."""
        self._console.print(text, soft_wrap=True)

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """As in progress.Progress."""
        started, done = time.monotonic(), 0
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal) as bars:
            task = bars.add_task(title, total=total)

            def advance(steps: int) -> None:
                nonlocal done
                done += steps
                bars.update(task, advance=steps)

            yield advance
        seconds = time.monotonic() - started
        self._console.print(f"[dim]{title}: {done:,} in {seconds:.1f} s[/dim]", soft_wrap=True)


class _Rate(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


def evaluation_table(found: Evaluation) -> str:
    """The figures of an evaluation, and the sweep of top_k, for a person."""
    low, high = found.interval
    lines = [
        f"weighted F1  {found.metrics.weighted_f1:.4f}   (95 % interval {low:.4f} … {high:.4f})",
        f"macro F1     {found.metrics.macro_f1:.4f}",
        f"accuracy     {found.metrics.accuracy:.4f}",
        f"on {found.rows:,} held-out products in {found.classes:,} categories, top_k = {found.top_k}",
        f"split: {found.split.how}, seed {found.split.seed}, hash {found.split.hash}",
        "",
    ]
    table = Table(title="weighted F1 by top_k", title_justify="left")
    for name in ("top_k", "plain mode", "weighted vote"):
        table.add_column(name, justify="right")
    for point in found.sweep:
        table.add_row(str(point.top_k), f"{point.mode:.4f}", f"{point.weighted:.4f}")
    return "\n".join(lines) + _rendered(table)


def neighbours_table(found: Sequence[Neighbour]) -> str:
    """Neighbours, nearest first, for a person."""
    table = Table()
    table.add_column("similarity", justify="right")
    table.add_column("category", ratio=1)
    table.add_column("title", ratio=1)
    table.add_column("id", justify="right", no_wrap=True)
    for each in found:
        path = " › ".join(Category(each.category_id, each.category_path).levels)
        table.add_row(f"{each.similarity:.3f}", Text(path), Text(each.title), str(each.product_id))
    return _rendered(table)


def info_table(folder: Path, answer: dict[str, Any]) -> str:
    """What is in an index, for a person."""
    table = Table(show_header=False, title=str(folder), title_justify="left")
    table.add_row("products", f"{answer['products']:,}")
    table.add_row("categories", f"{answer['categories']:,}")
    for name, spec in answer["vectors"].items():
        table.add_row(f"vector {name}", f"{spec['encoder']}, {spec['size']} wide")
    vote = answer["vote"]
    weights = ", ".join(f"{name} × {weight:g}" for name, weight in vote["weights"].items())
    table.add_row("vote", f"{vote['top_k']} hits by {weights}, temperature {vote['temperature']:g}")
    grown = answer["since_learning"]
    if grown:
        advice = "learning again pays: `rubrika learn`" if grown["learning_pays"] else "no need to learn again yet"
        table.add_row(
            "since learning",
            f"{grown['products']:+,} products; {grown['unseen']:,} in {grown['categories']:,} new categories; {advice}",
        )
    if answer["contents"]["products"] is None:
        table.add_row("unfinished", "the last change was interrupted: run it again")
    return _rendered(table)


def _rendered(table: Table) -> str:
    """A table as text: coloured in a terminal only, and as wide as one."""
    console = Console()
    with console.capture() as captured:
        console.print(table)
    return captured.get().rstrip("\n")
