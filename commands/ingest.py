"""`rubrika ingest` puts labelled products into an index."""

from pathlib import Path
from typing import Annotated

import typer

from rubrika.commands.options import (
    CACHE,
    INDEX,
    AsJson,
    Backend,
    Cache,
    Collection,
    Files,
    Images,
    ImageSpec,
    IndexFolder,
    TextSpec,
    Url,
    Vote,
    answer,
    api_key,
    choice_of,
    pictures_of,
    server_of,
    set_aside_said,
    unusable_said,
    without_pictures,
)
from rubrika.index.location import Location


def ingest(
    files: Files,
    index: IndexFolder = INDEX,
    url: Url = None,
    collection: Collection = None,
    images: Images = None,
    image_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where that folder is served, for the web UI.")
    ] = None,
    text_encoder: TextSpec = None,
    image_encoder: ImageSpec = None,
    backend: Backend = "torch",
    vote: Vote = None,
    cache: Cache = CACHE,
    rejects: Annotated[
        Path | None, typer.Option(help="Where rows set aside go, with their reasons; beside the index by default.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail at the first row that would be set aside.")] = False,
    delete_missing: Annotated[
        bool, typer.Option("--delete-missing", help="Delete products of which these files have no row.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put labelled products into the index, learning its encoder first when it is new."""
    from rubrika.files import check_place
    from rubrika.ingest.ingest import default_reject_path, write_rejects
    from rubrika.ingest.ingest import ingest as run
    from rubrika.products.reader import Reader
    from rubrika.terminal import Terminal

    aside = rejects or default_reject_path(index)
    if rejects:
        # Known before the work; the place beside the index may never be needed.
        check_place(rejects)
    terminal = Terminal()
    without_pictures(index, images, terminal.note)
    choice = choice_of(text_encoder, image_encoder, backend, vote, images, index, terminal.note)
    report = run(
        Location(index, server_of(url, collection), cache.expanduser(), api_key()),
        Reader(files, labelled=True),
        pictures=pictures_of(images),
        image_url=image_url,
        choice=choice,
        strict=strict,
        delete_missing=delete_missing,
        progress=terminal,
    )
    if report.rejects:
        write_rejects(report.rejects, aside)
    names = ("read", "added", "updated", "relabelled", "unchanged", "rejected", "deleted")
    lines = ", ".join(f"{getattr(report, name):,} {name}" for name in names if getattr(report, name) or name == "read")
    answer(
        report.to_dict() | {"rejects": str(aside) if report.rejects else None},
        as_json,
        f"{index}: {lines} in {report.seconds:.1f} s"
        + (f"; {report.pictures:,} with a picture" if report.pictures is not None else "")
        + unusable_said(report.unusable)
        + set_aside_said(len(report.rejects), aside),
    )
