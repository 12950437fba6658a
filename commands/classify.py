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
    from rubrika.files import check_distinct, check_place
    from rubrika.index.folder import Index
    from rubrika.ingest.ingest import default_reject_path, write_rejects
    from rubrika.products.reader import Reader
    from rubrika.retrieve.predictions import classify_to_files
    from rubrika.terminal import Terminal

    reader = Reader([file], labelled=False)
    reader.check()
    aside = rejects or default_reject_path(output.parent / output.stem)
    check_distinct(file, output, details, aside)
    for path in (output, details, rejects):
        if path:
            check_place(path)
    terminal = Terminal()
    without_pictures(index, images, terminal.note)
    with Index.open(Location(index, server_of(url, collection), cache.expanduser(), api_key())) as opened:
        found = classify_to_files(
            opened,
            reader,
            output,
            details,
            pictures=pictures_of(images),
            top_k=top_k,
            max_error=max_error,
            level=level,
            progress=terminal,
        )
    if found.rejects:
        write_rejects(found.rejects, aside)
    answer(
        found.to_dict(),
        as_json,
        f"{output}: {found.rows:,} products in {found.seconds:.1f} s"
        + unusable_said(Counter(found.unusable_pictures or {}))
        + set_aside_said(len(found.rejects), aside),
    )
