"""Ids and labels as people have them: any text has a number in the store, and comes back as it was written."""

import hashlib
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from uuid import UUID

from rubrika.products.product import SEPARATOR, Category
from rubrika.products.text import RowError, one_line, shortened

MAX_ID, MAX_SIGNED = 2**64 - 1, 2**63 - 1
# Beyond this a float no longer tells neighbouring whole numbers apart, nor does a spreadsheet or JavaScript.
MAX_EXACT = 2**53
# The number of a text is below that, and above what people count up to.
_FIRST, _COUNT = 2**52, 2**52
MAX_KEY, MAX_PATH, MAX_LEVELS = 500, 2_000, 32
# An invalid id is shown in so many characters; a whole number of more bits than this would be longer.
MAX_SHOWN, MAX_SHOWN_BITS = 40, 128
# What stands between the levels of a category's path, the surest sign first.
SEPARATORS = (SEPARATOR, ">", "›", "»", "|", "/")

# Whole numbers of a column with an empty cell are written 2.0. `007` is another id than 7, and stays a text.
_WHOLE = re.compile(r"(0|[1-9][0-9]{0,19})(?:\.0)?")
_SPREADSHEET = re.compile(r"[0-9](?:[.,][0-9]+)?[eE]\+[0-9]+")


def numbered(text: str) -> int:
    """The number of a text, from 2^52 up to 2^53: the same on every machine, and exact in a spreadsheet."""
    return _FIRST + int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()) % _COUNT


def identity(name: str, value: object, largest: int = MAX_ID, exact: float = MAX_EXACT) -> tuple[int, str]:
    """The number of an id from 0 to `largest`, and the text that it stands for, empty where that is the number itself.

    RowError when it is none. `exact` is how large a fraction of the column's type may be, as a whole number.

    >>> identity("product_id", "42"), identity("product_id", "SKU-1")[1]
    ((42, ''), 'SKU-1')
    """
    # Nearly all are.
    if type(value) is int and 0 <= value <= largest:
        return value, ""
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise RowError(f"{name} is not text in UTF-8") from None
    if not isinstance(value, str | UUID):
        return whole(name, value, largest, exact), ""
    text = one_line(str(value))
    if not text:
        raise RowError(f"{name} is empty")
    if (number := _WHOLE.fullmatch(text)) and int(number[1]) <= (largest if text == number[1] else exact):
        return int(number[1]), ""
    if _SPREADSHEET.fullmatch(text):
        raise RowError(f"{name} {shown_id(text)} was shortened by a spreadsheet; export it as text")
    if len(text) > MAX_KEY:
        raise RowError(f"{name} {shown_id(text)} has {len(text):,} characters, more than the {MAX_KEY} of an id")
    return numbered(text), text


