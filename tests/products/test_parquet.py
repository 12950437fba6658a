"""Reading parquet: good rows come through, bad rows are set aside with a reason, bad files end in a sentence."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rows import row

from rubrika.errors import InputError
from rubrika.products.reader import Reader

Write = Callable[..., Path]


def read(*files: Path, labelled: bool = True, batch_rows: int = 2) -> tuple[list[str], list[tuple[int, str]]]:
    batches = list(Reader(files, labelled, batch_rows=batch_rows))
    titles = [product.title for batch in batches for product in batch.products]
    return titles, [(reject.row, reject.reason) for batch in batches for reject in batch.rejects]


def test_rows_come_in_order_over_batches_and_files(write: Write) -> None:
    first = write([row(1, "кот"), row(2, "пёс"), row(3, "ёж")], "a.parquet")
    second = write([row(4, "уж")], "b.parquet")
    assert read(first, second) == (["кот", "пёс", "ёж", "уж"], [])


def test_labels_shops_and_groups_come_along(write: Write) -> None:
    path = write([row(7, "кот", shop_id=5, shop_title="Лапа", rating=4.5, sale=True, family="g1")])
    [batch] = Reader([path], labelled=True, group_by="family")
    [cat] = batch.products
    assert (cat.id, cat.shop_id, cat.shop_title, cat.rating, cat.sale, cat.group) == (7, 5, "Лапа", 4.5, True, "g1")
    assert cat.category is not None
    assert cat.category.levels == ["Обувь", "Кроссовки"]


def test_unlabelled_rows_need_no_category(write: Write) -> None:
    path = write([{"product_id": 1, "text_fields": '{"title": "кот"}'}])
    assert read(path, labelled=False) == (["кот"], [])


def test_bad_rows_are_set_aside_and_good_ones_kept(write: Write) -> None:
    bad = [
        (row(None, "кот"), "product_id is empty"),
        (row(-1, "кот"), "product_id -1 is outside 0 … 18446744073709551615"),
        (row(1.5, "кот"), "product_id 1.5 is not a whole number"),
        (row(2, "кот", text_fields="{{{"), "text_fields is neither JSON nor a Python literal"),
        (row(3, "кот", text_fields=None), "text_fields is empty"),
        (row(4, "  "), "text_fields has no title"),
        (row(5, "кот", (None, "Обувь")), "category_id is empty"),
        (row(6, "кот", (-3, "Обувь")), "category_id -3 is outside 0 … 9223372036854775807"),
        (row(7, "кот", (1, None)), "category_name is empty"),  # type: ignore[arg-type]
        (row(8, "кот", (1, "->")), "category_name is empty"),
    ]
    path = write([row(100, "первый"), *(each for each, _ in bad), row(101, "последний")])
    titles, rejects = read(path)
    assert titles == ["первый", "последний"]
    assert rejects == [(number, reason) for number, (_, reason) in enumerate(bad, start=2)]


def test_missing_columns_are_named(write: Write) -> None:
    path = write([{"product_id": 1, "text_fields": "{}"}])
    with pytest.raises(InputError, match=r"no column category \(it has product_id, text_fields"):
        read(path)


@pytest.mark.parametrize("column", ["product_id", "text_fields"])
def test_a_column_of_another_type_is_named(write: Write, column: str) -> None:
    path = write([row(1, "кот") | {column: [1, 2]}])
    with pytest.raises(InputError, match=f"column {column} is list"):
        read(path)


def test_an_empty_file_is_not_parquet(tmp_path: Path) -> None:
    path = tmp_path / "empty.parquet"
    path.touch()
    with pytest.raises(InputError, match=r"empty\.parquet: not a readable parquet file"):
        read(path)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    path.write_text("product_id;title\n1;кот\n")
    with pytest.raises(InputError, match="not a readable parquet file"):
        read(path)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "nowhere.parquet")


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a file; check the path"):
        read(tmp_path)


def test_no_rows_are_no_products(tmp_path: Path) -> None:
    path = tmp_path / "none.parquet"
    pd.DataFrame([row(1, "кот")]).head(0).astype({"product_id": "int64", "category_id": "int64"}).to_parquet(path)
    assert read(path) == ([], [])


def test_a_damaged_file_ends_in_a_sentence_whatever_byte_is_lost(write: Write, tmp_path: Path) -> None:
    whole = write([row(number, f"товар {number}") for number in range(50)]).read_bytes()
    for size in range(0, len(whole), max(1, len(whole) // 40)):
        path = tmp_path / "cut.parquet"
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"cut\.parquet"):
            read(path)


def test_text_that_is_not_utf8_costs_only_its_row(tmp_path: Path) -> None:
    table = pa.table(
        {
            "product_id": [1, 2],
            "text_fields": pa.array([b'{"title": "\xff\xfe"}', '{"title": "кот"}'.encode()]).view(pa.string()),
        }
    )
    path = tmp_path / "bytes.parquet"
    pq.write_table(table, path)
    assert read(path, labelled=False) == (["кот"], [(1, "text_fields is empty")])


def test_labels_are_counted_alone_and_bad_ones_passed_over(write: Write, tmp_path: Path) -> None:
    pets = [row(3, "пёс", (7, "Животные")), row(4, "ёж", (None, "Животные"))]
    bytes_of = pa.array([b"\xff\xfe", "Обувь".encode(), "Обувь".encode()]).view(pa.string())
    columns = {"product_id": [5, 6, 7], "text_fields": ["{}"] * 3, "category_id": [1, 2, 2], "category_name": bytes_of}
    pq.write_table(pa.table(columns), tmp_path / "bytes.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "bytes.parquet").read_bytes()[:-100])
    files = [
        write([row(1, "кот"), row(2, "", text_fields="{{"), *pets]),
        tmp_path / "bytes.parquet",
        tmp_path / "cut.parquet",
    ]
    found = Reader(files, labelled=True).labels()
    assert {(label.id, label.path): count for label, count in found.items()} == {
        (11, "Все категории->Обувь->Кроссовки"): 2,
        (7, "Животные"): 1,
        (2, "Обувь"): 2,
    }
