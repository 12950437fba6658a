"""The command line: which commands there are, and what becomes of an error; each command is a file in `commands/`."""

import os
import sys

import typer

from rubrika.commands import (
    audit,
    check,
    classify,
    decide,
    edit,
    evaluate,
    explain,
    info,
    ingest,
    learn,
    move,
    neighbours,
    sample,
    stats,
    train,
    tune,
)
from rubrika.errors import RubrikaError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Tells which category a product belongs to, by the labelled products most like it.",
)

app.command()(sample.sample)
app.command()(ingest.ingest)
app.command()(classify.classify)
app.command()(decide.decide)
app.command()(evaluate.evaluate)
app.command()(tune.tune)
app.command()(neighbours.neighbours)
app.command()(explain.explain)
app.command()(audit.audit)
app.command()(stats.stats)
app.command()(info.info)
app.command()(edit.delete)
app.command()(edit.relabel)
app.command()(learn.learn)
app.command()(check.check)
app.command()(move.push)
app.command()(move.pull)
app.add_typer(train.app)


def main() -> None:
    """Run a command; a failure that Rubrika explains is one line on stderr and exit code 1."""
    # Threads that wait for one another by spinning take a shared machine's cores from whoever has work to do.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except RubrikaError as error:
        print(f"rubrika: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)


if __name__ == "__main__":
    main()
