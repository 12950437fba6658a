"""Writes batches of products into a store: what is new is encoded, what changed is replaced, the rest left alone."""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from rubrika.index.encoders import Encoders
from rubrika.ingest.payload import INGESTED_AT, payload_of
from rubrika.products.pictures import PictureFolder
from rubrika.products.product import Batch, Product, Reject
from rubrika.store.store import Payload, Point, Store


@dataclass
class IngestReport:
    """What became of the rows: each one read is in exactly one of the five counts after `read`.

    Besides, `pictures` counts products whose picture can be used, and `unusable` the other pictures by their reason.
    """

    read: int = 0
    added: int = 0
    updated: int = 0
    relabelled: int = 0
    unchanged: int = 0
    rejected: int = 0
    pictures: int = 0
    unusable: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    rejects: list[Reject] = field(default_factory=list)


class Writer:
    """Brings batches into a store and counts what became of their rows.

    Args:
        store: where the points go.
        encoders: of its named vectors.
        pictures: where the products' pictures are, if anywhere.
        report: where rows are counted.
        now: the time of this run, for the payload.
        image_url: where the folder of pictures is served, for the payload.
    """

    def __init__(
        self,
        store: Store,
        encoders: Encoders,
        pictures: PictureFolder | None,
        report: IngestReport,
        now: str,
        image_url: str | None = None,
    ) -> None:
        self._store, self._encoders, self._pictures = store, encoders, pictures
        self._report, self._now, self._image_url = report, now, image_url
        # What each id of this run said, and where, to see the same id saying something else.
        self._seen: dict[int, tuple[int, Path, int]] = {}

    def write(self, batch: Batch) -> None:
        """Write one batch."""
        report = self._report
        report.read += batch.rows
        report.rejects += batch.rejects
        report.rejected += len(batch.rejects)
        products = [product for product in batch.products if self._first_of_its_id(product, batch.file)]
        hashes, failures = self._encoders.picture_hashes(products, self._pictures)
        payloads = [
            payload_of(product, key, self._served(product), self._now)
            for product, key in zip(products, hashes, strict=True)
        ]
        known = self._store.fetch([product.id for product in products])
        changed = [
            row
            for row, (product, payload) in enumerate(zip(products, payloads, strict=True))
            if self._differs(known[product.id].payload if product.id in known else None, payload)
        ]
        if changed:
            encoded = self._encoders.encode([products[row] for row in changed], self._pictures)
            points = [Point(products[row].id, encoded.of(place), payloads[row]) for place, row in enumerate(changed)]
            self._store.upsert(points)
            failures = failures | {changed[place]: reason for place, reason in encoded.failures.items()}
        report.unusable.update(failures.values())
        report.pictures += sum(key is not None and row not in failures for row, key in enumerate(hashes))

    def _served(self, product: Product) -> str | None:
        """The address of a product's picture, which Qdrant's web UI shows."""
        path = self._pictures.find(product.id) if self._pictures and self._image_url else None
        return f"{str(self._image_url).rstrip('/')}/{path.name}" if path else None

    def _first_of_its_id(self, product: Product, file: Path) -> bool:
        content = hash(replace(product, row=0))
        before = self._seen.setdefault(product.id, (content, file, product.row))
        if before[1:] == (file, product.row):
            return True
        if before[0] == content:
            self._report.unchanged += 1
        else:
            place = f"{before[1].name} row {before[2]}"
            reason = f"product_id {product.id} was in {place} with other content; the first was kept"
            self._report.rejects.append(Reject(file, product.row, str(product.id), reason))
            self._report.rejected += 1
        return False

    def _differs(self, known: Payload | None, payload: Payload) -> bool:
        report = self._report
        if known is None:
            report.added += 1
        elif _content(known) == _content(payload):
            report.unchanged += 1
            return False
        elif known.get("text_hash") == payload["text_hash"] and known.get("category_id") != payload["category_id"]:
            report.relabelled += 1
        else:
            report.updated += 1
        return True


def _content(payload: Payload) -> Payload:
    return {key: value for key, value in payload.items() if key != INGESTED_AT}
