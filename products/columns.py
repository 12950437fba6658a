"""Which column of a table holds what of a product: by the names of docs/data.md, or as the user says."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from rubrika.errors import InputError, ParameterError
from rubrika.products.identity import Known
from rubrika.products.text import first_line

LABEL = ("category_id", "category_name")
OPTIONAL = ("shop_id", "shop_title", "rating", "sale")
# Who set the label: PERSON, or anything else.
LABEL_SOURCE, PERSON = "label_source", "person"
# The parts of a product that a text_fields dictionary has, which may be columns too.
PARTS = ("description", "attributes", "custom_characteristics", "defined_characteristics", "filters")

Kind = Literal["number", "text", "nested", "bytes", "other", "anything"]
_ID = ("number", "text", "bytes", "anything")
# What a column may hold, by what it is for; the others are taken as they come.
_ALLOWED: Mapping[str, tuple[tuple[str, ...], str]] = {
    "product_id": (_ID, "an id"),
    "text_fields": (("text", "nested", "bytes", "anything"), "text"),
    "title": (("text", "number", "bytes", "anything"), "text"),
    "category_id": (_ID, "an id"),
    "category_name": (("text", "bytes", "anything"), "text"),
    "category": (_ID, "text"),
    "image": (("text", "nested", "bytes", "anything"), "a file name or a picture"),
}
# What a user may say for a name of docs/data.md; `text` may be said of several columns.
_SHORT = {"id": "product_id", "fields": "text_fields"}
TEXT = "text"
NAMES = ("product_id", "text_fields", "title", *PARTS, TEXT, *LABEL, "category", "image", *OPTIONAL, LABEL_SOURCE)
# How such columns are called elsewhere, to be proposed; the likeliest first.
_GUESSES: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "sku", "item_id", "uniq_id", "offer_id", "asin", "code", "артикул", "productid", "uid", "uuid"),
    "title": ("title", "name", "product_name", "product_title", "item_name", "productdisplayname", "название",
              "наименование"),
    "description": ("description", "descr", "desc", "details", "описание"),
    "category": ("category", "category_path", "cat", "label", "product_category", "product_category_tree",
                 "product_type", "class", "категория", "рубрика"),
    "image": ("image", "img", "image_path", "img_path", "picture", "photo", "filename"),
}  # fmt: skip


_MAY_BE = {"product_id": ("id",), "text_fields": ("title", "description"), "category": ("category",)}


class ColumnType(NamedTuple):
    """The type of a column: what it is called, what it holds, and up to where its fractions are whole numbers."""

    type: object
    kind: Kind
    exact: float = 2**53


@dataclass(frozen=True)
class Columns:
    """How the user's tables differ from docs/data.md: columns by what they hold, and what separates a path's levels."""

    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    separator: str | None = None  # None: guessed
    # The same of tables read before, which count where this one has such columns.
    remembered: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    known: Known | None = field(default=None, repr=False)  # the categories of the index that the rows are for

    @classmethod
    def of(
        cls, names: str | Mapping[str, str | Sequence[str]] | None = None, separator: str | None = None
    ) -> "Columns":
        """From `id=sku,title=name,text=brand,text=colour` or the same as a dictionary.

        >>> Columns.of("id=sku,text=brand,text=colour").names
        {'product_id': ('sku',), 'text': ('brand', 'colour')}
        """
        found: dict[str, tuple[str, ...]] = {}
        for name, column in _pairs(names or {}):
            name = _SHORT.get(name, name)
            if name not in NAMES:
                known = ", ".join(dict.fromkeys([*_SHORT, *NAMES]))
                raise ParameterError(f"`columns` knows no {first_line(name) or 'empty name'}; it is one of {known}")
            if not column or (name in found and name != TEXT):
                raise ParameterError(f"`columns` has {name} {'twice' if column else 'without a column'}")
            found[name] = (*found.get(name, ()), column)
        if separator is not None and not separator.strip():
            raise ParameterError("`path_separator` is what stands between the levels of a path, as >, and not empty")
        return cls(found, separator)

    def after(self, earlier: "Columns") -> "Columns":
        """These, with those of tables read earlier where these say nothing."""
        remembered = {**earlier.remembered, **earlier.names, **self.remembered}
        return replace(self, separator=self.separator or earlier.separator, remembered=remembered)

    def layout(
        self,
        source: Path,
        names: Sequence[str],
        type_of: Callable[[str], ColumnType],
        labelled: bool,
        group_by: str | None,
    ) -> "Layout":
        """The columns of one table; InputError when one is missing, there twice, or cannot hold what it should."""
        unused = () if labelled else (*LABEL, "category", LABEL_SOURCE)
        recalled = {name: columns for name, columns in self.remembered.items() if set(columns) <= set(names)}
        said = recalled | dict(self.names)
        given = {name: columns[0] for name, columns in said.items() if name != TEXT and name not in unused}
        texts = said.get(TEXT, ())
        if gone := [name for name in (*given.values(), *texts, *filter(None, [group_by])) if name not in names]:
            raise _missing(source, gone, names, ())
        at = {name: column for name, column in _chosen(names, given).items() if name not in unused}
        lacking = [
            *(["product_id"] if "product_id" not in at else []),
            *(["text_fields"] if not at.keys() & {"text_fields", "title"} else []),
            *(["category"] if labelled and not at.keys() & {"category", *LABEL} else []),
        ]
        if lacking:
            raise _missing(source, lacking, names, lacking)
        return Layout(source, at, texts, group_by, self.separator, known=self.known).checked(names, type_of)


def _chosen(names: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """The columns of a table by what they hold, as far as they are wanted: of two that say the same, one."""
    at = {name: name for name in NAMES if name in names and name != TEXT} | dict(given)
    # A title that is named outdoes a dictionary that is merely there.
    is_plain = "title" in given and "text_fields" not in given
    drop = {"text_fields"} if is_plain or "text_fields" not in at else {"title", *PARTS}
    if "category" in given or not at.keys() >= set(LABEL):
        # An id alone is a label, and a path alone is one too.
        at |= next(({"category": at[name]} for name in ("category", *LABEL[::-1]) if name in at), {})
        drop |= set(LABEL)
    else:
        drop |= {"category"}
    return {name: column for name, column in at.items() if name not in drop}


@dataclass(frozen=True)
class Layout:
    """The columns of one table by what they hold, by the names of docs/data.md; those it lacks are not in `at`."""

    source: Path
    at: Mapping[str, str]
    texts: tuple[str, ...] = ()  # columns whose texts belong to the product's, each called as its column
    group: str | None = None
    separator: str | None = None
    exact: Mapping[str, float] = field(default_factory=dict)  # by column: the largest whole number that is not rounded
    pictured: bool = False  # whether the rows hold pictures, not their names
    known: Known | None = field(default=None, repr=False)  # as of `Columns`

    def checked(self, names: Sequence[str], type_of: Callable[[str], ColumnType]) -> "Layout":
        """The same with what the types of its columns tell; `names` are all that the table has."""
        exact, pictured = dict[str, float](), False
        for name, column in ((name, column) for name, columns in self.named for column in columns):
            if (count := times(column, names)) > 1:
                raise InputError(f"{self.source}: {count} columns are called {column}; keep one")
            found, (allowed, needed) = type_of(column), _ALLOWED.get(name, ((), ""))
            exact[column], pictured = found.exact, pictured or (name == "image" and found.kind in ("nested", "bytes"))
            if allowed and found.kind not in allowed:
                shown = first_line(str(found.type))
                raise InputError(f"{self.source}: column {column} is {shown}, not {needed}; convert it first")
        return replace(self, exact=exact, pictured=pictured)

    @property
    def named(self) -> list[tuple[str, tuple[str, ...]]]:
        """All columns by what they hold, those of texts and the group too."""
        several = [(TEXT, self.texts), ("group", (self.group,) if self.group else ())]
        return [*((name, (column,)) for name, column in self.at.items()), *several]

    @property
    def columns(self) -> list[str]:
        """The columns to read."""
        return list(dict.fromkeys(column for _, columns in self.named for column in columns))

    @cached_property
    def label(self) -> tuple[str, ...]:
        """The columns of a category's id and of its path; a path alone is a label too, and so is an id."""
        return tuple(self.at[name] for name in (*LABEL, "category") if name in self.at)


