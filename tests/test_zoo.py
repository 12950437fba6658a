"""The broken-input zoo: whatever is in a file, it ends in a sentence or in rejects, with the good rows in."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from animals import CLEAN, COMPRESSIONS, DAMAGES, REJECTS, SENTENCE, Keeper, Outcome, healthy
from rows import SHOES, row

from rubrika.products.parquet import Reader
from rubrika.products.product import Product, Reject
from rubrika.products.row import MAX_PATH, MAX_SHOP_TITLE, MAX_TITLE

CUTS = 200
DAMAGED_A_FILE = 100
SHELF = [row(1, "кот"), row(2, "пёс"), row(3, "ёж")]
COLUMNS = ("product_id", "category_id", "category_name", "text_fields")


@pytest.fixture(scope="module")
def keeper() -> Iterator[Keeper]:
    keeper = Keeper()
    yield keeper
    keeper.close()


@pytest.fixture
def animal(tmp_path: Path) -> Path:
    return tmp_path / "animal.parquet"


def fine(outcome: Outcome, file: Path, *kinds: str) -> None:
    """It ended in one of these ways, and what it said is one short line that names the file."""
    assert outcome.kind in kinds, outcome.said
    if outcome.kind == SENTENCE:
        assert outcome.said.startswith(f"{file}: ")
        assert outcome.said.isprintable()
        assert len(outcome.said) < len(str(file)) + 600


def write(path: Path, rows: Sequence[dict[str, object]] = SHELF, **columns: pa.Array) -> Path:
    """Rows as a file, some of its columns replaced by others."""
    table = pa.Table.from_pylist(list(rows))
    arrays = {name: table[name] for name in table.schema.names} | columns
    pq.write_table(pa.table(arrays), path)
    return path


def read(*files: Path, labelled: bool = True) -> tuple[list[Product], list[Reject]]:
    batches = list(Reader(files, labelled))
    return [each for batch in batches for each in batch.products], [each for batch in batches for each in batch.rejects]


@pytest.mark.parametrize("seed", range(len(COMPRESSIONS)))
def test_a_file_cut_anywhere_ends_in_a_sentence(seed: int, animal: Path, keeper: Keeper) -> None:
    whole = healthy(animal, seed)
    fine(keeper.read(animal), animal, CLEAN)
    for size in np.linspace(0, len(whole) - 1, CUTS // len(COMPRESSIONS)).astype(int):
        animal.write_bytes(whole[:size])
        fine(keeper.read(animal), animal, SENTENCE)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("seed", range(8))
def test_damaged_bytes_never_crash(seed: int, damage: str, animal: Path, keeper: Keeper) -> None:
    rng, whole = np.random.default_rng(seed), healthy(animal, seed)
    for number in range(DAMAGED_A_FILE):
        animal.write_bytes(DAMAGES[damage](whole, rng))
        fine(keeper.read(animal, labelled=number % 2 == 0), animal, CLEAN, REJECTS, SENTENCE)


ARRAYS = {
    "struct": pa.array([{"a": 1}] * 3),
    "list": pa.array([[1]] * 3),
    "bool": pa.array([True, False, True]),
    "timestamp": pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * 3),
    "decimal": pa.array([Decimal("1.5")] * 3),
    "binary": pa.array([b"\xff"] * 3),
    "a far day": pa.array([2**31 - 1] * 3, pa.int32()).view(pa.date32()),
    "text": pa.array(["12"] * 3),
}


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("kind", ARRAYS)
def test_a_needed_column_of_another_type_is_named(kind: str, column: str, animal: Path, keeper: Keeper) -> None:
    if kind == "text" and column in ("category_name", "text_fields"):
        pytest.skip("that is its type")
    outcome = keeper.read(write(animal, **{column: ARRAYS[kind]}))
    fine(outcome, animal, SENTENCE)
    assert f"column {column} is" in outcome.said


@pytest.mark.parametrize("column", ["shop_id", "shop_title", "rating", "sale", "anything"])
@pytest.mark.parametrize("kind", ARRAYS)
def test_a_column_that_is_not_needed_costs_no_row(kind: str, column: str, animal: Path, keeper: Keeper) -> None:
    fine(keeper.read(write(animal, **{column: ARRAYS[kind]})), animal, CLEAN)


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())])
def test_text_is_text_however_it_is_kept(kind: pa.DataType, animal: Path) -> None:
    names = {name: pa.array([each[name] for each in SHELF]).cast(kind) for name in ("category_name", "text_fields")}
    products, rejects = read(write(animal, **names))
    assert ([each.title for each in products], rejects) == (["кот", "пёс", "ёж"], [])


@pytest.mark.parametrize("column", COLUMNS)
def test_a_column_of_nothing_sets_every_row_aside(column: str, animal: Path) -> None:
    products, rejects = read(write(animal, **{column: pa.nulls(3)}))
    assert not products
    assert [each.reason for each in rejects] == [f"{column} is empty"] * 3


@pytest.mark.parametrize("column", [*COLUMNS, "shop_id"])
def test_columns_of_one_name_are_refused(column: str, animal: Path, keeper: Keeper) -> None:
    table = pa.Table.from_pylist([each | {"shop_id": 1} for each in SHELF])
    pq.write_table(table.append_column(column, table[column]), animal)
    outcome = keeper.read(animal)
    fine(outcome, animal, SENTENCE)
    assert outcome.said.endswith(f"2 columns are called {column}; keep one")


def test_the_names_of_columns_are_shown_fit_for_a_terminal(animal: Path, keeper: Keeper) -> None:
    pq.write_table(pa.table({"\x1b[31mкрасный\u202e\n": [1], "я" * 10_000: [1]}), animal)
    outcome = keeper.read(animal)
    fine(outcome, animal, SENTENCE)
    assert "no column product_id, text_fields, category_id, category_name (it has [31mкрасный" in outcome.said


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
def test_a_number_with_a_fraction_is_no_id(column: str, number: float, reason: str, animal: Path) -> None:
    products, [reject] = read(write(animal, **{column: pa.array([7.0, number, 9.0])}))
    assert [each.row for each in products] == [1, 3]
    assert reject.row == 2
    assert reject.reason.startswith(column)
    assert reason in reject.reason or (column, number) == ("category_id", 2.0**63)


def test_ids_reach_to_64_bits(animal: Path) -> None:
    products, _ = read(write(animal, product_id=pa.array([0, 2**63, 2**64 - 1], pa.uint64())))
    assert [each.id for each in products] == [0, 2**63, 2**64 - 1]


@pytest.mark.parametrize(
    "number", [pa.array([2**64 - 1], pa.uint64()), pa.array([1e300]), pa.array([0.5]), pa.array([float("nan")])]
)
def test_a_shop_that_cannot_be_indexed_is_no_shop(number: pa.Array, animal: Path) -> None:
    [product], _ = read(write(animal, SHELF[:1], shop_id=number, rating=pa.array([float("inf")])))
    assert (product.shop_id, product.rating) == (None, None)


GARBAGE = {
    "a bomb of brackets": '{"title": ' + "[" * 1_000_000,
    "brackets in turn": "{'a': [" * 100_000,
    "a number of a million digits": '{"title": ' + "9" * 1_000_000 + "}",
    "a sum without end": "{'title': 1" + "+1" * 90_000 + "}",
    "a sum hidden in three quotes": "{'title': ''' ' ''' + " + "1+" * 1_000_000 + "''' ' '''}",
    "code": "{'title': __import__('os').getcwd()}",
    "marks that cannot be seen": '{"title": "\u202e\u200b\\u0000\\ud800"}',
    "a title in a title": '{"title": {"title": "кот"}}',
    "a list": "[1, 2, 3]",
    "an open string": "{'title': 'кот",
    "nothing but a name": "nan",
    "zeros": "\0" * 100,
    "a cell of 33 million": '{"title": "' + "я" * 33_000_000 + '"}',
}


def test_every_garbage_is_one_reject_and_the_rows_around_it_are_in(animal: Path, keeper: Keeper) -> None:
    bad = [row(100 + number, "", text_fields=cell) for number, cell in enumerate(GARBAGE.values())]
    rows = [each for one, other in zip([SHELF[0]] * len(bad), bad, strict=True) for each in (one, other)]
    outcome = keeper.read(write(animal, rows))
    assert (outcome.kind, outcome.good, outcome.bad) == (REJECTS, len(GARBAGE), len(GARBAGE)), outcome.said


LAUGHS = "".join(f"<!ENTITY l{n} '{f'&l{n - 1};' * 10}'>" for n in range(1, 10))
HEAVY: dict[str, dict[str, object]] = {
    "a long title": {"title": "кот " + "cat " * 2_500_000},
    "a long description": {"title": "кот", "description": "red " * 2_500_000},
    "deep tags": {"title": "кот", "description": "<div>" * 100_000 + "рыжий" + "</div>" * 100_000 + "!" * 10**7},
    "tags that never close": {"title": "кот", "description": "<br" * 3_000_000},
    "tags of spaces": {"title": "кот", "description": "<" + " " * 10_000_000},
    "tags wrongly nested": {"title": "кот", "description": "<a><b><font>" * 50_000 + "</a>" * 50_000},
    "tags in attributes": {"title": "кот", "attributes": ["<b>рыжий"] * 30_000},
    "a billion laughs": {"title": "кот &l9;", "description": f"<!DOCTYPE l [<!ENTITY l0 'ха'>{LAUGHS}]><p>&l9;</p>"},
    "strange keys": {"title": "кот", "filters": {"\ud800": "\udfff", "\x1b[2J": ["\u202e", None, {"": []}]}},
}


@pytest.mark.parametrize("name", HEAVY)
@pytest.mark.parametrize("notation", [json.dumps, repr])
def test_heavy_texts_become_products_of_bounded_size(name: str, notation: Callable[..., str], animal: Path) -> None:
    cell = notation(HEAVY[name])
    [product], _ = read(write(animal, [row(1, "", text_fields=cell)]))
    assert len(product.title) <= MAX_TITLE
    assert len(product.text) <= 20_000
    assert product.text.startswith("кот")


def test_what_is_shown_is_cut_and_what_is_read_is_not(animal: Path) -> None:
    title, shop = "кроссовки " * 300, "Лапа \u202e" * 200_000
    [product], _ = read(write(animal, [row(1, title, shop_title=shop)]))
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
def test_a_category_that_is_no_path_sets_its_row_aside(path: str, reason: str, animal: Path) -> None:
    products, [reject] = read(write(animal, [SHELF[0], row(2, "пёс", (1, path)), SHELF[2]]))
    assert [each.title for each in products] == ["кот", "ёж"]
    assert reject.reason.startswith("category_name")
    assert reason in reject.reason


def test_bytes_that_are_not_utf8_cost_only_their_row(animal: Path) -> None:
    names = pa.array(["Обувь".encode(), b"\xff\xfe", "Обувь".encode()]).view(pa.string())
    products, [reject] = read(write(animal, category_name=names, shop_title=names))
    assert [each.title for each in products] == ["кот", "ёж"]
    assert (reject.row, reject.reason) == (2, "category_name is empty")


@pytest.mark.parametrize("groups", [0, 1])
def test_no_rows_are_no_products(groups: int, animal: Path, keeper: Keeper) -> None:
    schema = pa.Table.from_pylist(SHELF).schema
    with pq.ParquetWriter(animal, schema) as writer:
        for _ in range(groups):
            writer.write_table(schema.empty_table())
    assert keeper.read(animal) == Outcome(CLEAN)


def test_more_rows_than_bytes_are_refused(animal: Path, keeper: Keeper) -> None:
    nothing = pa.nulls(3_000_000)
    pq.write_table(pa.table(dict.fromkeys(COLUMNS, nothing)), animal)
    outcome = keeper.read(animal)
    fine(outcome, animal, SENTENCE)
    assert "it promises 3,000,000 rows in" in outcome.said


def test_a_cell_that_is_written_once_for_hundreds_of_rows_takes_no_more_memory(animal: Path, keeper: Keeper) -> None:
    cells = pa.DictionaryArray.from_arrays(pa.array([0] * 600, pa.int32()), [" " * 4_000_000])
    pq.write_table(pa.table({"product_id": range(600), "text_fields": cells}), animal, store_schema=False)
    assert animal.stat().st_size < 1_000_000
    assert keeper.read(animal, labelled=False) == Outcome(REJECTS, bad=600)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


NO_FILES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "a folder": Path.mkdir,
    "a pipe": _pipe,
    "a device": lambda path: path.symlink_to("/dev/null"),
    "a link to itself": lambda path: path.symlink_to(path),
    "an empty file": Path.touch,
    "a table of text": lambda path: path.write_text("product_id;title\n1;кот\n"),
    "only the magic bytes": lambda path: path.write_bytes(b"PAR1PAR1"),
    "a footer longer than the file": lambda path: path.write_bytes(b"PAR1\xff\xff\xff\x7fPAR1"),
}


@pytest.mark.parametrize("name", NO_FILES)
def test_what_is_no_parquet_file_is_said(name: str, animal: Path, keeper: Keeper) -> None:
    NO_FILES[name](animal)
    fine(keeper.read(animal), animal, SENTENCE)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_said(animal: Path, keeper: Keeper) -> None:
    write(animal).chmod(0)
    fine(keeper.read(animal), animal, SENTENCE)


@pytest.fixture(scope="module")
def shop(index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of this file's own, since other tests read that of all."""
    return Path(shutil.copytree(index, tmp_path_factory.mktemp("zoo") / "rubrika-index"))


