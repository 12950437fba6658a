"""The text an encoder sees: plain, complete, nothing twice."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubrika.products.text import MAX_TEXT, one_line, parse_fields, plain_text, product_text, product_title, shortened

# Values as they come in text_fields, with marks that cannot be seen and pieces of HTML among their texts.
CHARACTERS = st.characters() | st.sampled_from("<>&;/\u202e\u200b\u2067\U000e0041\x00\ud800\u2028 ")
PIECES = st.sampled_from(["<p>Тёплые<br", "&lt;b&gt;", "<script>", "<![CDATA[", "<a href='>'>", "&#x202e;&#0;", "кот"])
TEXTS = st.text(CHARACTERS) | st.lists(PIECES | CHARACTERS).map("".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)
PARTS = ("title", "description", "attributes", "custom_characteristics", "defined_characteristics", "filters")
FIELDS = st.dictionaries(st.sampled_from(PARTS), VALUES)


def can_be_seen(text: str) -> bool:
    """No control character, surrogate, or mark that turns or hides what stands around it."""
    hidden = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return not any(
        unicodedata.category(each) in ("Cc", "Cs") or unicodedata.bidirectional(each) in hidden for each in text
    )


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("Тёплые<br>носки", "Тёплые носки"),
        ("<p>Чехол &quot;Книжка&quot;</p><p>чёрный</p>", 'Чехол "Книжка" чёрный'),
        ("Размеры:<ul><li>S</li><li>M</li></ul>", "Размеры: S M"),
        ("<img src='https://cdn/1.jpg' alt='фото'>Кружка", "Кружка"),
        ("Кофе&nbsp;&amp;&nbsp;чай", "Кофе & чай"),
        ("5 < 6 и 7 > 3", "5 < 6 и 7 > 3"),
        ("<b>Кросс</b>овки", "Кроссовки"),
        ("<script>alert(1)</script><style>p{}</style>Лампа", "Лампа"),
        ("<p>Незакрытый <b>тег", "Незакрытый тег"),
        ("", ""),
    ],
)
def test_html_becomes_the_words_a_reader_sees(html: str, text: str) -> None:
    assert plain_text(html) == text


def test_every_part_is_in_the_text_once() -> None:
    fields: dict[str, object] = {
        "title": "Кроссовки",
        "description": "<p>Лёгкие</p>",
        "attributes": ["Бренд: Ветер", "Сезон: лето"],
        "custom_characteristics": {"Цвет": "белый"},
        "defined_characteristics": {"Бренд": ["Ветер"], "Размер": ["40", "41"]},
        "filters": {"Бренд": ["Ветер"]},
    }
    assert product_text(fields).split("\n") == [
        "Кроссовки",
        "Лёгкие",
        "Бренд: Ветер",
        "Сезон: лето",
        "Цвет: белый",
        "Размер: 40, 41",
    ]


def test_marks_that_only_change_looks_are_dropped() -> None:
    assert product_title({"title": "Чай\u202e зе\u200bлё\x00ный\ud800"}) == "Чай зелёный"


def test_a_title_that_is_not_text_is_read_as_one() -> None:
    assert product_title({"title": 1984}) == "1984"
    assert product_title({"title": None}) == ""


def test_a_ten_megabyte_description_is_cut() -> None:
    text = product_text({"title": "Диван", "description": "<p>мягкий &amp; удобный</p>" * 400_000})
    assert text.startswith("Диван\nмягкий & удобный")
    assert len(text) <= MAX_TEXT


def test_a_set_is_read_in_one_order_in_every_process() -> None:
    colours = {"синий", "белый", "чёрный", "красный", None}
    said = "белый, красный, синий, чёрный"
    assert product_text({"title": "кот", "attributes": [colours], "filters": {"Цвет": colours}}).split("\n") == [
        "кот",
        said,
        f"Цвет: {said}",
    ]


def test_an_empty_place_says_nothing() -> None:
    assert product_text({"title": "кот", "description": float("nan"), "filters": {"Цвет": float("nan")}}) == "кот"


def test_a_tag_ends_where_the_next_one_starts() -> None:
    assert plain_text("<br<br>кот<p class='a'>пёс</ p >ёж") == "кот пёс ёж"


def test_a_short_text_stays_and_a_long_one_ends_in_an_ellipsis() -> None:
    assert shortened("кот и пёс", 9) == "кот и пёс"
    assert shortened("кот и пёс", 7) == "кот и…"


@given(TEXTS)
def test_any_description_becomes_one_line_that_can_be_seen(html: str) -> None:
    text = plain_text(html)
    assert text == one_line(text)
    assert can_be_seen(text)
    text.encode("utf-8")


@given(FIELDS)
def test_any_fields_become_different_lines_that_can_be_seen(fields: dict[str, object]) -> None:
    text = product_text(fields)
    assert all(can_be_seen(line) and line == one_line(line) for line in text.split("\n"))
    assert len({line.casefold() for line in text.split("\n")}) == text.count("\n") + 1
    assert len(text) <= MAX_TEXT


@given(FIELDS)
def test_a_title_is_its_own_title(fields: dict[str, object]) -> None:
    title = product_title(fields)
    assert product_title({"title": title}) == title
    assert product_text({"title": title}) == title[:MAX_TEXT]


@given(FIELDS)
def test_both_notations_give_the_same_text(fields: dict[str, object]) -> None:
    texts = [product_text(parse_fields(notation(fields))) for notation in (json.dumps, repr)]
    assert texts == [product_text(fields)] * 2


@given(st.text(min_size=1), st.integers(1, 30_000))
def test_a_text_of_any_length_is_within_its_cap(piece: str, times: int) -> None:
    fields: dict[str, object] = {"title": "кот", "description": piece * times, "attributes": [piece * times, piece]}
    assert len(product_text(fields)) <= MAX_TEXT