def each_once(names: Sequence[str]) -> list[str]:
    """Names of a table's columns that no two have: one that stands there again, or is empty, says its column.

    >>> each_once(["title", "", "title"])
    ['title', 'column 2', 'title (column 3)']
    """
    found = list[str]()
    for place, name in enumerate(names, 1):
        name = name or f"column {place}"
        while name in found:
            name += f" (column {place})"
        found.append(name)
    return found


def times(column: str, names: Sequence[str]) -> int:
    """How many columns are called so, those counted too that `each_once` has named."""
    called = re.compile(rf"{re.escape(column)}( \(column \d+\))*")
    return sum(called.fullmatch(name) is not None for name in names)


def _pairs(names: str | Mapping[str, str | Sequence[str]]) -> list[tuple[str, str]]:
    if isinstance(names, str):
        parts = (part.partition("=") for part in names.split(",") if part.strip())
        return [(name.strip(), column.strip()) for name, _, column in parts]
    lists = {name: [columns] if isinstance(columns, str) else columns for name, columns in names.items()}
    return [(str(name), str(column)) for name, columns in lists.items() for column in columns]


def _missing(source: Path, gone: Sequence[str], names: Sequence[str], lacking: Sequence[str]) -> InputError:
    """What is missing, what there is, and what that looks like."""
    present, lower = first_line(", ".join(names)) or "none", {name.casefold().strip(): name for name in names}
    # With a title in a column of its own, so is the rest.
    wanted = [short for name in lacking for short in _MAY_BE[name]]
    likely = {short: next((lower[guess] for guess in _GUESSES[short] if guess in lower), None) for short in wanted}
    found = {short: name for short, name in likely.items() if name}
    advice = f"rename or add {'it' if len(gone) == 1 else 'them'}, or say with `columns` how it is called: id=COLUMN,…"
    if found:
        advice = (
            f"say `columns` {','.join(f'{short}={name}' for short, name in found.items())} if that is what they are"
        )
    return InputError(f"{source}: no column {', '.join(gone)} (it has {present}); {advice}")
