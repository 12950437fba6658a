"""Ingests labelled products: gets a new index its encoders, then encodes and writes what is new."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rubrika.errors import IndexFolderError, InputError, StoppedError
from rubrika.index.change import changing, remember
from rubrika.index.create import LATE, Choice, check_free, create_index
from rubrika.index.disk import check_room
from rubrika.index.index import Index, has_index
from rubrika.index.lock import writing
from rubrika.index.manifest import IMAGE, TEXT, Manifest
from rubrika.ingest.fingerprint import fingerprint
from rubrika.ingest.late import late_fusion
from rubrika.ingest.missing import delete_missing as delete_stored
from rubrika.ingest.missing import doubt
from rubrika.ingest.prepare import prepare
from rubrika.ingest.write import IngestReport, Writer
from rubrika.interrupt import Interrupt
from rubrika.products.pictures import PictureFolder
from rubrika.products.selection import Products
from rubrika.progress import Progress, Silent
from rubrika.store.connection import Connection


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
    delete_missing: bool = False,
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
        delete_missing: remove stored products of which the files have no row, good or bad.
        progress: where to show how far it is.

    Raises:
        InputError: a file cannot be read, or `strict` met a bad row.
        EncoderError: an encoder cannot be loaded, or there is too little to learn from.
        IndexFolderError: the index was made with other encoders than those chosen, or another process changes it.
        StoppedError: Ctrl-C or SIGTERM; what was written until then is safe, and the same call goes on from there.
    """
    started, progress = time.monotonic(), progress or Silent()
    products.check()
    report = IngestReport()
    with writing(folder, "ingest"):
        if has_index(folder):
            _check_choice(folder, choice)
        else:
            check_room(folder, server)
            _create(folder, products, pictures, choice or Choice(), cache, server, progress)
        # Pictures, and products that are in no file, are not worth a digest: they are compared one by one.
        worth = products.files and pictures is None
        # Of the files before they are read: what somebody changes meanwhile is then seen the next time.
        given = fingerprint(products.files, (server, image_url, delete_missing)) if worth else None
        if given and _is_done(folder, cache, server, api_key, given):
            rows = len(products)
            return replace(report, read=rows, unchanged=rows, seconds=round(time.monotonic() - started, 3))
        with changing(folder, cache, server, api_key, products.files) as index:
            writer = Writer(index, pictures, report, datetime.now(UTC).isoformat(timespec="seconds"), image_url)
            _write(index, writer, products, report, strict, progress)
            place = str(products.files[0]) if products.files else "the products"
            doubted = doubt(writer.seen, report.rejects, place) if delete_missing else None
            if delete_missing and not doubted:
                report.deleted = delete_stored(index.store, writer.seen, report.rejects)
            with progress.stage("optimising the store", 1) as advance:
                index.store.optimise()
                advance(1)
        # Said last: what could be read is in the index by now.
        if doubted:
            raise InputError(doubted)
        # Rows that were set aside are to be told again the next time.
        if given and not report.rejects:
            remember(folder, given)
    report.seconds = round(time.monotonic() - started, 3)
    return report


def _create(
    folder: Path,
    products: Products,
    pictures: PictureFolder | None,
    choice: Choice,
    cache: Path,
    server: Connection | None,
    progress: Progress,
) -> None:
    check_free(folder)
    vote = choice.settings
    if choice.vote == LATE:
        vote = late_fusion(products, pictures, choice, cache, progress)
    create_index(folder, choice, prepare(products, pictures, choice, cache, progress), vote, server)


def _is_done(folder: Path, cache: Path, server: Connection | None, api_key: str | None, given: str) -> bool:
    """Whether the last change of the index was this very ingest, and its points are all there."""
    contents = Manifest.read(folder).contents
    if contents.fingerprint != given:
        return False
    with Index.open(folder, cache, server, api_key) as index:
        return index.store.count() == contents.products


def _write(
    index: Index, writer: Writer, products: Products, report: IngestReport, strict: bool, progress: Progress
) -> None:
    rows = len(products)
    with Interrupt() as interrupt, progress.stage("writing products", rows) as advance:
        for batch in products:
            writer.write(batch)
            if strict and report.rejects:
                first = report.rejects[0]
                raise InputError(f"{first.file} row {first.row}: {first.reason}; mend it, or run without --strict")
            advance(batch.rows)
            check_room(index.folder, index.server)
            if interrupt.asked and report.read < rows:
                index.store.flush()
                raise StoppedError(
                    f"stopped as asked: {report.read:,} of {rows:,} rows are in {index.folder}; "
                    f"run the same command again to go on"
                )


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