def test_bad_rows_through_the_front_door(shop: Path, animal: Path, rubrika: Callable[..., Any]) -> None:
    big = 2**64
    heavy = [row(big - 100 + n, "", text_fields=json.dumps(cell)) for n, cell in enumerate(HEAVY.values())]
    bad = [row(big - 200 + n, "", text_fields=cell) for n, cell in enumerate(GARBAGE.values())]
    more = [
        row(big - 1, "кот \ud800".encode("utf-8", "ignore").decode(), shop_id=big - 1, shop_title="Лапа" * 250_000),
        row(big - 2, "кот", (1, "Обувь->" * 100)),
        row(big - 3, "кот", rating=float("nan"), shop_id=None),
        row(big - 4, "кот"),
        row(big - 4, "другой кот"),
    ]
    rows = [*heavy, *bad, *more]
    numbers = pa.array([each["product_id"] for each in rows], pa.uint64())
    shops = pa.array([each.get("shop_id") for each in rows], pa.uint64())
    write(animal, [each | {"product_id": 0, "shop_id": 0} for each in rows], product_id=numbers, shop_id=shops)
    done = rubrika("ingest", animal, "--index", shop, "--json")
    assert done.code == 0, done.err
    aside = pq.read_table(done.json["rejects"]).to_pylist()
    expected = [len(heavy) + number for number in range(1, len(bad) + 1)]
    assert [each["row"] for each in aside] == [*expected, len(rows) - 3, len(rows)]
    assert all(each["reason"] and each["file"] == str(animal) for each in aside)
    assert done.json["added"] == len(rows) - len(aside)
    assert "Traceback" not in done.err
    result = animal.with_name("result.parquet")
    done = rubrika("classify", animal, "--index", shop, "-o", result)
    assert done.code == 0, done.err
    assert pq.read_table(result)["product_id"].to_pylist() == numbers.to_pylist()


