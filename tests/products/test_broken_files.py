"""Broken input: whatever is in a file, reading it ends in a sentence or in rejects, with the good rows in."""

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from broken_files import (
    CLEAN,
    COMPRESSIONS,
    DAMAGES,
    GARBAGE,
    GOOD_ROWS,
    HEAVY,
    REJECTS,
    SENTENCE,
    Outcome,
    ReadingProcess,
    healthy,
    write_rows,
)
from conftest import copied
from rows import row

CUTS = 200
DAMAGED_A_FILE = 100
COLUMNS = ("product_id", "category_id", "category_name", "text_fields")


@pytest.fixture(scope="module")
def process() -> Iterator[ReadingProcess]:
    process = ReadingProcess()
    yield process
    process.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.parquet"


def fine(outcome: Outcome, file: Path, *kinds: str) -> None:
    """It ended in one of these ways, and what it said is one short line that names the file."""
    assert outcome.kind in kinds, outcome.said
    if outcome.kind == SENTENCE:
        assert outcome.said.startswith(f"{file}: ")
        assert outcome.said.isprintable()
        assert len(outcome.said) < len(str(file)) + 600


@pytest.mark.parametrize("seed", range(len(COMPRESSIONS)))
def test_a_file_cut_anywhere_ends_in_a_sentence(seed: int, file: Path, process: ReadingProcess) -> None:
    whole = healthy(file, seed)
    fine(process.read(file), file, CLEAN)
    for size in np.linspace(0, len(whole) - 1, CUTS // len(COMPRESSIONS)).astype(int):
        file.write_bytes(whole[:size])
        fine(process.read(file), file, SENTENCE)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("seed", range(8))
def test_damaged_bytes_never_crash(seed: int, damage: str, file: Path, process: ReadingProcess) -> None:
    rng, whole = np.random.default_rng(seed), healthy(file, seed)
    for number in range(DAMAGED_A_FILE):
        file.write_bytes(DAMAGES[damage](whole, rng))
        fine(process.read(file, labelled=number % 2 == 0), file, CLEAN, REJECTS, SENTENCE)


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


IDS, TEXTS = {"decimal", "binary", "text"}, {"binary", "text"}
HELD = {"product_id": IDS, "category_id": IDS, "category_name": TEXTS, "text_fields": {*TEXTS, "struct"}}


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("kind", ARRAYS)
def test_a_needed_column_of_another_type_is_named(kind: str, column: str, file: Path, process: ReadingProcess) -> None:
    outcome = process.read(write_rows(file, **{column: ARRAYS[kind]}))
    if kind in HELD[column]:
        # Each cell is judged by itself.
        fine(outcome, file, CLEAN, REJECTS)
    else:
        fine(outcome, file, SENTENCE)
        assert f"column {column} is" in outcome.said


@pytest.mark.parametrize("column", ["shop_id", "shop_title", "rating", "sale", "anything"])
@pytest.mark.parametrize("kind", ARRAYS)
def test_a_column_that_is_not_needed_costs_no_row(kind: str, column: str, file: Path, process: ReadingProcess) -> None:
    fine(process.read(write_rows(file, **{column: ARRAYS[kind]})), file, CLEAN)


@pytest.mark.parametrize("column", [*COLUMNS, "shop_id"])
def test_columns_of_one_name_are_refused(column: str, file: Path, process: ReadingProcess) -> None:
    table = pa.Table.from_pylist([each | {"shop_id": 1} for each in GOOD_ROWS])
    pq.write_table(table.append_column(column, table[column]), file)
    outcome = process.read(file)
    fine(outcome, file, SENTENCE)
    assert outcome.said.endswith(f"2 columns are called {column}; keep one")


def test_the_names_of_columns_are_shown_fit_for_a_terminal(file: Path, process: ReadingProcess) -> None:
    pq.write_table(pa.table({"\x1b[31mкрасный\u202e\n": [1], "я" * 10_000: [1]}), file)
    outcome = process.read(file)
    fine(outcome, file, SENTENCE)
    assert "no column product_id, text_fields, category (it has [31mкрасный" in outcome.said


@pytest.mark.parametrize("groups", [0, 1])
def test_no_rows_are_no_products(groups: int, file: Path, process: ReadingProcess) -> None:
    schema = pa.Table.from_pylist(GOOD_ROWS).schema
    with pq.ParquetWriter(file, schema) as writer:
        for _ in range(groups):
            writer.write_table(schema.empty_table())
    assert process.read(file) == Outcome(CLEAN)


def test_more_rows_than_bytes_are_refused(file: Path, process: ReadingProcess) -> None:
    nothing = pa.nulls(3_000_000)
    pq.write_table(pa.table(dict.fromkeys(COLUMNS, nothing)), file)
    outcome = process.read(file)
    fine(outcome, file, SENTENCE)
    assert "it promises 3,000,000 rows in" in outcome.said


def test_a_cell_that_is_written_once_for_hundreds_of_rows_takes_no_more_memory(file: Path) -> None:
    cells = pa.DictionaryArray.from_arrays(pa.array([0] * 300, pa.int32()), [" " * 4_000_000])
    pq.write_table(pa.table({"product_id": range(300), "text_fields": cells}), file, store_schema=False)
    assert file.stat().st_size < 1_000_000
    # All at once they would take more than 4 GB.
    process = ReadingProcess(memory=3 * 2**30)
    assert process.read(file, labelled=False, seconds=60) == Outcome(REJECTS, bad=300)
    process.close()


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
def test_what_is_no_parquet_file_is_said(name: str, file: Path, process: ReadingProcess) -> None:
    NO_FILES[name](file)
    fine(process.read(file), file, SENTENCE)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_said(file: Path, process: ReadingProcess) -> None:
    write_rows(file).chmod(0)
    fine(process.read(file), file, SENTENCE)


@pytest.fixture(scope="module")
def shop(index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of this file's own, since other tests read that of all."""
    return copied(index, tmp_path_factory.mktemp("broken") / "rubrika-index")


def test_bad_rows_through_the_front_door(shop: Path, file: Path, rubrika: Callable[..., Any]) -> None:
    big = 2**64
    names = ("a long title", "tags wrongly nested", "a billion laughs", "strange keys")
    heavy = [row(big - 100 + n, "", text_fields=json.dumps(HEAVY[name])) for n, name in enumerate(names)]
    cells = [cell for cell in GARBAGE.values() if len(cell) < 10_000_000]
    bad = [row(big - 200 + n, "", text_fields=cell) for n, cell in enumerate(cells)]
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
    write_rows(file, [each | {"product_id": 0, "shop_id": 0} for each in rows], product_id=numbers, shop_id=shops)
    done = rubrika("ingest", file, "--index", shop, "--json")
    assert done.code == 0, done.err
    aside = pq.read_table(done.json["rejects"]).to_pylist()
    expected = [len(heavy) + number for number in range(1, len(bad) + 1)]
    assert [each["row"] for each in aside] == [*expected, len(rows) - 3, len(rows)]
    assert all(each["reason"] and each["file"] == str(file) for each in aside)
    assert done.json["added"] == len(rows) - len(aside)
    assert "Traceback" not in done.err
    result = file.with_name("result.parquet")
    done = rubrika("classify", file, "--index", shop, "-o", result)
    assert done.code == 0, done.err
    assert pq.read_table(result)["product_id"].to_pylist() == numbers.to_pylist()


BAD_FILES: dict[str, Callable[[Path], object]] = NO_FILES | {
    "cut": lambda path: path.write_bytes(healthy(path, 0)[:-100]),
    "overwritten": lambda path: path.write_bytes(healthy(path, 1).replace(b"text_fields", b"\xff" * 11)),
    "of another type": lambda path: write_rows(path, product_id=ARRAYS["struct"]),
    "of too many rows": lambda path: pq.write_table(pa.table(dict.fromkeys(COLUMNS, pa.nulls(3_000_000))), path),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_through_the_front_door(name: str, shop: Path, file: Path, rubrika: Callable[..., Any]) -> None:
    BAD_FILES[name](file)
    done = rubrika("ingest", file, "--index", shop)
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith(f"rubrika: {file}: ")
    assert "Traceback" not in done.err


def test_rows_before_the_damage_are_in(shop: Path, file: Path, rubrika: Callable[..., Any]) -> None:
    rows = [row(10**6 + number, f"товар {number}") for number in range(100)]
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=64, compression="zstd")
    last = pq.read_metadata(file).row_group(1).column(3)
    whole = bytearray(file.read_bytes())
    whole[last.data_page_offset : last.data_page_offset + 100] = bytes(100)
    file.write_bytes(whole)
    done = rubrika("ingest", file, "--index", shop)
    assert done.code == 1
    assert f"{file}: damaged after row 64" in done.err
    assert rubrika("neighbours", rows[63]["product_id"], "--index", shop).code == 0
    assert rubrika("neighbours", rows[64]["product_id"], "--index", shop).code == 1


def test_the_index_still_classifies_after_all_that(
    shop: Path, market: Path, tmp_path: Path, rubrika: Callable[..., Any]
) -> None:
    result = tmp_path / "result.parquet"
    done = rubrika("classify", market / "test.parquet", "--index", shop, "-o", result, "--json")
    assert done.code == 0, done.err
    table = pq.read_table(result)
    assert table.num_rows == done.json["rows"]
    assert table["predicted_category_id"].null_count == 0
