"""Writes batches of products as points, encoding only what changed."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rubrika.errors import InputError
from rubrika.index.encoders import PictureHashes
from rubrika.index.folder import Index
from rubrika.ingest.diff import Change, Hasher, change_of
from rubrika.products.images import PictureFolder
from rubrika.products.product import Batch, Category, Product, Reject
from rubrika.products.reader import Reader
from rubrika.store.base import FloatArray, Point, Store


def stored_vectors(store: Store, ids: Sequence[int], sizes: Mapping[str, int]) -> dict[str, FloatArray]:
    """Vectors (n, size) of stored products, by name; a row of zeros is one that is not there."""
    vectors = {name: np.zeros((len(ids), size), np.float32) for name, size in sizes.items()}
    points = store.fetch(ids, payload=False, vectors=True) if vectors else {}
    for row, id in enumerate(ids):
        for name in vectors.keys() & points[id].vectors.keys() if id in points else ():
            vectors[name][row] = points[id].vectors[name]
    return vectors


def source_files(index: Index, files: Sequence[Path]) -> list[Path]:
    """The files to compare with, the latest last: those given, or those ingested, as far as they are still there."""
    return list(files) or [Path(file) for file in index.manifest.contents.sources if Path(file).exists()]


@dataclass(frozen=True)
class StoredProducts:
    """The products of an index: their texts from the files they came from, their categories from the index.

    Args:
        files: where to look, the latest first.
        hasher: of the index's encoders.
        known: of each product the hash of its text, and its category.
    """

    files: Sequence[Path]
    hasher: Hasher
    known: Mapping[int, tuple[str, Category]]

    @classmethod
    def of(cls, index: Index, files: Sequence[Path] = ()) -> "StoredProducts":
        """The products of an open index.

        Args:
            index: whose products.
            files: where their rows are, the latest last; by default the files that were ingested.
        """
        categories: dict[tuple[int, str], Category] = {}
        known = {}
        for page in index.store.scroll(payload=["text_hash", "category_id", "category_path"]):
            for point in page:
                key = (point.category_id, point.text("category_path"))
                category = categories.setdefault(key, Category(*key))
                known[point.id] = (point.text("text_hash"), category)
        return cls(source_files(index, files)[::-1], Hasher.of(index.manifest), known)

    def __len__(self) -> int:
        """How many products there are."""
        return len(self.known)

    def __iter__(self) -> Iterator[Batch]:
        """Yield each product once, from the latest file that says what the index says.

        Raises:
            InputError: a file cannot be read, or some products are in none of them.
        """
        missing = set(self.known)
        for batch in Reader(self.files, labelled=False) if self.files else ():
            found = []
            for product in batch.products:
                if product.id in missing and self.known[product.id][0] == self.hasher.text(product.text):
                    missing.remove(product.id)
                    found.append(replace(product, category=self.known[product.id][1]))
            if found:
                yield Batch(batch.file, found, [])
        if missing:
            raise InputError(
                f"{len(missing):,} products of the index, such as {min(missing)}, are in none of the files "
                f"{', '.join(map(str, self.files)) or 'it remembers'}; name files that have them, or delete them"
            )

    def check(self) -> None:
        """Read everything once, so that a missing product is known before any work is done."""
        for _ in self:
            pass


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


MAX_DIGITS = 20


def deletion_blocker(seen: Collection[int], rejects: Sequence[Reject], place: str) -> str | None:
    """Why it is uncertain which products a catalogue has, so that none may be deleted; None: it is certain.

    Args:
        seen: the ids of its good rows.
        rejects: its other rows.
        place: where it is, for people.
    """
    if not seen:
        # An empty export is a mistake, not an empty shop.
        return f"{place}: no product can be read there, so none was deleted; export it again"
    for reject in rejects:
        if _id(reject) is None:
            return (
                f"{reject.file} row {reject.row}: its product_id cannot be read, so nobody knows which product it "
                f"stands for, and none was deleted; mend it and run the same command again"
            )
    return None


def delete_missing(store: Store, seen: Collection[int], rejects: Sequence[Reject]) -> int:
    """Delete the stored products that have no row, when there is no `doubt`; gives how many."""
    stored = np.concatenate([np.zeros(0, np.uint64), *(_ids(page) for page in store.scroll(payload=False))])
    aside = (id for id in map(_id, rejects) if id is not None)
    kept = np.fromiter((id for id in (*seen, *aside) if id < 2**64), np.uint64)
    missing = np.setdiff1d(stored, kept).tolist()
    if missing:
        store.delete(missing)
    return len(missing)


def _id(reject: Reject) -> int | None:
    """The id of a row that was set aside, where it can be read to the last digit."""
    text = reject.product_id
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS else None


def _ids(page: list[Point]) -> NDArray[np.uint64]:
    return np.array([point.id for point in page], np.uint64)
