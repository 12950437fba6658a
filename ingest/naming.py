"""One id, one name: what the newest rows call each category, where that is not clear, and whom it renames."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from rubrika.errors import InputError
from rubrika.index.categories import (
    Labels,
    Names,
    known_in,
    most_frequent,
    names_of,
    read_names,
    unique_labels,
    write_names,
)
from rubrika.index.folder import Index, changing, writing
from rubrika.index.location import Location
from rubrika.index.manifest import Manifest
from rubrika.index.published import write_manifest
from rubrika.ingest.diff import with_category
from rubrika.products.columns import LABEL
from rubrika.products.frame import Frame
from rubrika.products.identity import category_of
from rubrika.products.parquet import Row
from rubrika.products.product import Category, Products, display_path
from rubrika.products.reader import Reader
from rubrika.products.table import read_table
from rubrika.progress import Progress, Silent
from rubrika.store.base import Payload, Point, Store

BATCH = 1_000
# One or two categories that get other names are no other numbering, even where they are all that both know.
MIN_RENAMED = 3
# So many conflicts are told.
SHOWN = 3


@dataclass(frozen=True, slots=True)
class NameConflict:
    """A category that rows call by several names, or by another than the index did."""

    category_id: int
    name: str  # what it is called now
    rows: dict[str, int]  # how many rows call it how, the most frequent name first
    before: str | None  # what the index called it, where that is another name

    def __str__(self) -> str:
        counts = [(name, f"{count:,} row{'s' * (count > 1)}") for name, count in self.rows.items()]
        called = ", ".join(f"«{name}» in {rows}" for name, rows in counts)
        return f"{self.category_id} is {called}" + (f", «{self.before}» before" if self.before else "")


@dataclass(frozen=True, slots=True)
class Naming:
    """What rows make of the names of categories."""

    names: Names  # of all categories, with those that were known before
    labels: Labels  # what the rows call those whose number is not their name
    added: int  # how many were not
    renamed: Names  # the new names of those that had another
    conflicts: tuple[NameConflict, ...]

    def note(self, source: object, progress: Progress) -> None:
        """Say where names are not clear."""
        if self.conflicts:
            first = "; ".join(map(str, self.conflicts[:SHOWN]))
            several = f"{len(self.conflicts):,} categories have several names, the first of each counts"
            progress.note(f"{source}: {several}: {first}{'; …' if len(self.conflicts) > SHOWN else ''}")


def labels_of(products: Products) -> Counter[Category]:
    """How many rows have each label, where that is known without reading all of them."""
    return products.labels() if isinstance(products, Reader | Frame) else Counter()


def files_in(products: Products) -> str:
    """The files of products, for a message."""
    first, *others = products.files or ("the products",)
    return f"{first} and {len(others):,} other files" if others else str(first)


def settle(
    known: Names, labels: Mapping[Category, int], source: object, strict: bool = False, rename: bool = False
) -> Naming:
    """Name categories as most rows do, ties by the text of the name, whatever the order of the rows.

    When most of the categories that both the index and the rows know change their names, the rows have another
    numbering: an InputError, unless they are to `rename`. So is, when `strict`, any name that is not clear.
    """
    rows = defaultdict[int, Counter[str]](Counter)
    for category, count in labels.items():
        rows[category.id][category.path] += count
    fresh = {id: most_frequent(rows[id]) for id in sorted(rows)}
    before = {id: known[id] for id in fresh if known.get(id, fresh[id]) != fresh[id]}
    shared, conflicts = len(fresh.keys() & known.keys()), list[NameConflict]()
    for id in fresh:
        if id in before or len(rows[id]) > 1:
            ranked = sorted(rows[id].items(), key=lambda item: (-item[1], item[0]))
            conflicts.append(NameConflict(id, fresh[id], dict(ranked), before.get(id)))
    if not rename and len(before) >= MIN_RENAMED and 2 * len(before) > shared:
        first = next(conflict for conflict in conflicts if conflict.before)
        changed = f"{len(before):,} of {shared:,} ids that the index knows have another name, such as {first}"
        advice = "nothing was changed; use `rename` if the names really changed"
        raise InputError(f"{source}: its category ids look like another numbering: {changed}; {advice}")
    for conflict in conflicts if strict else ():
        if len(conflict.rows) > 1 or not rename:
            allow = "`rename` if the name really changed" if len(conflict.rows) == 1 else "several names"
            raise InputError(f"{source}: category {conflict}; correct it, or allow {allow} (strict is on)")
    renamed = {id: fresh[id] for id in before}
    called = {category.id: category.key for category in labels if category.key}
    return Naming(dict(sorted((known | fresh).items())), called, len(fresh) - shared, renamed, tuple(conflicts))


def apply(index: Index, naming: Naming) -> None:
    """Rename stored products, then keep the names: what is killed in between can be done again."""
    known = read_names(index.folder)
    # Without the file, products may disagree on the name of a category.
    names = naming.names if known is None else naming.renamed

    def renamed(point: Point) -> Category | None:
        id, path = (point.payload.get(key) for key in ("category_id", "category_path"))
        return Category(id, names[id]) if type(id) is int and names.get(id, path) != path else None

    if names or differ(known, naming.names):
        set_categories(index.store, naming.names, renamed)
    write_names(index.folder, naming.names, naming.labels)


def differ(before: Names | None, after: Names) -> bool:
    """Whether a category that was known has another unique label by the names that there are now."""
    fresh, known = unique_labels(after), unique_labels(before or {})
    return any(fresh.get(id, label) != label for id, label in known.items())


def set_categories(
    store: Store, names: Names, category_of: Callable[[Point], Category | None] = lambda point: None
) -> int:
    """Give stored products other categories, in one pass, and return how many; None leaves one as it is.

    `names` are those of all categories then: a product whose unique label is another by them gets that.
    """
    labels, changed, stale = unique_labels(names), dict[int, Category](), dict[int, str]()
    for point in chain.from_iterable(store.scroll(payload=["category_id", "category_path", "label"])):
        id, label = point.payload.get("category_id"), point.payload.get("label")
        if category := category_of(point):
            changed[point.id] = category
        elif type(id) is int and labels.get(id, label) != label:
            stale[point.id] = labels[id]
    ids = [*changed, *stale]
    for start in range(0, len(ids), BATCH):
        payloads = dict[int, Payload]()
        for id, point in store.fetch(ids[start : start + BATCH]).items():
            if id in changed:
                payloads[id] = with_category(point.payload, changed[id], labels)
            else:
                payloads[id] = point.payload | {"label": stale[id]}
        store.replace_payloads(payloads)
    return len(changed)


@dataclass(frozen=True, slots=True)
class NamedCategory:
    """A category that an index knows, and how many products it has of it."""

    category_id: int
    category_name: str
    products: int


@dataclass(frozen=True, slots=True)
class Categories:
    """How many categories an index knows by name, and what a table of them has changed."""

    known: int
    added: int = 0
    renamed: int = 0
    name_conflicts: tuple[NameConflict, ...] = ()
    categories: Sequence[NamedCategory] | None = None  # all of them, by path; None when a table was read

    def to_dict(self) -> dict[str, object]:
        """As `rubrika categories --json` prints it."""
        found = asdict(self)
        if self.categories is None:
            del found["categories"]
        return found


def list_categories(index: Index) -> Categories:
    """All categories of an index, also those without a product."""
    names, counts = names_of(index), index.store.facet("category_id")
    ordered = sorted(names.items(), key=lambda item: (display_path(item[1]), item[0]))
    return Categories(len(names), categories=[NamedCategory(id, name, counts.get(id, 0)) for id, name in ordered])


def name_categories(at: Location, file: Path, rename: bool = False, progress: Progress | None = None) -> Categories:
    """Add the categories of a table of category_id and category_name, or of paths; those known are named anew.

    `rename` is as for `settle`.
    """
    separator, known = Manifest.read(at.folder).tables.separator, known_in(at.folder)

    def label(row: Row) -> Category:
        return category_of(list(row.values()), separator, known)

    labels = Counter(category for _, category in read_table(file, [LABEL, ["category"], LABEL[1:]], label))
    with writing(at.folder, "categories"):
        with Index.open(at) as index:
            naming = settle(names_of(index), labels, file, rename=rename)
        before = read_names(at.folder)
        if naming.renamed or before is None or differ(before, naming.names):
            with changing(at) as index:
                apply(index, naming)
        else:
            write_names(at.folder, naming.names, naming.labels)
            # Where the index is published, its server has the names too.
            write_manifest(at, Manifest.read(at.folder))
    naming.note(file, progress or Silent())
    return Categories(len(naming.names), naming.added, len(naming.renamed), naming.conflicts)