def whole(name: str, value: object, largest: int, exact: float = MAX_EXACT) -> int:
    """A number from 0 to `largest`; RowError when the value is none."""
    if isinstance(value, Decimal):
        value = _from_decimal(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise RowError(f"{name} is empty")
    if not isinstance(value, int | float) or isinstance(value, bool) or (value % 1 != 0):
        kind = f" (a {type(value).__name__})" if isinstance(value, str) else ""
        raise RowError(f"{name} {shown_id(value)} is not a whole number{kind}")
    if not 0 <= value <= largest:
        raise RowError(f"{name} {shown_id(value)} is outside 0 … {largest}")
    if isinstance(value, float) and value > exact:
        raise RowError(f"{name} {value} may have been rounded, as its column holds fractions; write whole numbers")
    return int(value)


def _from_decimal(value: Decimal) -> object:
    # One of a million digits would take as many steps, and others no float can hold.
    if value.is_nan() or not value.is_finite() or value.adjusted() > MAX_SHOWN:
        return None if value.is_nan() else math.copysign(math.inf, value)
    return int(value) if value == value.to_integral_value() else float(value)


def shown_id(value: object) -> str:
    """An id as its owner wrote it, cut when long: in a column with an empty cell even whole numbers are read as 2.0."""
    if isinstance(value, int) and value.bit_length() > MAX_SHOWN_BITS:
        return f"(a number of {value.bit_length():,} bits)"
    exact = isinstance(value, float) and value.is_integer() and abs(value) <= MAX_EXACT
    try:
        return f"{value:.0f}" if exact else shortened(str(value), MAX_SHOWN)
    except Exception:  # A DataFrame may hold an object that cannot be written.
        return f"(an object of type {type(value).__name__})"


@dataclass(frozen=True)
class Known:
    """The categories of an index, to be found by those who say an id alone or a path alone."""

    by_id: Mapping[int, Category] = field(default_factory=dict)
    by_path: Mapping[str, tuple[Category, ...]] = field(default_factory=dict)  # without the root that all paths share

    @classmethod
    def of(cls, categories: Iterable[Category]) -> "Known":
        """Of these categories."""
        by_id = {category.id: category for category in categories}
        by_path = dict[str, tuple[Category, ...]]()
        for category in by_id.values():
            path = _plain(category)
            by_path[path] = (*by_path.get(path, ()), category)
        return cls(by_id, by_path)

    def find(self, label: Category) -> Category:
        """The category of an index that a label means, or the label itself; RowError when it may mean several."""
        if label.id in self.by_id:
            return self.by_id[label.id]
        alike = self.by_path.get(_plain(label), ())
        if len(alike) > 1:
            ids = ", ".join(str(category.key or category.id) for category in alike)
            several = f"{len(alike)} categories of the index are called {shown_id(label.path)} ({ids})"
            raise RowError(f"{several}; say by its id which is meant")
        return alike[0] if alike else label


def _plain(category: Category) -> str:
    return unicodedata.normalize("NFC", SEPARATOR.join(category.levels))


def category_of(cells: Sequence[object], separator: str | None = None, known: Known | None = None) -> Category:
    """The category of an id and a path, or of one of them alone, as an index may have it; RowError when it is none."""
    if len(cells) > 1:
        return label_of(cells[0], cells[1], separator)
    label = path_label(cells[0], separator)
    return known.find(label) if known else label


def path_label(name: object, separator: str | None = None) -> Category:
    """The category of a path, `separator` standing between its levels; a number alone is its own id."""
    return _named(name if isinstance(name, str) else "", separator)


def label_of(number: object, name: object, separator: str | None = None) -> Category:
    """The category of an id and a path; RowError when they are none.

    `separator` is what stands between the levels of the path, where that is not `->`.
    """
    path = name if isinstance(name, str) else ""
    return _category(*identity("category_id", number, MAX_SIGNED), path, separator)


@lru_cache(maxsize=65_536)
def _category(number: int, key: str, path: str, separator: str | None) -> Category:
    """Cached, so that products of one category share it."""
    if len(path) > MAX_PATH:
        raise RowError(f"category_name has {len(path):,} characters, more than the {MAX_PATH:,} that a path may have")
    if separator and separator.strip() != SEPARATOR:
        path = SEPARATOR.join(part.strip() for part in path.split(separator.strip()) if part.strip())
    # A printable path stays as it is, to be found again where it came from.
    path = path.strip() if path.isprintable() else one_line(path)
    category = Category(number, path, key)
    if not path.strip(f" {SEPARATOR}"):
        raise RowError("category_name is empty")
    if (levels := len(category.levels)) > MAX_LEVELS:
        raise RowError(f"category_name has {levels} levels, more than the {MAX_LEVELS} that it may have")
    return category


@lru_cache(maxsize=65_536)
def _named(path: str, separator: str | None) -> Category:
    """A category that is known by its path: its key is the path as its owner writes it."""
    category = _category(0, "", unicodedata.normalize("NFC", path), separator)
    levels = [part.strip() for part in category.path.split(SEPARATOR) if part.strip()]
    if len(levels) == 1 and (number := _WHOLE.fullmatch(levels[0])) and int(number[1]) <= MAX_SIGNED:
        return _category(int(number[1]), "", number[1], None)
    return Category(numbered(SEPARATOR.join(levels)), SEPARATOR.join(levels), (separator or SEPARATOR).join(levels))


def guessed_separator(labels: list[str]) -> str | None:
    """What stands between the levels of these paths, with its spaces; None where they have but one."""
    for mark in SEPARATORS:
        having = [label for label in labels if mark in label.strip(f" {mark}")]
        if 2 * len(having) > len(labels):
            spaced = sum(f" {mark} " in label for label in having)
            return f" {mark} " if 2 * spaced > len(having) else mark
    return None
