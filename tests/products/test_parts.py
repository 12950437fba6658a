"""Parts of a file are its rows, wherever they are cut, and ids that come again are found by their column alone."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from rows import row

from rubrika.products.parts import Part, PartReader, parts_of, repeated_ids
from rubrika.products.product import Product
from rubrika.products.reader import Reader

Write = Callable[..., Path]


def products(batches: Reader | PartReader) -> list[tuple[int, Product]]:
    return [(product.row, product) for batch in batches for product in batch.products]


@pytest.mark.parametrize("size", [1, 7, 40, 1_000])
def test_parts_together_are_the_file(size: int, tmp_path: Path) -> None:
    rows = [row(number, f"кеды {number}") for number in range(700)]
    pd.DataFrame(rows).to_parquet(tmp_path / "products.parquet", row_group_size=300)
    reader = Reader([tmp_path / "products.parquet"], labelled=True)
    parts = parts_of(reader, size)
    some = parts if size > 1 else parts[290:310]
    expected = products(reader) if size > 1 else products(reader)[290:310]
    assert products(PartReader(reader, some)) == expected
    assert len(PartReader(reader, some)) == len(expected)


def test_what_is_wrong_with_a_row_is_said_with_its_number_in_the_file(write: Write) -> None:
    rows = [row(number, "кеды" if number != 5 else "") for number in range(1, 10)]
    reader = Reader([write(rows)], labelled=True)
    [batch] = PartReader(reader, [Part(reader.files[0], 3, 7)])
    assert [reject.row for reject in batch.rejects] == [5]
    assert [product.row for product in batch.products] == [4, 6, 7]


def test_ids_that_several_rows_have_are_found_with_their_parts(write: Write) -> None:
    first = write([row(id, "кеды") for id in (1, 2, 3, 4, 5, 1)], "a.parquet")
    second = write([row(id, "кеды") for id in (6, 7, 8, 4, None, -1)], "b.parquet")
    reader = Reader([first, second], labelled=True)
    repeated, having = repeated_ids(reader, parts_of(reader, 2))
    assert repeated == {1, 4}
    assert having == [Part(first, 0, 2), Part(first, 2, 4), Part(first, 4, 6), Part(second, 2, 4)]
