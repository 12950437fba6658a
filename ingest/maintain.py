"""Changes an index as a whole: deletes products, and learns its encoders again."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from pathlib import Path

from rubrika.errors import EncoderError, InputError
from rubrika.files import check_room
from rubrika.index.categories import names_of, unique_labels
from rubrika.index.folder import LEARNED, Choice, Index, changing, lay_out, writing
from rubrika.index.location import Location, edge_folder, other_generations, source_of
from rubrika.index.manifest import Manifest
from rubrika.index.published import forget
from rubrika.index.versions import name_of, note_collection, numbered, settle
from rubrika.ingest.calibrate import calibrate, part_held_out
from rubrika.ingest.diff import GROUP, HELD_OUT, INGESTED_AT, Hasher, is_held_out, text_part
from rubrika.ingest.ingest import prepare
from rubrika.ingest.write import Counts, stored_vectors, timestamp
from rubrika.products.identity import MAX_ID
from rubrika.products.product import BATCH_ROWS, Batch, Category, Filtered, Product
from rubrika.products.reader import Reader
from rubrika.products.remote import is_there, located
from rubrika.progress import Progress, Silent
from rubrika.store.base import Point
from rubrika.store.open import delete_store, layout_of, open_store, stands_for

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
        fresh = replace(fresh, contents=contents)
        fresh.write(folder)
        # Publishes it, where it is to be, and gives it the name.
        settle(at, fresh, progress.note)
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
        self.files, self._hasher = sources_of(index, files)[::-1], Hasher(index.manifest)
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
            yield from picked(Reader(self.files, labelled=False, columns=self._columns), missing, self._labelled)
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


def picked(reader: Reader, missing: set[int], change: Callable[[Product], Product | None]) -> Iterator[Batch]:
    """The first row of every missing product that `change` makes a product; these are removed from `missing`."""
    for batch in reader:
        products = []
        for product in batch.products:
            if product.id in missing and (changed := change(product)):
                missing.remove(product.id)
                products.append(changed)
        if products:
            yield Batch(batch.file, products, [])


def sources_of(index: Index, files: Sequence[Path]) -> list[Path]:
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
