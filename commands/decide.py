"""`rubrika decide` decides anew which saved predictions may stand alone."""

from pathlib import Path
from typing import Annotated

import typer

from rubrika.commands.options import MAX_ERROR, AsJson, MaxError, answer


def decide(
    details: Annotated[Path, typer.Argument(metavar="FILE", help="What `classify --details` wrote.")],
    max_error: MaxError = MAX_ERROR,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where it goes; by default in place of FILE.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decide anew which predictions may stand alone, without running anything again."""
    from rubrika.retrieve.predictions import redecide

    counts = redecide(details, output or details, max_error)
    said = ", ".join(f"{count:,} {decision}" for decision, count in sorted(counts.items()))
    answer(dict(sorted(counts.items())), as_json, f"{output or details}: {said or 'no products'}")
