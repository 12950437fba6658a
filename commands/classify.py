"""`rubrika classify` predicts categories of a parquet file."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from rubrika.commands.options import (
    CACHE,
    INDEX,
    MAX_ERROR,
    AsJson,
    Cache,
    Collection,
    File,
    Images,
    IndexFolder,
    MaxError,
    TopK,
    Url,
    answer,
    api_key,
    pictures_of,
    server_of,
    set_aside_said,
    unusable_said,
    without_pictures,
)
from rubrika.index.location import Location


def classify(
    file: File,
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the predictions go.")] = Path("result.parquet"),
    details: Annotated[Path | None, typer.Option(help="Where confidence, alternatives and neighbours go.")] = None,
    index: IndexFolder = INDEX,
    url: Url = None,
    collection: Collection = None,
    images: Images = None,
    cache: Cache = CACHE,
    top_k: TopK = None,
    max_error: MaxError = MAX_ERROR,
    level: Annotated[
        int | None, typer.Option(min=1, help="Predict at this level of the tree, 1 being the top, not the leaf.")
    ] = None,
    rejects: Annotated[
        Path | None, typer.Option(help="Where unreadable rows go, beside the output by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Predict the category of every product of a parquet file."""
    import time

    from rubrika.files import check_distinct, check_place
    from rubrika.index.folder import Index
    from rubrika.ingest.ingest import default_reject_path, write_rejects
    from rubrika.products.reader import Reader
    from rubrika.retrieve.classify import classify as run
    from rubrika.retrieve.predictions import Output
    from rubrika.terminal import Terminal

    started = time.monotonic()
    reader = Reader([file], labelled=False)
    reader.check()
    aside = rejects or default_reject_path(output.parent / output.stem)
    check_distinct(file, output, details, aside)
    for path in (output, details, rejects):
        if path:
            check_place(path)
    unreadable, rows, unusable = [], 0, Counter[str]()
    terminal = Terminal()
    without_pictures(index, images, terminal.note)
    with (
        Index.open(Location(index, server_of(url, collection), cache.expanduser(), api_key())) as opened,
        Output(output, details, reader.id_type(), opened.manifest.calibration) as out,
        terminal.stage("classifying", len(reader)) as advance,
    ):
        for classified in run(opened, reader, pictures_of(images), top_k, max_error, level):
            out.write(classified)
            unreadable += classified.batch.rejects
            unusable.update(classified.failures)
            rows += classified.batch.rows
            advance(classified.batch.rows)
    if unreadable:
        write_rejects(unreadable, aside)
    seconds = round(time.monotonic() - started, 3)
    answer(
        {"rows": rows, "rejected": len(unreadable), "seconds": seconds, "output": str(output)}
        | ({"unusable_pictures": dict(unusable)} if images else {}),
        as_json,
        f"{output}: {rows:,} products in {seconds:.1f} s"
        + unusable_said(unusable)
        + set_aside_said(len(unreadable), aside),
    )
