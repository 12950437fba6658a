"""Where outputs go: a place that cannot be is one sentence before the work, and no half of a file is ever left."""

import re
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pandas as pd
import pyarrow as pa
import pytest
from conftest import Run
from rows import CASES, row

from rubrika.display import Terminal
from rubrika.files import table_file

Rubrika = Callable[..., Run]
Write = Callable[..., Path]


def refused(done: Run, said: str) -> None:
    assert (done.code, done.out) == (1, "")
    assert said in done.err
    assert len(done.err.splitlines()) == 1, done.err


@pytest.fixture(scope="module")
def few(market: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("few") / "few.parquet"
    pd.read_parquet(market / "test.parquet").head(20).to_parquet(path)
    return path


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (["-o", "/proc/x/r.parquet"], "/proc/x/r.parquet: cannot be written"),
        (["-o", "."], ".: a folder, not a file"),
        (["-o", "/dev/null"], "/dev/null: a device, not a file"),
        (["-o", "r.parquet", "--details", "./r.parquet"], "r.parquet: named twice"),
        (["-o", "r.parquet", "--rejects", "r.parquet"], "r.parquet: named twice"),
        (["-o", "r.parquet", "--rejects", "/proc/x/r.parquet"], "/proc/x/r.parquet: cannot be written"),
    ],
)
def test_classify_refuses_a_place_before_the_work(
    rubrika: Rubrika, index: Path, few: Path, tmp_path: Path, places: list[str], said: str
) -> None:
    refused(rubrika("classify", few, "--index", index, *places, cwd=tmp_path), said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (["-o", "."], ".: a folder, not a file"),
        (["-o", "a.parquet", "--duplicates", "./a.parquet"], "a.parquet: named twice"),
    ],
)
def test_audit_refuses_a_place_before_the_work(
    rubrika: Rubrika, index: Path, tmp_path: Path, places: list[str], said: str
) -> None:
    refused(rubrika("audit", "--index", index, *places, cwd=tmp_path), said)
    assert list(tmp_path.iterdir()) == []


def test_decide_makes_the_folder_of_its_output_and_blames_the_right_file(
    rubrika: Rubrika, index: Path, few: Path, tmp_path: Path
) -> None:
    details, output = tmp_path / "d.parquet", tmp_path / "nodir" / "x.parquet"
    done = rubrika("classify", few, "--index", index, "-o", tmp_path / "r.parquet", "--details", details)
    assert done.code == 0, done.err
    assert rubrika("decide", details, "-o", output).code == 0
    assert rubrika("decide", details).code == 0
    assert details.read_bytes() == output.read_bytes()
    refused(rubrika("decide", details, "-o", "/proc/x/r.parquet"), "/proc/x/r.parquet: cannot be written")
    assert {path.name for path in tmp_path.iterdir()} == {"d.parquet", "r.parquet", "nodir"}


def test_an_index_may_be_the_folder_one_is_in(rubrika: Rubrika, write: Write, tmp_path: Path) -> None:
    path = write([row(1, "кроссовки"), row(2, "чехол", CASES), row(-3, "кеды")])
    inside = tmp_path / "rep[bold]"
    inside.mkdir()
    refused(rubrika("ingest", path, "--index", ".", "--rejects", ".", cwd=inside), ".: a folder, not a file")
    assert list(inside.iterdir()) == []
    done = rubrika("ingest", path, "--index", ".", "--json", cwd=inside)
    assert done.code == 0, done.err
    assert done.json["rejects"] == str(tmp_path / "rep[bold].rejects.parquet")
    assert len(pd.read_parquet(done.json["rejects"])) == 1
    assert "rep[bold]" in rubrika("info", "--index", "rep[bold]", cwd=tmp_path).out


def test_names_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    terminal.note("a[/x]b[bold]c:cat:")
    with terminal.stage("d[/x]e[bold]f:cat:", 1) as advance:
        advance(1)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "a[/x]b[bold]c:cat:"
    assert re.fullmatch(r"d\[/x\]e\[bold\]f:cat:: \d+\.\d s", said[1])


def test_rejects_of_an_earlier_run_do_not_stay_beside_a_clean_one(
    rubrika: Rubrika, index: Path, few: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("product_id,title\n1,\n2,кеды\n", encoding="utf-8")
    output, rejects = tmp_path / "result.parquet", tmp_path / "result.rejects.parquet"
    for file, has_rejects in ((bad, True), (few, False)):
        assert rubrika("classify", file, "--index", index, "-o", output).code == 0
        assert rejects.exists() == has_rejects


def test_a_title_is_a_text_in_a_workbook_whatever_it_looks_like(tmp_path: Path) -> None:
    titles = ['=HYPERLINK("http://shop.example","кеды")', "#N/A", "ваза\x0bсиняя\ufffe", "чайник\n2 л", None]
    table = pa.table({"=product_id": [1, 2, 3, 4, 5], "title": titles})
    with table_file(tmp_path / "t.xlsx", table.schema) as target:
        target.write_table(table)
    [header, *rows] = openpyxl.load_workbook(tmp_path / "t.xlsx").active.iter_rows()
    assert [(cell.value, cell.data_type) for cell in header] == [("=product_id", "s"), ("title", "s")]
    assert [row[0].value for row in rows] == [1, 2, 3, 4, 5]
    assert [row[1].value for row in rows] == [*titles[:2], "ваза\ufffdсиняя\ufffd", *titles[3:]]
    assert {row[1].data_type for row in rows[:4]} == {"s"}


def test_a_title_is_the_same_in_csv_for_who_reads_it_back(tmp_path: Path) -> None:
    table = pa.table({"title": ["=1+2", "-5 °C", "@лев", "'кеды'"]})
    with table_file(tmp_path / "t.csv", table.schema) as target:
        target.write_table(table)
    assert pd.read_csv(tmp_path / "t.csv")["title"].tolist() == table["title"].to_pylist()


def test_without_openpyxl_a_workbook_is_refused_before_the_work(
    rubrika: Rubrika, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rubrika.files.find_spec", lambda name: None if name == "openpyxl" else name)
    # There is not even an index yet.
    done = rubrika("classify", few, "--index", tmp_path / "none", "-o", tmp_path / "r.xlsx")
    refused(done, "r.xlsx: Excel needs openpyxl; pip install 'rubrika[excel]', or name a .csv file")
