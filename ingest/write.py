"""Writes batches of products as points, encoding only what changed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from rubrika.errors import InputError
from rubrika.index.categories import Labels, Names, unique_labels
from rubrika.index.encoders import PictureHashes
from rubrika.index.folder import Index
from rubrika.ingest.diff import BY_PERSON, Change, Hasher, change_of, is_held_out
from rubrika.ingest.naming import NameConflict
from rubrika.ingest.seen import FirstRow, SeenRows
from rubrika.products.images import PictureFolder
from rubrika.products.product import Batch, Category, Product, Reject
from rubrika.products.text import one_line
from rubrika.store.base import FloatArray, Payload, Point, Store


@dataclass(frozen=True)
class Counts:
    """The result of an operation that has nothing to tell but numbers."""

    def to_dict(self) -> dict[str, object]:
        """The same as plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class KeptLabel:
    """A stored category that a person set, and the other one that a row gives the product."""

    file: Path
    row: int
    product_id: int | str
    category_id: int
    category_name: str
    labelled_by: str
    labelled_at: str
    row_category_id: int
    row_category_name: str

    @classmethod
    def of(cls, product: Product, file: Path, payload: Payload) -> "KeptLabel":
        """A product whose row has another category than the payload that stays."""
        # Whoever else wrote into the store may have written anything.
        path, by, at = (one_line(str(payload.get(key))) for key in ("category_path", *BY_PERSON[1:]))
        given = product.category or Category(0, "")
        return cls(file, product.row, product.own_id, payload["category_id"], path, by, at, given.id, given.path)


