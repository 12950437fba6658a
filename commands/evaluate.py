"""`rubrika evaluate` says how good the predictions are."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from rubrika.commands.options import (
    CACHE,
    MAX_ERROR,
    AsJson,
    Backend,
    Cache,
    Files,
    GroupBy,
    Holdout,
    Images,
    ImageSpec,
    MaxError,
    Seed,
    TextSpec,
    TopK,
    Url,
    Vote,
    answer,
    choice_of,
    pictures_of,
    server_of,
)
from rubrika.errors import RubrikaError

# What a protocol settles by itself.
SETTLED = ("holdout", "group_by", "stratify", "top_k", "seed")


def evaluate(
    context: typer.Context,
    file: Files,
    images: Images = None,
    text_encoder: TextSpec = None,
    image_encoder: ImageSpec = None,
    backend: Backend = "torch",
    vote: Vote = None,
    cache: Cache = CACHE,
    holdout: Holdout = 0.1,
    group_by: GroupBy = None,
    stratify: Annotated[bool, typer.Option("--stratify", help="Hold out the same part of every category.")] = False,
    top_k: TopK = None,
    max_error: MaxError = MAX_ERROR,
    url: Url = None,
    collection: Annotated[
        str | None, typer.Option(help="What the name of the server's temporary collection begins with.")
    ] = None,
    seed: Seed = 0,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where a report goes: a page, its numbers, its plots.")
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Compare with other methods: all, or some of knn, linear, mlp, tfidf-knn, tfidf-svm, fasttext and "
            "ensemble (of the others named with it), parted by commas.",
        ),
    ] = None,
    protocol: Annotated[
        Literal["kazanexpress"] | None,
        typer.Option(help="Measure as others did: their part of the rows, drawn at random, and the mode of their k."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say how good the predictions are, on products held out from the file."""
    from rubrika.commands.tables import evaluation_table
    from rubrika.eval.evaluate import PROTOCOLS
    from rubrika.eval.evaluate import evaluate as run
    from rubrika.eval.heldout import Timer
    from rubrika.eval.methods import chosen_methods
    from rubrika.files import report_folder
    from rubrika.products.reader import Reader
    from rubrika.report.report import write_report
    from rubrika.report.study import MAPPED, study
    from rubrika.terminal import Terminal

    if protocol:
        _check_free(context, protocol)
    try:
        names = chosen_methods(methods) if methods is not None else ()
    except RubrikaError as error:
        raise typer.BadParameter(str(error)) from None
    reader = Reader(file, labelled=True, group_by=group_by)
    terminal, shown, timer = Terminal(), pictures_of(images), Timer(memory=report is not None)
    # Made before the work: a place where nothing can be written is known at once.
    folder = report_folder(report) if report else None
    found = run(
        reader,
        cache=cache.expanduser(),
        pictures=shown,
        choice=choice_of(text_encoder, image_encoder, backend, vote, images, None, terminal.note),
        holdout=holdout,
        seed=seed,
        stratify=stratify,
        top_k=top_k,
        max_error=max_error,
        # Never the collection of an index: `evaluate` adds a name of its own, and deletes what it made.
        server=server_of(url, collection or ("rubrika" if url else None)),
        progress=terminal,
        sampled=MAPPED if folder else None,
        timer=timer,
        methods=names,
        rules=PROTOCOLS[protocol] if protocol else None,
        note=terminal.note,
    )
    if folder and found.answers:
        page = write_report(folder, study(found, found.answers, timer), shown, timer)
        terminal.note(f"report: {page}")
    answer(found.to_dict(), as_json, evaluation_table(found))


def _check_free(context: typer.Context, protocol: str) -> None:
    given = [name for name in SETTLED if (source := context.get_parameter_source(name)) and source.name != "DEFAULT"]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise typer.BadParameter(f"--protocol {protocol} settles the split and the vote itself; leave out {options}")
