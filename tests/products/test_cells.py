"""Cells that hold anything: a bad one costs only its row, and what comes through is of bounded size."""

import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from broken_files import GARBAGE, GOOD_ROWS, HEAVY, REJECTS, ReadingProcess, write_rows
from rows import SHOES, product_in, row

from rubrika.products.frame import Frame
from rubrika.products.identity import MAX_PATH, shown_id
from rubrika.products.product import Product, Reject
from rubrika.products.reader import Reader
from rubrika.products.row import MAX_SHOP_TITLE, MAX_TITLE
from rubrika.products.text import MAX_TEXT, RowError


@pytest.fixture(scope="module")
def process() -> Iterator[ReadingProcess]:
    process = ReadingProcess()
    yield process
    process.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.parquet"


def read(*files: Path, labelled: bool = True) -> tuple[list[Product], list[Reject]]:
    batches = list(Reader(files, labelled))
    return [each for batch in batches for each in batch.products], [each for batch in batches for each in batch.rejects]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())])
def test_text_is_text_however_it_is_kept(kind: pa.DataType, file: Path) -> None:
    names = {name: pa.array([each[name] for each in GOOD_ROWS]).cast(kind) for name in ("category_name", "text_fields")}
    products, rejects = read(write_rows(file, **names))
    assert ([each.title for each in products], rejects) == (["кот", "пёс", "ёж"], [])


@pytest.mark.parametrize("column", ["product_id", "category_id", "category_name", "text_fields"])
def test_a_column_of_nothing_sets_every_row_aside(column: str, file: Path) -> None:
    products, rejects = read(write_rows(file, **{column: pa.nulls(3)}))
    assert not products
    assert [each.reason for each in rejects] == [f"{column} is empty"] * 3


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (float("nan"), "is empty"),
        (float("inf"), "inf is not a whole number"),
        (1e300, "1e+300 is outside"),
        (-1.0, "-1 is outside"),
        (2.0**64, "outside"),
        (2.0**63, "may have been rounded"),
        (1.5, "1.5 is not a whole number"),
    ],
)
@pytest.mark.parametrize("column", ["product_id", "category_id"])
def test_a_number_with_a_fraction_is_no_id(column: str, number: float, reason: str, file: Path) -> None:
    products, [reject] = read(write_rows(file, **{column: pa.array([7.0, number, 9.0])}))
    assert [each.row for each in products] == [1, 3]
    assert reject.row == 2
    assert reject.reason.startswith(column)
    assert reason in reject.reason or (column, number) == ("category_id", 2.0**63)


def test_ids_reach_to_64_bits(file: Path) -> None:
    products, _ = read(write_rows(file, product_id=pa.array([0, 2**63, 2**64 - 1], pa.uint64())))
    assert [each.id for each in products] == [0, 2**63, 2**64 - 1]


@pytest.mark.parametrize(
    "number", [pa.array([2**64 - 1], pa.uint64()), pa.array([1e300]), pa.array([0.5]), pa.array([float("nan")])]
)
def test_a_shop_that_cannot_be_indexed_is_no_shop(number: pa.Array, file: Path) -> None:
    [product], _ = read(write_rows(file, GOOD_ROWS[:1], shop_id=number, rating=pa.array([float("inf")])))
    assert (product.shop_id, product.rating) == (None, None)


@pytest.mark.parametrize("number", [10**400, Decimal("sNaN"), Decimal("1e400"), Decimal("NaN")])
def test_a_number_that_no_float_holds_is_none(number: object) -> None:
    product = product_in(GOOD_ROWS[0] | {"rating": number, "shop_id": number, "sale": number})
    assert (product.rating, product.shop_id, product.sale) == (None, None, None)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (2.0, "2"),
        (2**64, "18446744073709551616"),
        (10**5000, "(a number of 16,610 bits)"),
        ("9" * 5000, "9" * 39 + "…"),
    ],
    # pytest would write the number itself, which Python refuses.
    ids=["2.0", "2**64", "10**5000", "text"],
)
def test_an_id_that_is_none_is_shown_in_few_characters(value: object, shown: str) -> None:
    assert shown_id(value) == shown
    if value != 2:
        with pytest.raises(RowError, match=re.escape(f"product_id {shown} ")):
            product_in(GOOD_ROWS[0] | {"product_id": value})


def test_every_garbage_is_one_reject_and_the_rows_around_it_are_in(file: Path, process: ReadingProcess) -> None:
    bad = [row(100 + number, "", text_fields=cell) for number, cell in enumerate(GARBAGE.values())]
    rows = [each for one, other in zip([GOOD_ROWS[0]] * len(bad), bad, strict=True) for each in (one, other)]
    outcome = process.read(write_rows(file, rows))
    assert (outcome.kind, outcome.good, outcome.bad) == (REJECTS, len(GARBAGE), len(GARBAGE)), outcome.said


