"""Makes decisions count: corrections of stored products, new labelled products, and what was taken back."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from typing import Any

from rubrika.api import Index
from rubrika.errors import IndexFolderError, ParameterError, RubrikaError, StoreError
from rubrika.index.categories import names_of, read_labels
from rubrika.index.folder import Index as Opened
from rubrika.ingest.diff import LABELLED
from rubrika.ingest.relabel import restore
from rubrika.inputs import category_id_of
from rubrika.products.identity import Known, label_of, path_label
from rubrika.products.product import SEPARATOR, Category, Kept, Product
from rubrika.products.text import RowError
from rubrika.serve.reviews import APPLYING, DONE, RIGHT, SAVED, UNDOING, UNDONE, Decision, Item, Reviews

BATCH = 1_000
NEW_ID = -1  # of a category that has none yet
IMAGE = "image"
# What is decided anew, or is not for others.
_LEFT_OUT = {"row", "category", "by_person", IMAGE}
Picture = Callable[[Item], bytes | None]


def content_of(product: Product) -> dict[str, Any]:
    """A product as plain values, without its label; of its picture the name of the file alone."""
    content = {name: value for name, value in asdict(product).items() if name not in _LEFT_OUT}
    return content | ({IMAGE: product.image} if isinstance(product.image, str) and product.image else {})


def product_of(item: Item, picture: bytes | None = None) -> Product:
    """The product of an item that has its content."""
    known = {each.name for each in fields(Product)} - _LEFT_OUT
    content = {name: value for name, value in (item.content or {}).items() if name in known}
    return Product(**content, row=0, image=picture or "")


def settle(index: Index, reviews: Reviews, picture: Picture) -> None:
    """Bring the index to what was decided; StoreError or IndexFolderError: not now, and nothing is lost."""
    # Most often there is nothing, and then nobody has to be waited for.
    if any(reviews.pending(state, 1) for state in (UNDOING, APPLYING, SAVED)):
        with reviews.settling():
            _settle(index, reviews, picture)


def _settle(index: Index, reviews: Reviews, picture: Picture) -> None:
    while undoing := reviews.pending(UNDOING, BATCH):
        _take_back(index, undoing)
        reviews.mark(UNDOING, {each.id: UNDONE for each in undoing})
    while True:
        # What a killed process had begun comes first.
        batch = reviews.pending(APPLYING, BATCH)
        if not batch:
            saved = reviews.pending(SAVED, BATCH)
            if not saved:
                return
            points = index.opened().store.fetch([int(each.number) for each in saved])
            before = {
                each.id: {key: points[id].payload[key] for key in LABELLED if key in points[id].payload}
                for each in saved
                if (id := int(each.number)) in points
            }
            changes = {each.id: APPLYING for each in saved}
            reviews.mark(SAVED, changes, {id: before.get(id, {}) for id in changes})
            batch = reviews.pending(APPLYING, BATCH)
        _apply(index, reviews, batch, picture)
        reviews.mark(APPLYING, {each.id: DONE for each in batch})


def _take_back(index: Index, decisions: Sequence[Decision]) -> None:
    """Give stored products their labels back, and delete those that came by the decision."""
    # Of several decisions on a product, the first, which comes last, says what was there before all of them.
    before = {int(each.number): each.before or {} for each in decisions}
    if come := [id for id, said in before.items() if not said]:
        index.delete(come)
    if changed := {id: said for id, said in before.items() if said}:
        index.close()
        restore(index.at, changed)


def _apply(index: Index, reviews: Reviews, decisions: Sequence[Decision], picture: Picture) -> None:
    """Make decisions, all of a kind at once; where one cannot be, each by itself, so that the others count."""
    stored = index.opened().store.fetch([int(each.number) for each in decisions], payload=False)
    kinds = defaultdict[tuple[bool, str, str], list[Decision]](list)
    for each in decisions:
        named = each.category if each.action != RIGHT and each.category_id is None else ""
        kinds[int(each.number) in stored, each.by, named].append(each)
    for (is_stored, *_), group in kinds.items():
        _try(partial(_correct if is_stored else _add, index, reviews, picture=picture), group, reviews)


def _try(work: Callable[[Sequence[Decision]], None], group: Sequence[Decision], reviews: Reviews) -> None:
    try:
        work(group)
    except (IndexFolderError, StoreError):
        raise
    except RubrikaError as error:
        if len(group) == 1:
            reviews.fail(group[0], str(error))
            return
        for one in group:
            _try(work, [one], reviews)


def _correct(index: Index, reviews: Reviews, group: Sequence[Decision], picture: Picture) -> None:
    first = group[0]
    if first.action != RIGHT and first.category_id is None:
        category = category_named(index.opened(), first.category)
        path = category.path if category.id not in names_of(index.opened()) else None
        index.correct({each.product_id: category.key or category.id for each in group}, path, by=first.by)
    else:
        wanted = {each.product_id: None if each.action == RIGHT else each.category_id for each in group}
        index.correct(wanted, by=first.by)


def _add(index: Index, reviews: Reviews, group: Sequence[Decision], picture: Picture) -> None:
    """Put products that were not stored into the index, with their labels."""
    products = list[Product]()
    for each in group:
        item = reviews.item(each.number)
        if item is None or item.content is None or each.action == RIGHT:
            raise ParameterError(f"product {each.product_id} is not in the index any more")
        category = _category(index.opened(), each)
        products.append(replace(product_of(item, picture(item)), category=category))
    report = index.ingest(Kept(products), verified=True, by=group[0].by)
    if report.rejects:
        raise ParameterError(report.rejects[0].reason)


def _category(index: Opened, decision: Decision) -> Category:
    if decision.category_id is None:
        return category_named(index, decision.category)
    number = category_id_of("category_id", decision.category_id, index.folder)
    return Category(number, names_of(index).get(number, decision.category), read_labels(index.folder).get(number, ""))


def category_named(index: Opened, path: str) -> Category:
    """The category of a path, the one that the index has or a new one; its number is the next, or that of the path."""
    names, labels = names_of(index), read_labels(index.folder)
    try:
        wanted = Category(NEW_ID, label_of(0, path).path)
        known = Known.of(Category(id, name, labels.get(id, "")) for id, name in names.items()).find(wanted)
    except RowError as error:
        raise ParameterError(f"«{path}» names no category ({error})") from None
    if known is not wanted:
        return known
    if labels:
        separator = index.manifest.tables.separator or SEPARATOR
        return path_label(separator.join(part.strip() for part in path.split(SEPARATOR)), separator)
    return replace(wanted, id=max(names, default=0) + 1)
