"""Corrects labels: of products, as a person does, and of whole categories; all is checked before anything changes."""

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rubrika.errors import InputError, ParameterError, RubrikaError
from rubrika.index.categories import Called, Names, names_of, read_labels, unique_labels, write_names
from rubrika.index.folder import Index, changing, writing
from rubrika.index.location import Location
from rubrika.index.manifest import Manifest
from rubrika.ingest.diff import LABELLED, by_person, is_by_person, with_category
from rubrika.ingest.naming import BATCH, differ, set_categories
from rubrika.ingest.write import Counts, timestamp
from rubrika.products.identity import identity, label_of, path_label
from rubrika.products.parquet import Row
from rubrika.products.product import SEPARATOR, Category
from rubrika.products.table import read_table
from rubrika.products.text import RowError
from rubrika.store.base import Payload, Point

LABELS, MOVES = ("product_id", "category_id"), ("from", "to")


@dataclass(frozen=True, slots=True)
class Relabelled(Counts):
    """What became of products, and how many of the categories to be moved are not known, and so have none."""

    relabelled: int = 0  # products that got another category, or their category another name
    verified: int = 0  # that had the right one, as a person found
    unchanged: int = 0  # that had it from a person before
    unknown: int = 0


def relabel(at: Location, source: int, target: int, path: str | None = None) -> Relabelled:
    """Move all products of one category to another one, or rename it, when `source` and `target` are the same id.

    `path` is the full path of the target; by default the one that the index has.
    """
    if path is None and source == target:
        raise RubrikaError(f"category {source} cannot move to itself; give a `path` to rename it")
    return move(at, {source: target}, path, strict=True)


def move(at: Location, moves: Mapping[int, int], path: str | None = None, strict: bool = False) -> Relabelled:
    """Move all products of categories to others, in one pass; categories that were left are known no longer.

    `path` as in `relabel`. `strict` refuses a category that is not known; else it may be, as in a repetition.
    """
    left = {source for source, target in moves.items() if source != target}
    if both := left & set(moves.values()):
        twice = f"category {min(both)} is to be left, and others are to move to it"
        raise InputError(f"{twice}; say of each where its products are to end, nothing was changed")
    with writing(at.folder, "relabel"):
        with Index.open(at) as index:
            names = names_of(index)
            unknown = moves.keys() - names.keys()
            # After an interrupted run no product may be left to move.
            if strict and unknown and index.manifest.contents.products is not None:
                what = f"no product is in category {min(unknown)}"
                raise RubrikaError(f"{at.folder}: {what}; see `rubrika categories` for what there is")
            targets = _targets(at.folder, moves.values(), names, path)

        def moved(point: Point) -> Category | None:
            id, name = (point.payload.get(key) for key in ("category_id", "category_path"))
            target = targets.get(moves.get(id, id)) if type(id) is int else None
            return target if target and (target.id, target.path) != (id, name) else None

        with changing(at) as index:
            after = _with(names, targets, left)
            relabelled = set_categories(index.store, after, moved)
            write_names(at.folder, after, {id: it.key for id, it in targets.items() if it.key})
    return Relabelled(relabelled, unknown=len(unknown))


def correct(at: Location, labels: Mapping[int, int | None], path: str | None = None, by: str = "") -> Relabelled:
    """Give products, by id, the categories that a person, `by`, says; None is the one that a product has.

    `path` names the category, all labels being of one, when it has no name yet.
    """
    wanted = {category for category in labels.values() if category is not None}
    if path is not None and len(wanted) != 1:
        raise ParameterError("`path` names one category; give it with labels of one category")
    ids, now, counts = list(labels), timestamp(), Counter[str]()
    batches = [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]
    with writing(at.folder, "relabel"):
        with Index.open(at) as index:
            names = names_of(index)
            targets = _targets(at.folder, wanted, names, path)
            for id, target in targets.items():
                if names.get(id, target.path) != target.path:
                    rename = f"rename it with `rubrika relabel --from {id} --to {id} --path`, or leave `path` out"
                    raise RubrikaError(f"{at.folder}: category {id} is called «{names[id]}»; {rename}")
            stored = {id for batch in batches for id in index.store.fetch(batch, payload=False)}
            if missing := [id for id in ids if id not in stored]:
                some = f"{len(missing):,} of the {len(labels):,} products, such as {missing[0]}, are not in the index"
                raise RubrikaError(f"{at.folder}: {some}; leave them out, nothing was changed")
        after = _with(names, targets)
        unique = unique_labels(after)
        with changing(at) as index:
            for batch in batches:
                payloads = dict[int, Payload]()
                for id, point in index.store.fetch(batch).items():
                    goal, same = labels[id], labels[id] in (None, point.payload.get("category_id"))
                    kind = "relabelled" if not same else "unchanged" if is_by_person(point.payload) else "verified"
                    counts[kind] += 1
                    if kind != "unchanged":
                        payload = point.payload if goal is None else with_category(point.payload, targets[goal], unique)
                        payloads[id] = payload | by_person(by, now)
                index.store.replace_payloads(payloads)
            if differ(names, after):
                set_categories(index.store, after)
            write_names(at.folder, after, {id: it.key for id, it in targets.items() if it.key})
    return Relabelled(**counts)