BAD_FILES: dict[str, Callable[[Path], object]] = NO_FILES | {
    "cut": lambda path: path.write_bytes(healthy(path, 0)[:-100]),
    "overwritten": lambda path: path.write_bytes(healthy(path, 1).replace(b"text_fields", b"\xff" * 11)),
    "of another type": lambda path: write(path, product_id=ARRAYS["struct"]),
    "of too many rows": lambda path: pq.write_table(pa.table(dict.fromkeys(COLUMNS, pa.nulls(3_000_000))), path),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_through_the_front_door(name: str, shop: Path, animal: Path, rubrika: Callable[..., Any]) -> None:
    BAD_FILES[name](animal)
    done = rubrika("ingest", animal, "--index", shop)
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith(f"rubrika: {animal}: ")
    assert "Traceback" not in done.err


def test_the_index_still_classifies_after_all_that(
    shop: Path, market: Path, tmp_path: Path, rubrika: Callable[..., Any]
) -> None:
    result = tmp_path / "result.parquet"
    done = rubrika("classify", market / "test.parquet", "--index", shop, "-o", result, "--json")
    assert done.code == 0, done.err
    table = pq.read_table(result)
    assert table.num_rows == done.json["rows"]
    assert table["predicted_category_id"].null_count == 0


def test_the_readers_of_labels_and_of_none_agree(animal: Path) -> None:
    write(animal, [*SHELF, row(4, ""), row(5, "уж", SHOES)])
    both = [read(animal, labelled=labelled) for labelled in (True, False)]
    assert [[each.text for each in products] for products, _ in both] == [["кот", "пёс", "ёж", "уж"]] * 2
