"""The columns of products, whatever holds them: which are read, and what is said when one is not as it should be."""

from collections.abc import Sequence
from pathlib import Path

from rubrika.errors import InputError
from rubrika.products.text import first_line

LABEL = ("category_id", "category_name")
_REQUIRED = ("product_id", "text_fields")
_OPTIONAL = ("shop_id", "shop_title", "rating", "sale")
_WHOLE_NUMBERS = ("product_id", "category_id")
_TEXTS = ("text_fields", "category_name")


def wanted_columns(place: Path, names: Sequence[str], labelled: bool, group_by: str | None = None) -> list[str]:
    """The columns to read: those that are needed, then the others that are there.

    Args:
        place: what stands in messages.
        names: of all columns there are.
        labelled: whether every row must carry category_id and category_name.
        group_by: one more that is needed.

    Raises:
        InputError: one is missing, or there twice.
    """
    needed = [*_REQUIRED, *(LABEL if labelled else ()), *([group_by] if group_by else ())]
    missing = [name for name in needed if name not in names]
    if missing:
        raise InputError(
            f"{place}: no column {', '.join(missing)} (it has {first_line(', '.join(names)) or 'none'}); "
            f"rename or add {'it' if len(missing) == 1 else 'them'}"
        )
    columns = list(dict.fromkeys([*needed, *(name for name in _OPTIONAL if name in names)]))
    for name in columns:
        if names.count(name) > 1:
            raise InputError(f"{place}: {names.count(name)} columns are called {name}; keep one")
    return columns


def check_type(place: Path, name: str, kind: object, number: bool, text: bool) -> None:
    """See whether a column can hold what it should.

    Args:
        place: what stands in messages.
        name: of the column.
        kind: its type, which messages call by what `str` says of it.
        number: whether this can hold whole numbers.
        text: whether this can hold texts.

    Raises:
        InputError: it cannot.
    """
    if name in _WHOLE_NUMBERS and not number:
        raise InputError(f"{place}: column {name} is {first_line(str(kind))}, not a whole number; convert it first")
    if name in _TEXTS and not text:
        raise InputError(f"{place}: column {name} is {first_line(str(kind))}, not text; convert it first")
