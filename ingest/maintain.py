"""Keeps an index in order: delete, relabel, learn again, check and repair."""

import os
import re
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from rubrika.errors import EncoderError, InputError, RubrikaError, StoreError
from rubrika.files import check_room
from rubrika.index.folder import LEARNED, Choice, Index, lay_out, writing
from rubrika.index.location import Location, collection_note, other_generations, source_of
from rubrika.index.manifest import IMAGE
from rubrika.ingest.diff import INGESTED_AT, Hasher, category_payload
from rubrika.ingest.ingest import prepare
from rubrika.ingest.write import IngestReport, StoredProducts, Writer, stored_vectors
from rubrika.products.images import PictureFolder
from rubrika.products.product import Batch, Category, Product
from rubrika.products.reader import Reader
from rubrika.progress import Progress, Silent
from rubrika.store.base import Payload, Point, Store
from rubrika.store.connection import Connection
from rubrika.store.open import delete_store, is_alias, open_store

BATCH = 1_000


def delete(index: Index, ids: Sequence[int]) -> int:
    """Delete products; return how many there were.

    Args:
        index: open for a change.
        ids: of products; one that is not stored is no error.
    """
    found = 0
    for part in _parts(ids):
        known = index.store.fetch(part, payload=False)
        index.store.delete(list(known))
        found += len(known)
    return found


def named(index: Index, source: int, target: int, path: str | None = None) -> Category:
    """The category that `relabel` gives, found out before anything is changed.

    Args:
        index: open.
        source: the id of the category that products leave.
        target: the id of the one they get; the same as `source`, to rename it.
        path: the full path of the target; by default as its products say.

    Raises:
        RubrikaError: no product is in the source, or nothing says what the target is called.
    """
    interrupted = index.manifest.contents.products is None
    # After an interrupted run there may be none left to move.
    if not interrupted and source not in index.store.facet("category_id"):
        raise RubrikaError(f"{index.folder}: no product is in category {source}; see `rubrika info` for what there is")
    if path is None and source == target:
        raise RubrikaError(f"category {source} cannot move to itself; give it another name with --path")
    category = Category(target, _path(index, target) if path is None else path)
    if not category.levels:
        raise RubrikaError(f"«{path}» names no category; write a --path such as «Все категории->Обувь»")
    return category


def relabel(index: Index, source: int, target: Category) -> int:
    """Move all products of one category to another, or give a category another path; return how many there were.

    Args:
        index: open for a change.
        source: the id of the category that products leave.
        target: the one they get, see `named`.
    """
    payload = category_payload(target)
    moved = 0
    for ids in _parts(list(_of_category(index.store, source))):
        points = index.store.fetch(ids)
        index.store.replace_payloads({id: point.payload | payload for id, point in points.items()})
        moved += len(points)
    return moved


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))


def _path(index: Index, category: int) -> str:
    for id in _of_category(index.store, category):
        return index.store.fetch([id])[id].text("category_path")
    raise RubrikaError(f"{index.folder}: no product is in category {category} yet; say with --path what it is called")


def _of_category(store: Store, category: int) -> Iterator[int]:
    for page in store.scroll(payload=["category_id"]):
        yield from (point.id for point in page if point.payload.get("category_id") == category)


@dataclass(frozen=True, slots=True)
class Relearned:
    """From how many products and categories was learned."""

    products: int
    categories: int


def relearn(
    at: Location,
    files: Sequence[Path] = (),
    *,
    progress: Progress | None = None,
) -> Relearned:
    """Learn again; until the last moment the index is what it was, and a run cut short leaves it so.

    Args:
        at: where the index is.
        files: where the texts of its products are; by default the files that were ingested.
        progress: where to show how far it is.

    Raises:
        InputError: some product is in none of the files.
        EncoderError: no encoder of this index is learned, or there is too little to learn from.
    """
    progress, folder, cache = progress or Silent(), at.folder, at.cache
    with writing(folder, "learn"):
        with Index.open(at) as index:
            manifest = index.manifest
            learned = {name for name, spec in manifest.vectors.items() if spec.encoder == LEARNED}
            if not learned:
                raise EncoderError(f"{folder}: none of its encoders is learned, so there is nothing to learn again")
            if index.server and is_alias(index.server):
                raise StoreError(
                    f"{index.server.server}: the index goes by the alias «{manifest.collection}»; learn into a new "
                    f"folder with `rubrika ingest`, then `rubrika push --alias {manifest.collection}`"
                )
            products = StoredProducts.of(index, files)
            products.check()
            choice = Choice.of(manifest)
            encoders = prepare(products, None, choice, cache, progress, index.store)
            generation = manifest.generation + 1
            server = _fresh(index.server, collection_note(folder, generation), generation) if index.server else None
            fresh = lay_out(folder, choice, encoders, manifest.vote, server, generation)
            fresh = replace(fresh, search=manifest.search, calibration=manifest.calibration)
            store = open_store(source_of(fresh, at, os.environ), fresh.sizes, fresh.search)
            with Index(folder, fresh, store, cache, server) as target:
                _fill(index, target, products, learned, progress)
                target.store.optimise()
                target.store.flush()
                contents = replace(manifest.contents, products=target.store.count())
        replace(fresh, contents=contents).write(folder)
        for leftover in other_generations(folder, generation):
            shutil.rmtree(leftover, ignore_errors=True)
        if index.server:
            delete_store(index.server)
    return Relearned(len(products), len({category.id for _, category in products.known.values()}))


