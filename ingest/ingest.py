"""Ingests labelled products: learns the encoder when the index has none, then encodes and writes what is new."""

import time
from datetime import UTC, datetime
from pathlib import Path

from rubrika.encode.registry import LEARNED
from rubrika.errors import InputError
from rubrika.index.create import create_index
from rubrika.index.index import Index, has_index
from rubrika.ingest.write import IngestReport, Writer
from rubrika.products.selection import Products
from rubrika.progress import Progress, Silent


def ingest(folder: Path, reader: Products, *, strict: bool = False, progress: Progress | None = None) -> IngestReport:
    """Bring every labelled product of the reader into the index, making the index when there is none.

    Args:
        folder: the index folder.
        reader: labelled products; read once to learn when the index is new, and once to write.
        strict: fail at the first row that would be set aside.
        progress: where to show how far it is.

    Raises:
        InputError: a file cannot be read, or `strict` met a bad row.
        EncoderError: there is too little to learn from.
    """
    started, progress = time.monotonic(), progress or Silent()
    reader.check()
    if not has_index(folder):
        # Imported here: learning needs torch, which takes seconds to load, and a daily ingest needs no learning.
        from rubrika.train.learn import learn

        create_index(folder, LEARNED, learn(reader, progress))
    report = IngestReport()
    with Index.open(folder) as index:
        writer = Writer(index.store, index.encoders, report, datetime.now(UTC).isoformat(timespec="seconds"))
        with progress.stage("writing products", len(reader)) as advance:
            for batch in reader:
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
