"""text_fields: both notations parse, and nothing a cell can hold does harm."""

import contextlib
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubrika.products.text import RowError, parse_fields

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
fields = st.dictionaries(st.text(), values, max_size=5)


@given(fields)
def test_json_gives_back_what_was_written(written: dict[str, object]) -> None:
    assert parse_fields(json.dumps(written, ensure_ascii=False)) == written


@given(fields)
def test_python_literal_gives_back_what_was_written(written: dict[str, object]) -> None:
    assert parse_fields(repr(written)) == written


# What literals are made of, so that chance comes near to them more often than by any characters.
MARKS = st.sampled_from(
    ["{", "}", "[", "]", "(", ")", ":", ",", "'", '"', "\\", "-", "+", "1", "e", "nan", "None", "\n"]
)


@given(st.text() | st.lists(MARKS).map("".join) | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_any_text_parses_or_says_why(raw: str) -> None:
    with contextlib.suppress(RowError):
        assert isinstance(parse_fields(raw), dict)


@given(fields, st.sampled_from([json.dumps, repr]), st.data())
def test_a_damaged_cell_parses_or_says_why(
    written: dict[str, object], notation: Callable[[object], str], data: st.DataObject
) -> None:
    raw = notation(written)
    place = data.draw(st.integers(0, len(raw)))
    raw = raw[:place] + data.draw(MARKS | st.text(max_size=3)) + raw[place + data.draw(st.integers(0, 3)) :]
    with contextlib.suppress(RowError):
        assert isinstance(parse_fields(raw), dict)


@given(st.none() | st.integers() | st.floats() | st.binary() | st.lists(st.text()))
def test_what_is_not_text_is_refused(raw: object) -> None:
    with pytest.raises(RowError):
        parse_fields(raw)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "is empty"),
        ("", "is empty"),
        ("кроссовки", "neither JSON nor a Python literal"),
        ("[1, 2]", "is a list, not a dictionary with a title"),
        (["кот"], "is a list, not a dictionary with a title"),
        (b'{"title": "x"}', "is a bytes, not a dictionary with a title"),
        (" ", "is empty"),
        ("__import__('os').system('true')", "neither JSON nor a Python literal"),
        ("{'title': open('/etc/passwd').read()}", "neither JSON nor a Python literal"),
        ('{"title": ' + "[" * 1_000_000 + "]" * 1_000_000 + "}", "too many values"),
        ('{"title": ' + "[" * 50 + "]" * 50 + "}", "nested deeper"),
        ("{'title': " + "-" * 100_000 + "1}", "neither JSON nor a Python literal"),
        ("{'a': " + "1+" * 90_000 + "1}", "neither JSON nor a Python literal"),
        ('{"title": "' + "я" * 33_000_000 + '"}', "more than the 32,000,000"),
        ("{'a': ''' ' ''' + " + "1+" * 1_000_000 + "1 + ''' ' '''}", "neither JSON nor a Python literal"),
        ("{'a': nan()}", "neither JSON nor a Python literal"),
        ("{'title': 'кот", "neither JSON nor a Python literal"),
    ],
)
def test_refused_with_a_reason(raw: object, reason: str) -> None:
    with pytest.raises(RowError, match=f"text_fields .*{reason}"):
        parse_fields(raw)


def test_quotes_and_brackets_inside_texts_are_only_text() -> None:
    title = "Рамка [\"{'10x15'}\"] " + "[" * 100
    assert parse_fields(repr({"title": title}))["title"] == title
    assert parse_fields(json.dumps({"title": title}))["title"] == title


def test_empty_places_as_pandas_writes_them_are_none() -> None:
    written = {"title": "nan", "brand": float("nan"), "sizes": [float("inf"), 1.5]}
    assert parse_fields(repr(written)) == {"title": "nan", "brand": None, "sizes": [None, 1.5]}


@pytest.mark.filterwarnings("error")
def test_a_backslash_that_python_would_warn_of_is_read_as_it_stands() -> None:
    assert parse_fields(r"{'title': 'C:\дом'}") == {"title": r"C:\дом"}