def _fill(source: Index, target: Index, products: StoredProducts, learned: set[str], progress: Progress) -> None:
    """Write every point anew: learned vectors made again, the others and the payload as they are stored."""
    sizes = {name: size for name, size in source.manifest.sizes.items() if name not in learned}
    hasher = Hasher.of(target.manifest)
    # With it, a later push sees that these are other points than those it may have moved before.
    now = datetime.now(UTC).isoformat(timespec="seconds")

    def made(text: str) -> Payload:
        return {"text_hash": hasher.text(text), INGESTED_AT: now}

    with progress.stage("writing products", len(products)) as advance:
        for batch in products:
            ids = [product.id for product in batch.products]
            given = stored_vectors(source.store, ids, sizes)
            encoded = target.encoders.encode(batch.products, None, given=given)
            known = source.store.fetch(ids)
            target.store.upsert(
                [
                    Point(id, encoded.of(row), known[id].payload | made(product.text))
                    for row, (id, product) in enumerate(zip(ids, batch.products, strict=True))
                ]
            )
            advance(len(ids))
            if target.server is None:
                check_room(target.folder)


def _fresh(server: Connection, note: Path, generation: int) -> Connection:
    """The collection of the next generation: called as the first one, and as nobody else's; its name is noted.

    The one that a run cut short had noted goes.
    """
    first = re.sub(r"-\d+-[0-9a-f]{8}$", "", server.collection)
    left = note.read_text(encoding="utf-8") if note.exists() else ""
    if re.fullmatch(rf"{re.escape(first)}-{generation}-[0-9a-f]{{8}}", left):
        delete_store(replace(server, collection=left))
    fresh = replace(server, collection=f"{first}-{generation}-{uuid4().hex[:8]}")
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(fresh.collection, encoding="utf-8")
    return fresh


# A vector's length may differ so much from 1.
TOLERANCE = 1e-3
_CATEGORY = {"category_id": int, "category": str, "category_path": str, "category_levels": list}


@dataclass
class Checked:
    """What was found.

    Args:
        products: how many were read.
        problems: what is wrong, and with how many products, or once with the index itself.
        damaged: the ids of products that have a problem.
    """

    products: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    damaged: set[int] = field(default_factory=set)

    def add(self, what: str, ids: Sequence[int]) -> None:
        """Note the same problem of several products."""
        if ids:
            self.problems[what] += len(ids)
            self.damaged.update(ids)


def check(index: Index) -> Checked:
    """Read every point, some thousands at a time."""
    found = Checked()
    for page in index.store.scroll(payload=True, vectors=True):
        found.products += len(page)
        for name, size in index.manifest.sizes.items():
            _check_vectors(found, page, name, size)
        _check_payloads(found, page)
    expected = index.manifest.contents.products
    if expected is None:
        found.problems["the last change of the index was interrupted; run it again"] += 1
    elif expected != found.products:
        found.problems[f"it held {expected:,} products when it was last changed, and holds {found.products:,}"] += 1
    return found


def _check_vectors(found: Checked, page: Sequence[Point], name: str, size: int) -> None:
    there = [point for point in page if name in point.vectors]
    if len(there) < len(page):
        lacking = (point for point in page if name not in point.vectors)
        found.add(f"without a vector {name}", [point.id for point in lacking if _needs(name, point.payload)])
    fitting = [point for point in there if point.vectors[name].shape == (size,)]
    found.add(
        f"with a vector {name} of another size", [point.id for point in there if point.vectors[name].shape != (size,)]
    )
    if fitting:
        rows = np.stack([point.vectors[name] for point in fitting])
        finite = np.asarray(np.isfinite(rows).all(axis=1))
        length = np.linalg.norm(np.where(finite[:, None], rows, 0), axis=1)
        found.add(f"with a vector {name} that is not finite", _ids(fitting, ~finite))
        found.add(
            f"with a vector {name} that is not of length 1", _ids(fitting, finite & (abs(length - 1) > TOLERANCE))
        )


def _needs(vector: str, payload: Payload) -> bool:
    """A product without a usable picture has no picture vector."""
    return vector != IMAGE or ("image_hash" in payload and "image_error" not in payload)


def _check_payloads(found: Checked, page: Sequence[Point]) -> None:
    found.add("without a category", [point.id for point in page if not _has_category(point.payload)])
    found.add("without the hash of its text", [point.id for point in page if "text_hash" not in point.payload])
    found.add("under the id of another", [point.id for point in page if point.payload.get("product_id") != point.id])


def _has_category(payload: Mapping[str, object]) -> bool:
    return all(isinstance(payload.get(key), kind) for key, kind in _CATEGORY.items())


def _ids(points: Sequence[Point], chosen: NDArray[np.bool_]) -> list[int]:
    return [point.id for point, it in zip(points, chosen, strict=True) if it]


# Of a point that is written anew these stay, where they are sound: the index may know better than an old file.
_CATEGORY_KEYS = ("category_id", "category_path")
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
    id, path = (known.get(key) for key in _CATEGORY_KEYS)
    sound = isinstance(id, int) and isinstance(path, str) and Category(id, path).levels
    return replace(product, category=Category(int(id), str(path))) if sound else product  # type: ignore[arg-type]


def _hash(point: Point) -> str | None:
    return point.payload.get("text_hash")


def _read(files: Sequence[Path]) -> Iterator[Batch]:
    yield from Reader(files, labelled=True) if files else ()
