"""Compares an index with the files its products came from, and writes anew from there what is damaged."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rubrika.errors import InputError
from rubrika.index.check import Checked
from rubrika.index.index import Index
from rubrika.ingest.change import Hasher
from rubrika.ingest.write import IngestReport, Writer
from rubrika.products.parquet import Reader
from rubrika.products.pictures import PictureFolder
from rubrika.products.product import Batch, Category, Product
from rubrika.store.store import Payload, Point

# Of a point that is written anew these stay, where they are sound: the index may know better than an old file.
_CATEGORY = ("category_id", "category_path")
_ADDRESS = "image_url"


def compare(index: Index, files: Sequence[Path], found: Checked) -> None:
    """Add to what was found the products whose text is in none of the files that have them.

    Args:
        index: open.
        files: of labelled products.
        found: by `check`.
    """
    hasher = Hasher.of(index.manifest)
    stored = {point.id: _hash(point) for page in index.store.scroll(payload=["text_hash"]) for point in page}
    there, same = set[int](), set[int]()
    for batch in _read(files):
        known = [product for product in batch.products if product.id in stored]
        there.update(product.id for product in known)
        same.update(product.id for product in known if stored[product.id] == hasher.text(product.text))
    found.add("with another text than in the files it came from", sorted(there - same))


def repair(index: Index, files: Sequence[Path], pictures: PictureFolder | None, ids: Collection[int]) -> int:
    """Write products anew from their files; return how many of them the files have.

    Args:
        index: open for a change.
        files: of labelled products, the latest last.
        pictures: where their pictures are, if anywhere.
        ids: of the products.

    Raises:
        InputError: one of them has a picture, and nothing says where pictures are.
    """
    stored = {id: point.payload for id, point in index.store.fetch(sorted(ids)).items()}
    if pictures is None and any("image_hash" in payload for payload in stored.values()):
        raise InputError(f"{index.folder}: damaged products have pictures; say with --images where they are")
    report = IngestReport()
    writer = Writer(index, pictures, report, datetime.now(UTC).isoformat(timespec="seconds"), afresh=True)
    for batch in _rows(index, files, stored, ids):
        writer.write(batch)
    fresh = index.store.fetch([id for id, payload in stored.items() if _ADDRESS in payload])
    addresses = {id: point.payload | {_ADDRESS: stored[id][_ADDRESS]} for id, point in fresh.items()}
    if addresses:
        index.store.replace_payloads(addresses)
    index.store.optimise()
    return report.added


def _rows(index: Index, files: Sequence[Path], stored: Mapping[int, Payload], ids: Collection[int]) -> Iterator[Batch]:
    """A row of each product: the one that says what the index says, if there is one, else the latest file's."""
    hasher, missing = Hasher.of(index.manifest), set(ids)
    for exact in (True, False):
        for batch in _read(files[::-1]):
            chosen = []
            for product in batch.products:
                known = stored.get(product.id, {})
                if product.id in missing and (not exact or known.get("text_hash") == hasher.text(product.text)):
                    missing.remove(product.id)
                    chosen.append(_labelled(product, known))
            if chosen:
                yield Batch(batch.file, chosen, [])


def _labelled(product: Product, known: Payload) -> Product:
    id, path = (known.get(key) for key in _CATEGORY)
    sound = isinstance(id, int) and isinstance(path, str) and Category(id, path).levels
    return replace(product, category=Category(int(id), str(path))) if sound else product  # type: ignore[arg-type]


def _hash(point: Point) -> str | None:
    return point.payload.get("text_hash")


def _read(files: Sequence[Path]) -> Iterator[Batch]:
    yield from Reader(files, labelled=True) if files else ()
