"""Tables of what commands have found, for a person; coloured in a terminal only, and as wide as one."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rubrika.eval.evaluate import Evaluation
from rubrika.eval.methods import SECONDS
from rubrika.eval.metrics import SelectiveRisk
from rubrika.eval.tune import Tuned
from rubrika.products.product import display_path
from rubrika.retrieve.search import Neighbour

# What the figures of compared methods need, where no terminal is narrower.
METHODS_WIDTH = 140


def evaluation_table(found: Evaluation) -> str:
    """The figures of an evaluation, and the sweep of top_k, for a person."""
    low, high = found.interval
    lines = [
        f"weighted F1  {found.metrics.weighted_f1:.4f}   (95 % interval {low:.4f} … {high:.4f})",
        f"macro F1     {found.metrics.macro_f1:.4f}",
        f"accuracy     {found.metrics.accuracy:.4f}",
        f"hierarchical {found.hierarchy.f1:.4f}",
        *_selective_risk_lines(found.selective_risk),
        f"on {found.rows:,} held-out products in {found.classes:,} categories, top_k = {found.top_k}",
        f"split: {found.split.how}, seed {found.split.seed}, hash {found.split.hash}",
        *([f"protocol: {found.protocol}, the plain mode votes"] if found.protocol else []),
        "",
    ]
    table = Table(title="weighted F1 by top_k", title_justify="left")
    for name in ("top_k", "plain mode", "weighted vote"):
        table.add_column(name, justify="right")
    for point in found.sweep:
        table.add_row(str(point.top_k), f"{point.mode:.4f}", f"{point.weighted:.4f}")
    return "\n".join(lines) + _rendered(table) + _methods_table(found)


def _methods_table(found: Evaluation) -> str:
    """What was compared, if anything was."""
    if not found.methods:
        return ""
    table = Table(title="methods on the same held-out products", title_justify="left")
    table.add_column("method")
    for name in ("weighted F1", "95 %", "macro F1", "Rubrika minus this, 95 %", "train, s", "10,000 products, s"):
        table.add_column(name, justify="right")
    for each in found.methods:
        low, high = each.interval
        less = f"{each.difference[0]:+.4f} … {each.difference[1]:+.4f}" if each.difference else ""
        table.add_row(
            each.name,
            f"{each.weighted_f1:.4f}",
            f"{low:.4f} … {high:.4f}",
            f"{each.macro_f1:.4f}",
            less,
            f"{each.train_seconds:,.1f}",
            f"{each.seconds_per_10k:,.1f}",
        )
    chosen = [found.rehearsed.said()] if found.rehearsed else []
    return "\n".join(["", "", _rendered(table, METHODS_WIDTH), *chosen, SECONDS])


def tuning_table(found: Tuned) -> str:
    """What was chosen and what its parts are worth, for a person."""
    table = Table(title=f"on {found.measured_on:,} held-out products that had no part in the choice")
    table.title_justify = "left"
    for name in ("", "weighted F1", "macro F1"):
        table.add_column(name, justify="right" if name else "left")
    for part in found.parts:
        table.add_row(part.name, f"{part.metrics.weighted_f1:.4f}", f"{part.metrics.macro_f1:.4f}")
    chosen = f"chosen on {found.chosen_on:,} others: {_vote_said(asdict(found.vote))}"
    return "\n".join([_rendered(table), chosen, *_selective_risk_lines(found.selective_risk)])


def _selective_risk_lines(found: SelectiveRisk) -> list[str]:
    return [
        f"confidence   off by {found.calibration_error:.4f} on average",
        f"decided      {found.auto:.1%} automatically, {found.auto_error:.2%} of them wrong (at most "
        f"{found.max_error:.2%} was asked for); {found.review:.1%} to review, {found.new:.1%} like nothing known",
    ]


def _vote_said(vote: dict[str, Any]) -> str:
    weights = ", ".join(f"{name} × {weight:g}" for name, weight in vote["weights"].items())
    return f"{vote['top_k']} hits by {weights}, temperature {vote['temperature']:g}"


def neighbours_table(found: Sequence[Neighbour]) -> str:
    """Neighbours, nearest first, for a person."""
    table = Table()
    table.add_column("similarity", justify="right")
    table.add_column("category", ratio=1)
    table.add_column("title", ratio=1)
    table.add_column("id", justify="right", no_wrap=True)
    for each in found:
        path = display_path(each.category_path)
        table.add_row(f"{each.similarity:.3f}", Text(path), Text(each.title), str(each.product_id))
    return _rendered(table)


def info_table(folder: Path, answer: dict[str, Any]) -> str:
    """What is in an index, for a person."""
    table = Table(show_header=False, title=Text(str(folder), "table.title"), title_justify="left")
    table.add_row("products", f"{answer['products']:,}")
    table.add_row("categories", f"{answer['categories']:,}")
    for name, spec in answer["vectors"].items():
        table.add_row(Text(f"vector {name}"), Text(f"{spec['encoder']}, {spec['size']} wide"))
    table.add_row("vote", Text(_vote_said(answer["vote"])))
    rows = answer["calibration"]["rows"]
    table.add_row("confidence", f"calibrated on {rows:,} held-out products" if rows else "as it comes")
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


def _rendered(table: Table, least: int = 0) -> str:
    """A table as text: coloured in a terminal only, and as wide as one; elsewhere at least so many letters wide."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, least))
    with console.capture() as captured:
        console.print(table)
    return captured.get().rstrip("\n")
