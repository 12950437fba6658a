"""Keeps an index in order: delete, learn again, check and repair."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from rubrika.errors import EncoderError, IndexFolderError, InputError, RubrikaError
from rubrika.files import check_room
from rubrika.index.categories import Labels, Names, names_of, read_names, unique_labels
from rubrika.index.folder import LEARNED, Choice, Index, changing, has_index, lay_out, writing
from rubrika.index.location import Location, edge_folder, other_generations, source_of, store_location
from rubrika.index.manifest import IMAGE, Manifest
from rubrika.index.published import forget, write_manifest
from rubrika.index.versions import name_of, note_collection, numbered, settle, unsettled
from rubrika.ingest.calibrate import calibrate, part_held_out
from rubrika.ingest.diff import BY_PERSON, GROUP, HELD_OUT, INGESTED_AT, LASTING, Hasher, is_held_out, text_part
from rubrika.ingest.ingest import prepare
from rubrika.ingest.naming import set_categories
from rubrika.ingest.write import Counts, Writer, stored_vectors, timestamp
from rubrika.products.identity import MAX_ID, identity
from rubrika.products.images import PictureFolder
from rubrika.products.product import BATCH_ROWS, Batch, Category, Filtered, Product
from rubrika.products.reader import Reader
from rubrika.products.remote import is_there, located
from rubrika.products.text import RowError
from rubrika.progress import Progress, Silent
from rubrika.store.base import Payload, Point
from rubrika.store.connection import Connection
from rubrika.store.open import StoreLocation, delete_store, layout_of, open_store, stands_for

if TYPE_CHECKING:
    from rubrika.store.look import Look

BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Deleted(Counts):
    """How many products were deleted, and how many ids were not in the index."""

    deleted: int
    unknown: int


def delete(at: Location, ids: Iterable[int]) -> Deleted:
    """Delete products; an id that is not stored is no error."""
    ids, deleted = list(dict.fromkeys(ids)), 0
    if invalid := [id for id in ids if not 0 <= id <= MAX_ID]:
        raise InputError(f"{invalid[0]} is not a product_id, which is a whole number from 0 to {MAX_ID}")
    with writing(at.folder, "delete"), changing(at) as index:
        for start in range(0, len(ids), BATCH):
            stored = list(index.store.fetch(ids[start : start + BATCH], payload=False))
            index.store.delete(stored)
            deleted += len(stored)
    return Deleted(deleted, len(ids) - deleted)


@dataclass(frozen=True, slots=True)
class Relearned(Counts):
    """From how many products of how many categories the encoder learned."""

    products: int
    categories: int


def relearn(at: Location, files: Sequence[Path] = (), progress: Progress | None = None) -> Relearned:
    """Learn the encoders again; until the last moment the index stays as it was, also when the run is cut short.

    The files have the texts that an earlier version did not store, the latest last; by default those ingested.
    """
    progress, folder = progress or Silent(), at.folder
    with writing(folder, "learn"):
        settle(at, Manifest.read(folder), progress.note)
        with Index.open(at) as index:
            manifest = index.manifest
            learned = {name for name, spec in manifest.vectors.items() if spec.encoder == LEARNED}
            if not learned:
                raise EncoderError(f"{folder}: none of its encoders is learned, so there is nothing to learn again")
            products = StoredProducts(index, files)
            products.check()
            choice = Choice.of(manifest)
            part = part_held_out(len(products), choice.learns)
            learned_from = Filtered(products, lambda product: not is_held_out(product, part))
            encoders = prepare(learned_from, None, choice, at.cache, progress, index.store)
            generation, server, name = manifest.generation + 1, index.server, None
            if server:
                name = name_of(manifest, server)
                server = numbered(replace(server, collection=name), folder, generation)
            layout = layout_of(index.store)
            fresh = lay_out(folder, choice, encoders, manifest.vote, server, generation, layout)
            fresh = fresh.at(server or edge_folder(folder, generation), manifest.search, name=name)
            before = stands_for(index.server) or index.server.collection if index.server else None
            fresh = replace(fresh, held_out=part, tables=manifest.tables)
            if manifest.published:
                # The encoder before stays, to go back to.
                fresh = replace(fresh, published=True, previous=before)
            store = open_store(source_of(fresh, at, os.environ), fresh.sizes, fresh.search)
            with Index(folder, fresh, store, at.cache, server) as target:
                _rewrite(index, target, products, learned, progress)
                target.store.optimise()
                target.store.flush()
                contents = replace(manifest.contents, products=target.store.count())
                fresh = replace(calibrate(target, products, progress), recall=target.store.recall)
        if before:
            note_collection(folder, manifest, before)
        write_manifest(at, replace(fresh, contents=contents))
        settle(at, Manifest.read(folder), progress.note)
        if manifest.previous and server:
            forget(replace(server, collection=manifest.previous, fixed=True))
            delete_store(replace(server, collection=manifest.previous, fixed=True))
        for leftover in other_generations(folder, generation):
            delete_store(leftover)
    return Relearned(len(products), len({category.id for _, category, _ in products.known.values()}))


class StoredProducts:
    """The products of an index, with their categories there.

    Their texts are there too, but for those that an earlier version wrote: these are in files, the latest first.
    """

    def __init__(self, index: Index, files: Sequence[Path]) -> None:
        self.files, self._hasher = _sources(index, files)[::-1], Hasher(index.manifest)
        self._columns, self._store = index.manifest.tables.as_columns(), index.store
        # By id, the hash of the text, the category, and the group; and those whose text is not stored.
        self.known, self._elsewhere = dict[int, tuple[str, Category, str]](), set[int]()
        category = cache(Category)  # so that products of one category share it
        keys = ["title", "text", "text_hash", "category_id", "category_path", GROUP]
        for point in chain.from_iterable(index.store.scroll(payload=keys)):
            stored = category(point.category_id, point.text("category_path"))
            self.known[point.id] = point.text("text_hash"), stored, str(point.payload.get(GROUP) or "")
            if self._labelled(_product(point)) is None:
                self._elsewhere.add(point.id)

    def __len__(self) -> int:
        """How many products there are."""
        return len(self.known)

    def __iter__(self) -> Iterator[Batch]:
        """Yield each product once, from the index, or from the latest file that has the text that was stored."""
        for page in self._store.scroll(payload=["title", "text"]):
            there = (_product(point) for point in page if point.id in self.known and point.id not in self._elsewhere)
            products = [product for product in map(self._labelled, there) if product]
            for start in range(0, len(products), BATCH_ROWS):
                yield Batch(Path(), products[start : start + BATCH_ROWS], [])
        missing = set(self._elsewhere)
        if missing:
            yield from _pick(Reader(self.files, labelled=False, columns=self._columns), missing, self._labelled)
        if missing:
            names = ", ".join(map(str, self.files)) or "it remembers"
            some = f"{len(missing):,} products of the index, such as {min(missing)},"
            raise InputError(f"{some} are in none of the files {names}; name files that have them, or delete them")

    def check(self) -> None:
        """Read everything once, so that a missing product is known before any work is done."""
        for _ in self:
            pass

    def _labelled(self, product: Product) -> Product | None:
        """The product with its category; None when its text is not the one that was stored."""
        text_hash, category, group = self.known[product.id]
        return (
            replace(product, category=category, group=group) if self._hasher.text(product.text) == text_hash else None
        )


def _product(point: Point) -> Product:
    """A stored product, as far as its text goes; a text that is no more than the title is not stored."""
    title = point.text("title")
    return Product(point.id, title, str(point.payload.get("text", title)), 0)


def _pick(reader: Reader, missing: set[int], change: Callable[[Product], Product | None]) -> Iterator[Batch]:
    """The first row of every missing product that `change` makes a product; these are removed from `missing`."""
    for batch in reader:
        products = []
        for product in batch.products:
            if product.id in missing and (changed := change(product)):
                missing.remove(product.id)
                products.append(changed)
        if products:
            yield Batch(batch.file, products, [])


def _sources(index: Index, files: Sequence[Path]) -> list[Path]:
    """These files or, if there are none, those that were ingested and still exist; the latest last."""
    return list(files) or [path for path in map(located, index.manifest.contents.sources) if is_there(path)]


def _rewrite(source: Index, target: Index, products: StoredProducts, learned: set[str], progress: Progress) -> None:
    """Write every point anew: learned vectors encoded again, the others and the payload as they are stored."""
    sizes = {name: size for name, size in source.manifest.sizes.items() if name not in learned}
    # The new time tells a later push that these are other points than those it may have moved before.
    hasher, now, labels = Hasher(target.manifest), timestamp(), unique_labels(names_of(source))
    with progress.stage("writing products", len(products)) as advance:
        for batch in products:
            ids = [product.id for product in batch.products]
            encoded = target.encoders.encode(batch.products, None, given=stored_vectors(source.store, ids, sizes))
            stored, points = source.store.fetch(ids), list[Point]()
            for row, product in enumerate(batch.products):
                # Where others write too, it may be gone by now.
                if product.id not in stored:
                    continue
                payload = stored[product.id].payload | {"text_hash": hasher.text(product.text), INGESTED_AT: now}
                # An earlier version kept neither texts nor labels.
                payload |= text_part(product)
                category = payload["category_id"]
                payload |= {"label": labels[category]} if category in labels else {}
                payload.pop(HELD_OUT, None)
                payload |= {HELD_OUT: True} if is_held_out(product, target.manifest.held_out or 0) else {}
                points.append(Point(product.id, encoded.of(row), payload))
            target.store.upsert(points)
            advance(len(ids))
            if target.server is None:
                check_room(target.folder)


# How far the length of a vector may be from 1.
TOLERANCE = 1e-3
# What no file says of a product, and a repair takes from its payload.
_ELSEWHERE = ("image_url", *LASTING)
_STALE = "with another label than its category has now"
_CATEGORY = {"category_id": int, "category": str, "category_path": str, "category_levels": list}


@dataclass
class Checked:
    """The result of a check."""

    products: int = 0  # how many were read
    problems: Counter[str] = field(default_factory=Counter)  # with how many products, or once with the index itself
    damaged: set[int] = field(default_factory=set)  # the ids of products that have a problem
    repaired: int = 0  # how many products were written anew
    others: int = 0  # how many more products a collection has than this folder knows of
    server: "Look | None" = None  # what there is to say of the server, if it was looked at

    @property
    def examples(self) -> list[int]:
        """The first ten damaged products."""
        return sorted(self.damaged)[:10]

    def to_dict(self) -> dict[str, object]:
        """As `rubrika check --json` prints it."""
        problems = dict(sorted(self.problems.items()))
        found = {"products": self.products, "problems": problems, "examples": self.examples, "repaired": self.repaired}
        others = {"others": self.others} if self.others else {}
        return found | others | ({"server": self.server.to_dict()} if self.server else {})


def check(
    at: Location, files: Sequence[Path] = (), pictures: PictureFolder | None = None, repair: bool = False
) -> Checked:
    """Read the whole index, compare it with its files, and say what is wrong; a failure is one of the problems.

    The files have labelled products, the latest last; by default those that were ingested. With `repair`, damaged
    products are written anew from them and the pictures. A server that `at` names is looked at too; alone, and its
    failure raised, where the index is not there.
    """
    repaired, server = 0, None
    if at.server and not files and not repair and not _is_there(at):
        server = _look(at.server)
        return Checked(problems=Counter(server.faults), server=server)
    try:
        if unsettled(at.folder, manifest := Manifest.read(at.folder)):
            # A `learn` that is at work has not left it.
            with suppress(IndexFolderError), writing(at.folder, "check"):
                settle(at, manifest)
        server = _look(cast("Connection", _place(at))) if at.server else None
        result = _inspect(at, files)
        if repair and (result.damaged or result.problems[_STALE]):
            # A damaged index is no authority on how many products there should be.
            with writing(at.folder, "check --repair"), changing(at, recount=False) as index:
                if result.damaged:
                    repaired = _repair(index, _sources(index, files), pictures, result.damaged)
                if stale := result.problems[_STALE]:
                    set_categories(index.store, names_of(index))
                    repaired += stale
            result = _inspect(at, files)
    except RubrikaError as error:
        result = Checked(problems=Counter([str(error)]))
    result.problems.update(server.faults if server else ())
    return replace(result, repaired=repaired, server=server)


def _place(at: Location) -> StoreLocation:
    return store_location(Manifest.read(at.folder), at, os.environ)


def _is_there(at: Location) -> bool:
    """Whether there is an index, on the server that `at` names."""
    return has_index(at.folder) and Manifest.read(at.folder).is_in(_place(at))


def _look(server: Connection) -> "Look":
    from rubrika.store.look import look_at

    return look_at(server)


def _inspect(at: Location, files: Sequence[Path]) -> Checked:
    result, hashes = Checked(), dict[int, object]()
    with Index.open(at) as index:
        names = read_names(at.folder) or {}
        labels = unique_labels(names)
        for point in chain.from_iterable(index.store.scroll(payload=True, vectors=True)):
            hashes[point.id] = point.payload.get("text_hash")
            if _has_stale_label(point, labels):
                # Nothing needs to be encoded to correct it.
                result.problems[_STALE] += 1
            if problems := [*_vector_problems(point, index.manifest.sizes), *_payload_problems(point, names)]:
                result.problems.update(problems)
                result.damaged.add(point.id)
        result.products = len(hashes)
        _compare_counts(index, result)
        hasher, equal = Hasher(index.manifest), dict[int, bool]()
        for batch in Reader(_sources(index, files), labelled=True, columns=index.manifest.tables.as_columns()):
            for product in batch.products:
                if product.id in hashes and not equal.get(product.id):
                    equal[product.id] = hashes[product.id] == hasher.text(product.text)
    if different := [id for id, same in equal.items() if not same]:
        result.problems["with another text than in the files it came from"] = len(different)
        result.damaged.update(different)
    return result


def _compare_counts(index: Index, result: Checked) -> None:
    """Note what is wrong with how many products there are."""
    expected = index.manifest.contents.products
    if expected is None:
        result.problems["the last change of the index was interrupted; run it again"] += 1
    elif index.server and expected < result.products:
        # Another folder may share the collection: its products are no fault of this one.
        result.others = result.products - expected
    elif expected != result.products:
        held = f"it held {expected:,} products when it was last changed"
        result.problems[f"{held}, and holds {result.products:,}"] += 1


def _vector_problems(point: Point, sizes: Mapping[str, int]) -> Iterator[str]:
    for name, size in sizes.items():
        vector = point.vectors.get(name)
        if vector is None:
            # A product without a usable picture has no picture vector.
            if name != IMAGE or ("image_hash" in point.payload and "image_error" not in point.payload):
                yield f"without a vector {name}"
        elif vector.shape != (size,):
            yield f"with a vector {name} of another size"
        elif not np.isfinite(vector).all():
            yield f"with a vector {name} that is not finite"
        elif abs(np.linalg.norm(vector) - 1) > TOLERANCE:
            yield f"with a vector {name} that is not of length 1"


def _payload_problems(point: Point, names: Names) -> Iterator[str]:
    payload = point.payload
    if not all(isinstance(payload.get(key), kind) for key, kind in _CATEGORY.items()):
        yield "without a category"
    elif names.get(payload["category_id"], payload["category_path"]) != payload["category_path"]:
        yield "with another name of its category than the index has"
    if "text_hash" not in payload:
        yield "without the hash of its text"
    with suppress(RowError):
        if identity("product_id", payload.get("product_id"))[0] == point.id:
            return
    yield "under the id of another"


def _has_stale_label(point: Point, labels: Labels) -> bool:
    """Whether its label is not that of its category; products of an earlier version have none at all."""
    id, label = point.payload.get("category_id"), point.payload.get("label")
    return label is not None and type(id) is int and labels.get(id, label) != label


def _repair(index: Index, files: Sequence[Path], pictures: PictureFolder | None, ids: set[int]) -> int:
    """Write products anew from their files, and return how many of them the files have."""
    stored = {id: point.payload for id, point in index.store.fetch(sorted(ids)).items()}
    hasher, missing, columns = Hasher(index.manifest), set(ids), index.manifest.tables.as_columns()
    reader = Reader(files[::-1], labelled=True, columns=columns)
    pictures = pictures or (PictureFolder(None) if reader.pictured else None)
    if pictures is None and any("image_hash" in payload for payload in stored.values()):
        raise InputError(f"{index.folder}: damaged products have pictures; name the folder of images to repair them")

    def whole(product: Product, same_text: bool) -> Product | None:
        payload = stored.get(product.id, {})
        if same_text and payload.get("text_hash") != hasher.text(product.text):
            return None
        # A sound category stays: the index may know better than an old file.
        id, path = payload.get("category_id"), payload.get("category_path")
        if isinstance(id, int) and isinstance(path, str) and Category(id, path).levels:
            label = str(payload.get("category_label") or "")
            return replace(product, category=Category(id, path, label), by_person=False)
        return product

    writer = Writer(index, pictures, overwrite=True, names=names_of(index))
    # Rows with the text that is stored, then the latest rows of the products that are in none of them.
    for same_text in (True, False):
        for batch in _pick(reader, missing, partial(whole, same_text=same_text)):
            writer.write(batch)
    # Neither the address of a picture nor who set a category is in a file.
    payloads = dict[int, Payload]()
    for id, point in index.store.fetch(list(stored)).items():
        # A person has not set the category of a file.
        same = stored[id].get("category_id") == point.payload.get("category_id")
        lasting = {key for key in _ELSEWHERE if key in stored[id] and (same or key not in BY_PERSON)}
        payloads |= {id: point.payload | {key: stored[id][key] for key in lasting}} if lasting else {}
    index.store.replace_payloads(payloads)
    index.store.optimise()
    return writer.report.added
