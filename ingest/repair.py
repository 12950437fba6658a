"""Compares an index with the files its products came from, and writes anew from there what is damaged."""

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rubrika.index.check import Checked
from rubrika.index.index import Index
from rubrika.ingest.change import Hasher
from rubrika.ingest.write import IngestReport, Writer
from rubrika.products.parquet import Reader
from rubrika.products.pictures import PictureFolder
from rubrika.products.product import Batch
from rubrika.store.store import Point


def source_files(index: Index, files: Sequence[Path]) -> list[Path]:
    """The files to compare with, the latest last: those given, or those ingested, as far as they are still there."""
    return list(files) or [Path(file) for file in index.manifest.contents.sources if Path(file).exists()]


def compare(index: Index, files: Sequence[Path], found: Checked) -> None:
    """Add to what was found the products whose text is another in the latest file that has them.

    Args:
        index: open.
        files: of labelled products, the latest last.
        found: by `check`.
    """
    hasher = Hasher.of(index.manifest)
    hashes = {product.id: hasher.text(product.text) for batch in _read(files) for product in batch.products}
    for page in index.store.scroll(payload=["text_hash"]):
        other = [point.id for point in page if hashes.get(point.id, _hash(point)) != _hash(point)]
        found.add("with another text than in the latest of its files", other)


def repair(index: Index, files: Sequence[Path], pictures: PictureFolder | None, ids: Collection[int]) -> int:
    """Write products anew, as if they had never been stored; return how many the files have.

    Args:
        index: open for a change.
        files: of labelled products, the latest last.
        pictures: where their pictures are, if anywhere.
        ids: of the products.
    """
    report = IngestReport()
    writer = Writer(index, pictures, report, datetime.now(UTC).isoformat(timespec="seconds"), afresh=True)
    for batch in _latest(files, ids):
        writer.write(batch)
    index.store.optimise()
    return report.added


def _latest(files: Sequence[Path], ids: Collection[int]) -> Iterator[Batch]:
    """The rows of some products, each from the latest file that has it."""
    missing = set(ids)
    for batch in _read(files[::-1]):
        chosen = [product for product in batch.products if product.id in missing]
        missing.difference_update(product.id for product in chosen)
        if chosen:
            yield Batch(batch.file, chosen, [])


def _hash(point: Point) -> str | None:
    return point.payload.get("text_hash")


def _read(files: Sequence[Path]) -> Iterator[Batch]:
    yield from Reader(files, labelled=True) if files else ()