@pytest.mark.parametrize("name", HEAVY)
@pytest.mark.parametrize("notation", [json.dumps, repr])
def test_heavy_texts_become_products_of_bounded_size(name: str, notation: Callable[..., str], file: Path) -> None:
    cell = notation(HEAVY[name])
    [product], _ = read(write_rows(file, [row(1, "", text_fields=cell)]))
    assert len(product.title) <= MAX_TITLE
    assert len(product.text) <= MAX_TEXT
    assert product.text.startswith("кот")


def test_what_is_shown_is_cut_and_what_is_read_is_not(file: Path) -> None:
    title, shop = "кроссовки " * 300, "Лапа \u202e" * 200_000
    [product], _ = read(write_rows(file, [row(1, title, shop_title=shop)]))
    assert (product.text, len(product.title), product.title[-1]) == (title.strip(), MAX_TITLE, "…")
    assert len(product.shop_title) == MAX_SHOP_TITLE
    assert product.shop_title.startswith("Лапа Лапа")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("->->  ->", "category_name is empty"),
        ("\u200b->\x00", "category_name is empty"),
        ("Обувь->" * 200_000, f"has 1,400,000 characters, more than the {MAX_PATH:,}"),
        ("а->" * 40, "has 40 levels, more than the 32"),
    ],
)
def test_a_category_that_is_no_path_sets_its_row_aside(path: str, reason: str, file: Path) -> None:
    products, [reject] = read(write_rows(file, [GOOD_ROWS[0], row(2, "пёс", (1, path)), GOOD_ROWS[2]]))
    assert [each.title for each in products] == ["кот", "ёж"]
    assert reject.reason.startswith("category_name")
    assert reason in reject.reason


def test_bytes_that_are_not_utf8_cost_only_their_row(file: Path) -> None:
    names = pa.array(["Обувь".encode(), b"\xff\xfe", "Обувь".encode()]).view(pa.string())
    products, [reject] = read(write_rows(file, category_name=names, shop_title=names))
    assert [each.title for each in products] == ["кот", "ёж"]
    assert (reject.row, reject.reason) == (2, "category_name is empty")


def test_the_readers_of_labels_and_of_none_agree(file: Path) -> None:
    write_rows(file, [*GOOD_ROWS, row(4, ""), row(5, "уж", SHOES)])
    both = [read(file, labelled=labelled) for labelled in (True, False)]
    assert [[each.text for each in products] for products, _ in both] == [["кот", "пёс", "ёж", "уж"]] * 2


FRAME = pd.DataFrame(GOOD_ROWS)


class Silent:
    """Somebody's own object, which cannot be written."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize("column", ["rating", "shop_id", "sale", "shop_title"])
@pytest.mark.parametrize("cell", [10**400, Decimal("sNaN"), pd.NaT, Silent()], ids=["10**400", "sNaN", "NaT", "silent"])
def test_an_odd_cell_that_is_not_needed_costs_nothing(column: str, cell: object) -> None:
    [batch] = Frame(FRAME.assign(**{column: pd.Series([cell, None, 1], dtype=object)}), labelled=True)
    assert ([product.id for product in batch.products], batch.rejects) == ([1, 2, 3], [])


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("product_id", 10**5000, f"product_id (a number of 16,610 bits) is outside 0 … {2**64 - 1}"),
        ("product_id", Silent(), "product_id (an object of type Silent) is not a whole number"),
        ("product_id", Decimal("sNaN"), "product_id is empty"),
        ("text_fields", {"title": Silent()}, "a cell cannot be read (RuntimeError)"),
        ("text_fields", {"title": pd.NA}, "text_fields has no title"),
        ("text_fields", {"title": pd.NaT}, "text_fields has no title"),
        ("text_fields", ["кеды"], "text_fields is a list, not a dictionary with a title"),
        ("text_fields", b"{}", "text_fields has no title"),
        ("text_fields", np.nan, "text_fields is empty"),
    ],
    # pytest would write the huge number itself, which Python refuses.
    ids=lambda value: type(value).__name__,
)
def test_an_odd_cell_costs_its_row_alone(column: str, cell: object, reason: str) -> None:
    odd = FRAME.astype(object)
    odd.at[1, column] = cell
    [batch] = Frame(odd, labelled=True)
    assert [product.row for product in batch.products] == [1, 3]
    assert [(reject.row, reject.reason) for reject in batch.rejects] == [(2, reason)]


def test_what_a_dictionary_holds_is_read_like_the_same_in_a_file() -> None:
    colours = {"синий", "белый", "чёрный", "красный"}
    fields = {"title": "кеды", "attributes": [colours, frozenset({(40, "м"), "41"})], "filters": {np.int64(1): "а"}}
    literal = repr({"title": "кеды", "attributes": [colours, {(40, "м"), "41"}], "filters": {1: "а"}})
    [batch] = Frame(pd.DataFrame({"product_id": [1, 2], "text_fields": [fields, literal]}), labelled=False)
    assert [product.text.split("\n") for product in batch.products] == [
        ["кеды", "белый, красный, синий, чёрный", "40, м, 41", "1: а"]
    ] * 2
