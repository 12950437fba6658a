"""Writes a report: report.html, report.json, and every plot as a PNG."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rubrika.errors import InputError
from rubrika.eval.heldout import Timer
from rubrika.products.images import PictureFolder
from rubrika.report.charts import charts
from rubrika.report.findings import Findings
from rubrika.report.page import page
from rubrika.report.png import MISSING, can_draw, png
from rubrika.report.sections import sections

PAGE, NUMBERS = "report.html", "report.json"


def write_report(
    folder: Path, found: Findings, pictures: PictureFolder | None, timer: Timer, note: Callable[[str], None]
) -> Path:
    """Write a report; what was there before is replaced.

    Args:
        folder: as `report_folder` gives it.
        found: what it says, but for the stages.
        pictures: of the products, for the examples.
        timer: knows the stages.
        note: says what a person should know.

    Returns:
        The page.

    Raises:
        InputError: it cannot be written.
    """
    with timer.stage("draw the report"):
        drawn = charts(found)
        images = {name: png(figure.svg) for name, figure in drawn.items()} if can_draw() else {}
    if not images:
        note(MISSING)
    found = replace(found, stages=tuple(timer.stages))
    numbers = json.dumps(found.to_dict(), ensure_ascii=False, indent=1) + "\n"
    whole = page("Evaluation", sections(found, drawn, pictures), [_lead(found)])
    try:
        for name, data in images.items():
            (folder / f"{name}.png").write_bytes(data)
        (folder / NUMBERS).write_text(numbers, encoding="utf-8")
        (folder / PAGE).write_text(whole, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{folder}: the report cannot be written ({error.strerror}); choose another --report"
        ) from None
    return folder / PAGE


def _lead(found: Findings) -> str:
    evaluation, split = found.evaluation, found.evaluation.split
    return (
        f"{evaluation.rows:,} products that were held out, in a tree of {evaluation.classes:,} categories. "
        f"Split: {split.how}, seed {split.seed}, hash {split.hash}. {evaluation.top_k} neighbours vote"
        + (f", by their mode (protocol {evaluation.protocol})." if evaluation.protocol else ".")
    )
