"""Writes batches of products into a store: only what is new or changed is encoded; a point changes in one step."""

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from rubrika.index.encoders import PictureHashes
from rubrika.index.index import Index
from rubrika.ingest.change import Change, Hasher, change_of
from rubrika.ingest.stored import stored_vectors
from rubrika.products.pictures import PictureFolder
from rubrika.products.product import Batch, Product, Reject
from rubrika.store.store import Point


@dataclass
class IngestReport:
    """What became of the rows: each one read is in exactly one of the five counts after `read`.

    Besides, `pictures` counts products whose picture can be used, and `unusable` the other pictures by their reason;
    `encoded` counts products of which something was encoded, and `deleted` points that no row stands for any more.
    """

    read: int = 0
    added: int = 0
    updated: int = 0
    relabelled: int = 0
    unchanged: int = 0
    rejected: int = 0
    encoded: int = 0
    deleted: int = 0
    pictures: int = 0
    unusable: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    rejects: list[Reject] = field(default_factory=list)


class Writer:
    """Brings batches into a store and counts what became of their rows.

    Args:
        index: where the points go.
        pictures: where the products' pictures are, if anywhere; one that is stored already stays when it is not there.
        report: where rows are counted.
        now: the time of this run, for the payload.
        image_url: where the folder of pictures is served, for the payload.
        afresh: write every product as if it had never been stored.
    """

    def __init__(
        self,
        index: Index,
        pictures: PictureFolder | None,
        report: IngestReport,
        now: str,
        image_url: str | None = None,
        afresh: bool = False,
    ) -> None:
        self._store, self._encoders, self._hasher = index.store, index.encoders, Hasher.of(index.manifest)
        self._pictures, self._afresh = pictures, afresh
        self._report, self._now, self._image_url = report, now, image_url
        # What each id of this run said, and where, to see the same id saying something else.
        self._seen: dict[int, tuple[int, Path, int]] = {}

    @property
    def seen(self) -> Set[int]:
        """The ids of all products so far."""
        return self._seen.keys()

    def write(self, batch: Batch) -> None:
        """Write one batch."""
        report = self._report
        report.read += batch.rows
        report.rejects += batch.rejects
        report.rejected += len(batch.rejects)
        products = [product for product in batch.products if self._first_of_its_id(product, batch.file)]
        pictures = self._encoders.picture_hashes(products, self._pictures)
        known = {} if self._afresh else self._store.fetch([product.id for product in products])
        changes = [
            change_of(
                product,
                known[product.id].payload if product.id in known else None,
                self._hasher,
                picture,
                self._served(product),
                self._now,
            )
            for product, picture in zip(products, pictures.hashes, strict=True)
        ]
        self._replace_payloads(products, changes)
        points = self._encode(batch.file, products, changes, pictures)
        if points:
            self._store.upsert(points)
        self._count(changes, pictures)

    def _replace_payloads(self, products: Sequence[Product], changes: Sequence[Change]) -> None:
        """Of products that only say something else about themselves, the vectors stay."""
        payloads = {
            product.id: change.payload
            for product, change in zip(products, changes, strict=True)
            if change.kind != "unchanged" and not change.stale
        }
        if payloads:
            self._store.replace_payloads(payloads)

    def _encode(
        self, file: Path, products: Sequence[Product], changes: list[Change], pictures: PictureHashes
    ) -> list[Point]:
        """Whole points: what is stale encoded, other vectors as they are stored."""
        points = list[Point]()
        for stale in sorted({change.stale for change in changes if change.stale}, key=sorted):
            rows = [row for row, change in enumerate(changes) if change.stale == stale]
            chosen = [products[row] for row in rows]
            sizes = {name: size for name, size in self._encoders.sizes.items() if name not in stale}
            kept = stored_vectors(self._store, [product.id for product in chosen], sizes)
            encoded = self._encoders.encode(chosen, self._pictures, known=_part(pictures, rows), given=kept)
            for place, reason in encoded.failures.items():
                pictures.failures[rows[place]] = reason
                changes[rows[place]].payload["image_error"] = reason
            for place, (row, product) in enumerate(zip(rows, chosen, strict=True)):
                vectors = encoded.of(place)
                if vectors:
                    points.append(Point(product.id, vectors, changes[row].payload))
                else:
                    changes[row] = replace(changes[row], kind="rejected")
                    self._report.rejects.append(Reject(file, product.row, str(product.id), "its text has no vector"))
            self._report.encoded += len(rows)
        return points

    def _served(self, product: Product) -> str | None:
        """The address of a product's picture, which Qdrant's web UI shows."""
        path = self._pictures.find(product.id) if self._pictures and self._image_url else None
        return f"{str(self._image_url).rstrip('/')}/{path.name}" if path else None

    def _first_of_its_id(self, product: Product, file: Path) -> bool:
        content = hash(product)
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

    def _count(self, changes: Sequence[Change], pictures: PictureHashes) -> None:
        report = self._report
        for kind, count in Counter(change.kind for change in changes).items():
            setattr(report, kind, getattr(report, kind) + count)
        report.unusable.update(pictures.failures.values())
        report.pictures += sum(
            key is not None and row not in pictures.failures for row, key in enumerate(pictures.hashes)
        )


def _part(pictures: PictureHashes, rows: Sequence[int]) -> PictureHashes:
    failures = {place: pictures.failures[row] for place, row in enumerate(rows) if row in pictures.failures}
    return PictureHashes([pictures.hashes[row] for row in rows], failures)