@dataclass
class IngestReport:
    """What became of the rows: each row read is in exactly one of the six counts after `read`."""

    read: int = 0
    added: int = 0
    updated: int = 0
    relabelled: int = 0
    unchanged: int = 0
    kept: int = 0  # rows with another category than a person set, which stays
    rejected: int = 0
    encoded: int = 0  # products of which something was encoded
    deleted: int | None = None  # points without a row; None: deleting was not asked for
    pictures: int | None = None  # products whose picture can be used; None: there was no folder of pictures
    unusable: Counter[str] = field(default_factory=Counter)  # the other pictures, by reason
    renamed: int = 0  # categories that have another name now
    seconds: float = 0.0
    rejects: list[Reject] = field(default_factory=list)
    kept_labels: list[KeptLabel] = field(default_factory=list)  # of the rows in `kept`
    name_conflicts: tuple[NameConflict, ...] = ()  # categories with several names, here or in the index

    def add(self, other: "IngestReport") -> None:
        """Add what became of other rows."""
        for name in ("read", "added", "updated", "relabelled", "unchanged", "kept", "rejected", "encoded"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if self.pictures is not None:
            self.pictures += other.pictures or 0
        self.unusable.update(other.unusable)
        self.rejects += other.rejects
        self.kept_labels += other.kept_labels

    def to_dict(self) -> dict[str, object]:
        """As `rubrika ingest --json` prints it, except for the paths of the rejects and the kept labels."""
        names = ("read", "added", "updated", "relabelled", "unchanged", "kept", "rejected", "renamed")
        counts: dict[str, object] = {name: getattr(self, name) for name in names}
        counts["name_conflicts"] = [asdict(conflict) for conflict in self.name_conflicts]
        if self.deleted is not None:
            counts["deleted"] = self.deleted
        if self.pictures is not None:
            counts |= {"pictures": self.pictures, "unusable_pictures": dict(self.unusable)}
        return counts | {"seconds": self.seconds}


class IngestError(InputError):
    """What an ingest was asked and could not do; `report` has the rows that it set aside."""

    def __init__(self, reason: str, report: IngestReport) -> None:
        super().__init__(reason)
        self.report = report


@dataclass(frozen=True, slots=True)
class Planned:
    """What is to be written: new payloads of points that are there, by id, and whole points."""

    payloads: dict[int, Payload]
    points: list[Point]

    def write(self, store: Store) -> None:
        """Bring it into a store."""
        if self.payloads:
            store.replace_payloads(self.payloads)
        if self.points:
            store.upsert(self.points)


class Writer:
    """Brings batches into a store and counts what became of their rows in its `report`.

    A stored picture stays when none comes; with `overwrite` every product is written as if it had never been stored.
    `names` are those of the categories, and grow by what only the rows say; `by` is the person who set the categories
    of rows that a person labelled, as all are with `verified`; `now` is the time that points have.
    """

    def __init__(
        self,
        index: Index,
        pictures: PictureFolder | None,
        image_url: str | None = None,
        overwrite: bool = False,
        names: Names | None = None,
        by: str = "",
        verified: bool = False,
        now: str | None = None,
    ) -> None:
        self._store, self._encoders, self._hasher = index.store, index.encoders, Hasher(index.manifest)
        self._manifest = index.manifest
        self.pictures, self._image_url, self._overwrite = pictures, image_url, overwrite
        self._now, self._by, self._verified = now or timestamp(), by, verified
        self.names: Names = {} if names is None else names
        self.labels: Labels = {}  # of categories whose number is not their name
        self._unique = unique_labels(self.names)
        self.text_ids = False  # whether products have other ids than their numbers
        self.seen = SeenRows()
        self.report = IngestReport(pictures=None if pictures is None else 0)

    @property
    def options(self) -> dict[str, Any]:
        """What another process needs, besides names and pictures, to make a writer that does the same."""
        told = {"image_url": self._image_url, "by": self._by, "verified": self._verified, "now": self._now}
        return told | {"overwrite": self._overwrite}

    def write(self, batch: Batch) -> None:
        """Write one batch."""
        self.plan(batch).write(self._store)

    def plan(self, batch: Batch) -> "Planned":
        """What is to be written of one batch, counted as if it were."""
        report = self.report
        report.read += batch.rows
        report.rejects += batch.rejects
        report.rejected += len(batch.rejects)
        known_names = len(self.names)
        products = self._first(list(map(self._named, batch.products)), batch.file)
        if len(self.names) > known_names:
            self._unique = unique_labels(self.names)
        stored = {} if self._overwrite else self._store.fetch([product.id for product in products])
        known = {id: point.payload for id, point in stored.items()}
        products = [product for product in products if self._is_free(product, known.get(product.id), batch.file)]
        pictures = self._encoders.picture_hashes(products, self.pictures)
        changes = [
            change_of(
                product,
                known.get(product.id),
                self._hasher,
                picture,
                self._url_of(product),
                self._now,
                self._unique,
                self._is_held_out(product),
                self._by,
            )
            for product, picture in zip(products, pictures.hashes, strict=True)
        ]
        # Where no text and no picture changed, the vectors stay.
        pairs = zip(products, changes, strict=True)
        payloads = {product.id: one.payload for product, one in pairs if one.differs and not one.stale}
        points = self._encode(batch.file, products, changes, pictures)
        for kind, count in Counter(change.kind for change in changes).items():
            setattr(report, kind, getattr(report, kind) + count)
        kept = (row for row, change in enumerate(changes) if change.kind == "kept")
        report.kept_labels += [KeptLabel.of(products[row], batch.file, changes[row].payload) for row in kept]
        report.unusable.update(pictures.failures.values())
        if report.pictures is not None:
            report.pictures += sum(row not in pictures.failures for row, key in enumerate(pictures.hashes) if key)
        return Planned(payloads, points)

    def _is_held_out(self, product: Product) -> bool:
        """Whether no learned encoder has seen a new product: while an index is made, those held out, and later all."""
        part = self._manifest.held_out
        being_made = self._manifest.calibration.at is None and part is not None
        return not self._overwrite and (is_held_out(product, part or 0) if being_made else part != 1)

    def _encode(
        self, file: Path, products: Sequence[Product], changes: list[Change], pictures: PictureHashes
    ) -> list[Point]:
        """Whole points: stale vectors encoded, the others as they are stored."""
        points = list[Point]()
        for stale in sorted({change.stale for change in changes if change.stale}, key=sorted):
            rows = [row for row, change in enumerate(changes) if change.stale == stale]
            chosen = [products[row] for row in rows]
            sizes = {name: size for name, size in self._encoders.sizes.items() if name not in stale}
            kept = stored_vectors(self._store, [product.id for product in chosen], sizes)
            failures = {part: pictures.failures[row] for part, row in enumerate(rows) if row in pictures.failures}
            known = PictureHashes([pictures.hashes[row] for row in rows], failures)
            encoded = self._encoders.encode(chosen, self.pictures, known=known, given=kept)
            for part, reason in encoded.failures.items():
                pictures.failures[rows[part]] = reason
                changes[rows[part]].payload["image_error"] = reason
            for part, (row, product) in enumerate(zip(rows, chosen, strict=True)):
                if vectors := encoded.of(part):
                    points.append(Point(product.id, vectors, changes[row].payload))
                else:
                    changes[row] = replace(changes[row], kind="rejected")
                    self.report.rejects.append(_rejected(file, product, "its text has no vector"))
            self.report.encoded += len(rows)
        return points

    def _url_of(self, product: Product) -> str | None:
        path = self.pictures.find(product.own_id, product.image) if self.pictures else None
        return f"{self._image_url.rstrip('/')}/{path.name}" if self._image_url and isinstance(path, Path) else None

    def _named(self, product: Product) -> Product:
        """The product with the one name of its category, and whether a person labelled it."""
        given = product.category
        if given and (path := self.names.setdefault(given.id, given.path)) != given.path:
            product = replace(product, category=replace(given, path=path))
        if given and given.key:
            self.labels.setdefault(given.id, given.key)
        return replace(product, by_person=True) if self._verified and not product.by_person else product

    def _first(self, products: Sequence[Product], file: Path) -> list[Product]:
        """Those whose id no earlier row had; one that had is counted as unchanged or set aside."""
        known, fresh, kept = self.seen.of([product.id for product in products]), dict[int, FirstRow](), list[Product]()
        for product in products:
            content = hash(product)
            first = known.get(product.id) or fresh.get(product.id)
            if first is None:
                fresh[product.id] = FirstRow(content, file, product.row)
                kept.append(product)
            elif first.content == content:
                self.report.unchanged += 1
            else:
                earlier = f"{first.file.name} row {first.row}"
                reason = f"product_id {product.own_id} was in {earlier} with other content; the first was kept"
                self._reject(file, product, reason)
        self.seen.add(fresh)
        return kept

    def _is_free(self, product: Product, known: Payload | None, file: Path) -> bool:
        """Whether no other product has the number of this one's id in the store, which chance may bring about."""
        own = product.own_id
        self.text_ids |= bool(product.key)
        if known is None or known.get("product_id", own) == own:
            return True
        taken = f"product_id {own} has the same number in the store as {known['product_id']}; give it another id"
        self._reject(file, product, taken)
        return False

    def _reject(self, file: Path, product: Product, reason: str) -> None:
        self.report.rejects.append(_rejected(file, product, reason))
        self.report.rejected += 1


def _rejected(file: Path, product: Product, reason: str) -> Reject:
    return Reject(file, product.row, product.key or str(product.id), reason, product.id)


def timestamp() -> str:
    """Now, in UTC, as payloads have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def stored_vectors(store: Store, ids: Sequence[int], sizes: Mapping[str, int]) -> dict[str, FloatArray]:
    """Vectors (n, size) of stored products, by name; a row of zeros is a vector that is not stored."""
    vectors = {name: np.zeros((len(ids), size), np.float32) for name, size in sizes.items()}
    points = store.fetch(ids, payload=False, vectors=True) if vectors else {}
    for row, id in enumerate(ids):
        for name in vectors.keys() & points[id].vectors.keys() if id in points else ():
            vectors[name][row] = points[id].vectors[name]
    return vectors


def deletion_blocker(seen: SeenRows, rejects: Sequence[Reject], source: str) -> str | None:
    """Why it is uncertain which products a catalogue has, so that none may be deleted; None: it is certain."""
    if not len(seen):
        # An empty export is a mistake, not an empty shop.
        return f"{source}: no product can be read there, so none was deleted; export it again"
    unknown = "its product_id cannot be read, so it is unknown which product it stands for, and none was deleted"
    for reject in (reject for reject in rejects if reject.id is None):
        return f"{reject.file} row {reject.row}: {unknown}; correct it and run the same command again"
    return None


def prune(store: Store, seen: SeenRows, rejects: Sequence[Reject]) -> int:
    """Delete the stored products that have no row, good or bad, and return their number; see `deletion_blocker`."""
    rejected, missing = {reject.id for reject in rejects}, list[int]()
    for page in store.scroll(payload=False):
        ids = np.array([point.id for point in page], np.uint64)
        missing += [id for id in ids[~seen.has(ids)].tolist() if id not in rejected]
    if missing:
        store.delete(missing)
    return len(missing)
