"""Counts which fields rows leave empty: columns, and what `text_fields` holds."""

from collections import Counter
from collections.abc import Iterator, Mapping

from rubrika.products.fields import FieldsError, parse_fields
from rubrika.products.parquet import Reader
from rubrika.products.text import plain_text
from rubrika.progress import Advance

INSIDE = ("title", "description", "attributes", "custom_characteristics", "defined_characteristics", "filters")
COLUMNS = ("shop_id", "shop_title", "rating", "sale")
ADVANCE_ROWS = 1_024


def empty_fields(reader: Reader, advance: Advance = lambda rows: None) -> dict[str, int]:
    """How many of all rows, good and bad, leave each field empty; a field or column that is not there is empty.

    Raises:
        InputError: as when iterating over the reader.
    """
    counts = Counter(dict.fromkeys((*INSIDE, *COLUMNS), 0))
    for file in reader.files:
        number = 0
        for number, row in reader.rows(file):
            counts.update(_empty_of(row))
            if number % ADVANCE_ROWS == 0:
                advance(ADVANCE_ROWS)
        advance(number % ADVANCE_ROWS)
    return dict(counts)


def _empty_of(row: Mapping[str, object]) -> Iterator[str]:
    try:
        fields = parse_fields(row["text_fields"])
    except FieldsError:
        fields = {}
    yield from (name for name in INSIDE if _is_empty(fields.get(name)))
    # A rating begins at one star: 0 is written where nobody gave any.
    yield from (name for name in COLUMNS if _is_empty(row.get(name)) or (name == "rating" and row[name] == 0))


def _is_empty(value: object) -> bool:
    """Whether nothing can be read there; the depth of nested values is capped by the parser."""
    if isinstance(value, str):
        return not plain_text(value)
    if isinstance(value, dict):
        return all(map(_is_empty, value.values()))
    if isinstance(value, list | tuple | set):
        return all(map(_is_empty, value))
    return value is None or value != value
