"""The text an encoder sees: plain, complete, nothing twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubrika.products.text import MAX_TEXT, plain_text, product_text, product_title


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


@given(st.text())
def test_any_description_becomes_one_printable_line(html: str) -> None:
    text = plain_text(html)
    assert "\n" not in text
    assert text == text.strip()
    text.encode("utf-8")
