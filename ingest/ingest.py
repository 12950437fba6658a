"""Ingests labelled products: gets a new index its encoders, then encodes and writes what is new."""

import time
from datetime import UTC, datetime
from pathlib import Path

from rubrika.errors import IndexFolderError, InputError
from rubrika.index.create import Choice, check_free, create_index
from rubrika.index.index import Index, has_index
from rubrika.index.manifest import IMAGE, TEXT, Manifest
from rubrika.ingest.late import late_fusion
from rubrika.ingest.prepare import prepare
from rubrika.ingest.write import IngestReport, Writer
from rubrika.products.pictures import PictureFolder
from rubrika.products.selection import Products
from rubrika.progress import Progress, Silent
from rubrika.store.connection import Connection

LATE = "late"


def ingest(
    folder: Path,
    products: Products,
    *,
    pictures: PictureFolder | None = None,
    choice: Choice | None = None,
    image_url: str | None = None,
    cache: Path,
    server: Connection | None = None,
    api_key: str | None = None,
    strict: bool = False,
    progress: Progress | None = None,
) -> IngestReport:
    """Bring every labelled product into the index, making the index when there is none.

    Args:
        folder: the index folder.
        products: labelled products; read several times when the index is new, once otherwise.
        pictures: where their pictures are, if anywhere.
        image_url: where the folder of pictures is served, for Qdrant's web UI to show them.
        choice: the encoders and the vote of a new index; None: the defaults, or what the index has.
        cache: a folder for vectors of pretrained encoders.
        server: where the points of a new index go, or those of this one are, when not in the index folder.
        api_key: of the server that the manifest names.
        strict: fail at the first row that would be set aside.
        progress: where to show how far it is.

    Raises:
        InputError: a file cannot be read, or `strict` met a bad row.
        EncoderError: an encoder cannot be loaded, or there is too little to learn from.
        IndexFolderError: the index was made with other encoders than those chosen.
    """
    started, progress = time.monotonic(), progress or Silent()
    products.check()
    if has_index(folder):
        _check_choice(folder, choice)
    else:
        check_free(folder)
        choice = choice or Choice()
        vote = choice.settings
        if choice.vote == LATE:
            vote = late_fusion(products, pictures, choice, cache, progress)
        create_index(folder, choice, prepare(products, pictures, choice, cache, progress), vote, server)
    report = IngestReport()
    with Index.open(folder, cache, server, api_key) as index:
        if IMAGE in index.manifest.vectors and pictures is None:
            raise InputError(f"{folder}: this index has picture vectors; say with --images where the pictures are")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        writer = Writer(index.store, index.encoders, pictures, report, now, image_url)
        with progress.stage("writing products", len(products)) as advance:
            for batch in products:
                writer.write(batch)
                if strict and report.rejects:
                    first = report.rejects[0]
                    raise InputError(f"{first.file} row {first.row}: {first.reason}; mend it, or run without --strict")
                advance(batch.rows)
        with progress.stage("optimising the store", 1) as advance:
            index.store.optimise()
            index.store.flush()
            advance(1)
    report.seconds = round(time.monotonic() - started, 3)
    return report


def _check_choice(folder: Path, choice: Choice | None) -> None:
    if choice is None:
        return
    made = Manifest.read(folder).vectors
    for name, asked in ((TEXT, choice.text), (IMAGE, choice.image)):
        has = made[name].encoder if name in made else None
        if asked is not None and asked != has:
            raise IndexFolderError(
                f"{folder}: its {name} vectors are made by {has or 'nothing'}, not by {asked}; "
                f"ingest into a new folder, or leave the encoder out"
            )
