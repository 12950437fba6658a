"""Checks an index against itself and the files it came from, and repairs what is damaged."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from rubrika.errors import IndexFolderError, InputError, RubrikaError
from rubrika.index.categories import Labels, Names, names_of, read_names, unique_labels
from rubrika.index.folder import Index, changing, has_index, writing
from rubrika.index.location import Location, store_location
from rubrika.index.manifest import IMAGE, Manifest
from rubrika.index.versions import settle, unsettled
from rubrika.ingest.diff import BY_PERSON, LASTING, Hasher
from rubrika.ingest.maintain import picked, sources_of
from rubrika.ingest.naming import set_categories
from rubrika.ingest.write import Writer
from rubrika.products.identity import identity
from rubrika.products.images import PictureFolder
from rubrika.products.product import Category, Product
from rubrika.products.reader import Reader
from rubrika.products.text import RowError
from rubrika.store.base import Payload, Point
from rubrika.store.connection import Connection
from rubrika.store.open import StoreLocation

if TYPE_CHECKING:
    from rubrika.store.look import Look

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
                    repaired = _repair(index, sources_of(index, files), pictures, result.damaged)
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
        for batch in Reader(sources_of(index, files), labelled=True, columns=index.manifest.tables.as_columns()):
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
        for batch in picked(reader, missing, partial(whole, same_text=same_text)):
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