def restore(at: Location, before: Mapping[int, Payload]) -> None:
    """Give products back what their payloads said of their categories, and of who set them, before a correction."""
    with writing(at.folder, "relabel"):
        with Index.open(at) as index:
            names = names_of(index)
        # A category that was left since is known again.
        after = {it["category_id"]: it["category_path"] for it in before.values()} | names
        unique = unique_labels(after)
        with changing(at) as index:
            labels = {it["category_id"]: str(it.get("category_label") or "") for it in before.values()}
            payloads = dict[int, Payload]()
            for id, point in index.store.fetch(list(before)).items():
                payload = {key: value for key, value in point.payload.items() if key not in LABELLED}
                payload |= {key: before[id][key] for key in LABELLED if key in before[id]}
                # Names may have come since that make another label unique.
                payloads[id] = payload | {"label": unique[payload["category_id"]]}
            index.store.replace_payloads(payloads)
            if differ(names, after):
                set_categories(index.store, after)
            write_names(at.folder, after, {id: label for id, label in labels.items() if label})


def relabel_from(at: Location, file: Path, by: str = "") -> Relabelled:
    """Do what a table says: `correct` products, or `move` categories, by its columns."""
    columns, found = "", dict[int, int]()
    pair = partial(_pair, called=Called.of(at.folder, Manifest.read(at.folder).tables.separator))
    for number, (columns, key, category) in read_table(file, [LABELS, MOVES], pair):
        if found.setdefault(key, category) != category:
            twice = f"{columns} {key} was in an earlier row with {found[key]}, not {category}"
            raise InputError(f"{file} row {number}: {twice}; keep one of them, nothing was changed")
    return move(at, found) if columns == MOVES[0] else correct(at, dict(found), by=by)


def _pair(row: Row, called: Called) -> tuple[str, int, int]:
    """The name of the first column, and the two numbers of a row."""
    (name, key), (_, category) = row.items()
    first = identity(name, key)[0] if name == LABELS[0] else called.number(key)
    return name, first, called.number(category)


def _targets(folder: Path, ids: Iterable[int], names: Names, path: str | None) -> dict[int, Category]:
    """The categories of these ids, called `path` where one is given; RubrikaError when one has no name."""
    targets, labels = dict[int, Category](), read_labels(folder)
    separator = Manifest.read(folder).tables.separator or SEPARATOR
    for id in ids:
        if path is None and id not in names:
            advice = "give its `path`, or name it by `rubrika categories FILE`"
            raise RubrikaError(f"{folder}: category {id} is not known; {advice}")
        name = names[id] if path is None else path
        try:
            target = label_of(id, name)
            # A category that is called by its path has a number that follows from it.
            called = path_label(separator.join(part.strip() for part in target.path.split(SEPARATOR)), separator)
            targets[id] = replace(target, key=labels.get(id) or (called.key if called.id == id else ""))
        except RowError as error:
            example = "write a path such as «Все категории->Обувь»"
            raise RubrikaError(f"«{name}» names no category {id} ({error}); {example}") from None
    return targets


def _with(names: Names, targets: Mapping[int, Category], left: Set[int] = frozenset()) -> Names:
    """Names with those of the targets, and without those that were left."""
    named = names | {id: category.path for id, category in targets.items()}
    return {id: name for id, name in named.items() if id not in left}
