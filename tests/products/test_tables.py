"""Tables of any kind hold the same products: whoever wrote them, whatever their ids are, however texts are kept."""

import gzip
import json
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubrika.errors import InputError, ParameterError
from rubrika.inputs import ids_of
from rubrika.products import convert
from rubrika.products.columns import Columns
from rubrika.products.frame import Frame
from rubrika.products.identity import MAX_KEY, guessed_separator, identity, numbered, path_label
from rubrika.products.product import Product, Reject
from rubrika.products.reader import Reader, tables_in
from rubrika.products.table import read_ids
from rubrika.products.text import RowError, one_line
from rubrika.retrieve.predictions import own_ids

TITLES = ["Кеды «Лев», 41", 'Чайник "Гном"; 2 л', "Nike Air | белые\nновые"]
PATHS = ["Обувь > Кеды", "Дом > Кухня > Чайники", "Обувь > Кеды"]
IDS: dict[str, list[Any]] = {
    "int": [11, 12, 2**40],
    "text": ["SKU-1", "007", "https://shop.example/?id=3"],
    "uuid": [str(uuid.UUID(int=number)) for number in (1, 2, 3)],
    "decimal": [Decimal(11), Decimal(12), Decimal(2**40)],
    "categorical": ["SKU-1", "SKU-2", "SKU-3"],
}
TEXTS = ["dictionary", "json", "literal", "plain"]


def table(ids: str, texts: str) -> pd.DataFrame:
    """The same three products, with these ids and texts."""
    fields = [{"title": title, "description": "<b>хорошая</b> вещь", "attributes": ["Цвет: синий"]} for title in TITLES]
    frame = pd.DataFrame({"product_id": IDS[ids], "category": PATHS})
    if ids == "categorical":
        frame["product_id"] = frame["product_id"].astype("category")
    if texts == "plain":
        columns = {"title": TITLES, "description": "<b>хорошая</b> вещь", "attributes": "Цвет: синий"}
        return frame.assign(**columns)
    kept = {"dictionary": lambda each: each, "json": lambda each: json.dumps(each, ensure_ascii=False), "literal": repr}
    return frame.assign(text_fields=pd.Series([kept[texts](each) for each in fields], dtype=object))


def arrow(frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(frame, preserve_index=False)


def saved(name: str, write: Callable[[pd.DataFrame, Path], object]) -> Callable[[pd.DataFrame, Path], Path]:
    def save(frame: pd.DataFrame, folder: Path) -> Path:
        write(frame, folder / name)
        return folder / name

    return save


def duckdb_parquet(frame: pd.DataFrame, path: Path) -> None:
    import duckdb

    source = arrow(frame)  # noqa: F841 - DuckDB finds it by its name
    duckdb.sql("SELECT * FROM source").write_parquet(str(path))


def fastparquet_file(frame: pd.DataFrame, path: Path) -> None:
    from fastparquet import write

    flat = frame.assign(product_id=frame["product_id"].astype(str)) if frame["product_id"].dtype == object else frame
    write(str(path), flat)


def hugging_face(frame: pd.DataFrame, path: Path) -> None:
    path.mkdir()
    source = arrow(frame)
    with (
        pa.OSFile(str(path / "data-00000-of-00001.arrow"), "wb") as file,
        pa.ipc.new_stream(file, source.schema) as out,
    ):
        out.write_table(source)
    (path / "state.json").write_text("{}")
    (path / "dataset_info.json").write_text("{}")


WRITERS: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    "pandas frame": lambda frame, _: frame,
    "polars frame": lambda frame, _: pl.from_arrow(arrow(frame)),
    "pyarrow table": lambda frame, _: arrow(frame),
    "pandas parquet": saved("p.parquet", lambda frame, path: frame.to_parquet(path)),
    "pyarrow parquet": saved("a.parquet", lambda frame, path: pq.write_table(arrow(frame), path)),
    "polars parquet": saved("l.parquet", lambda frame, path: pl.from_arrow(arrow(frame)).write_parquet(path)),  # type: ignore[union-attr]
    "duckdb parquet": saved("d.parquet", duckdb_parquet),
    "fastparquet": saved("f.parquet", fastparquet_file),
    "hugging face": saved("dataset", hugging_face),
    "excel": saved("t.xlsx", lambda frame, path: frame.to_excel(path, index=False)),
    "csv": saved("t.csv", lambda frame, path: frame.to_csv(path, index=False)),
    "csv ; cp1251": saved("w.csv", lambda frame, path: frame.to_csv(path, index=False, sep=";", encoding="cp1251")),
    "csv utf-16 crlf": saved(
        "u.csv", lambda it, path: it.to_csv(path, index=False, encoding="utf-16", lineterminator="\r\n")
    ),
    "csv with bom": saved("b.csv", lambda frame, path: frame.to_csv(path, index=False, encoding="utf-8-sig")),
    "tsv.gz": saved("t.tsv.gz", lambda frame, path: frame.to_csv(path, index=False, sep="\t")),
    "json lines": saved("t.jsonl", lambda it, path: it.to_json(path, orient="records", lines=True, force_ascii=False)),
    "json list": saved("t.json", lambda frame, path: frame.to_json(path, orient="records", default_handler=str)),
}
# A dictionary in these is what Python writes of it, or no cell at all.
AS_TEXT = {"excel", "fastparquet"}


def products_of(source: object) -> tuple[list[Product], list[Reject]]:
    reader = Reader(tables_in(source), labelled=True) if isinstance(source, Path) else Frame.of(source, labelled=True)
    batches = list(reader)
    return [it for batch in batches for it in batch.products], [it for batch in batches for it in batch.rejects]


@pytest.mark.parametrize("texts", TEXTS)
@pytest.mark.parametrize("ids", IDS)
@pytest.mark.parametrize("writer", WRITERS)
def test_the_same_products_whoever_wrote_them(writer: str, ids: str, texts: str, tmp_path: Path) -> None:
    frame = table(ids, "literal" if texts == "dictionary" and writer in AS_TEXT else texts)
    products, rejects = products_of(WRITERS[writer](frame, tmp_path))
    assert rejects == []
    wanted = [identity("product_id", id) for id in IDS[ids]]
    assert [(product.id, product.key) for product in products] == wanted
    assert [product.title for product in products] == [" ".join(title.split()) for title in TITLES]
    assert {product.text.split("\n", 1)[1] for product in products} == {"хорошая вещь\nЦвет: синий"}
    assert [product.category and product.category.path for product in products] == [
        "Обувь->Кеды",
        "Дом->Кухня->Чайники",
        "Обувь->Кеды",
    ]
    assert [product.category and product.category.key for product in products] == PATHS


def read(path: Path, labelled: bool = False, **names: str) -> tuple[list[Product], list[Reject]]:
    batches = list(Reader([path], labelled, columns=Columns.of(names)))
    return [it for batch in batches for it in batch.products], [it for batch in batches for it in batch.rejects]


def test_columns_are_read_as_the_user_calls_them(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("sku,name,brand,цвет\nA1,кеды,Nike,синий\n", encoding="utf-8")
    columns = Columns.of("id=sku,title=name,text=brand,text=цвет")
    [batch] = Reader([tmp_path / "own.csv"], labelled=False, columns=columns)
    assert (batch.products[0].key, batch.products[0].text) == ("A1", "кеды\nbrand: Nike\nцвет: синий")


def test_what_is_not_said_is_proposed(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("SKU,name,descr,cat\nA1,кеды,,Обувь\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"say `columns` id=SKU,title=name,description=descr,category=cat if that"):
        Reader([tmp_path / "own.csv"], labelled=True).check()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("sku=id", "knows no sku; it is one of id,"),
        ("id=", "has product_id without a column"),
        ("id=a,id=b", "has product_id twice"),
    ],
)
def test_a_wrong_mapping_is_a_wrong_usage(said: str, reason: str) -> None:
    with pytest.raises(ParameterError, match=reason):
        Columns.of(said)


def test_a_broken_record_costs_its_line_alone(tmp_path: Path) -> None:
    lines = ["product_id;title", "1;кеды", '2;"чайник', "3;ваза;лишнее", "4;кот", "5", '6;"а; ""б""\nв"', '7;"конец']
    (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    products, rejects = read(tmp_path / "t.csv")
    assert [(it.id, it.title) for it in products] == [(1, "кеды"), (4, "кот"), (6, 'а; "б" в')]
    assert [it.reason for it in rejects] == [
        "line 3: a quote is not closed",
        "line 4: 3 cells instead of 2",
        "line 6: 1 cells instead of 2",
        "line 9: a quote is not closed",
    ]


def test_a_lone_return_within_a_cell_ends_no_record(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("product_id,title\n1,кеды\rбелые\n2,ваза\n".encode())
    products, rejects = read(tmp_path / "t.csv")
    assert ([it.title for it in products], rejects) == (["кеды белые", "ваза"], [])


def test_a_first_line_longer_than_the_sample_is_a_line(tmp_path: Path) -> None:
    first = json.dumps({"product_id": 1, "title": "кеды", "description": "а\rб " * convert.SAMPLE}, ensure_ascii=False)
    (tmp_path / "t.jsonl").write_text(first + '\n{"product_id": 2, "title": "ваза"}\n', encoding="utf-8")
    products, rejects = read(tmp_path / "t.jsonl")
    assert ([it.title for it in products], rejects) == (["кеды", "ваза"], [])


def test_old_files_end_their_lines_with_a_lone_return(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("product_id,title\r1,кеды\r2,ваза\r".encode())
    assert [it.title for it in read(tmp_path / "t.csv")[0]] == ["кеды", "ваза"]


@pytest.mark.parametrize("place", [1, 30])
def test_a_cell_that_is_too_long_costs_its_row_alone(place: int, tmp_path: Path) -> None:
    lines = [f"{id};кеды, белые" for id in range(1, 40)]
    lines.insert(place - 1, "99;" + "ваза, " * 30_000)
    (tmp_path / "t.csv").write_text("\n".join(["product_id;title", *lines]), encoding="utf-8")
    products, [reject] = read(tmp_path / "t.csv")
    assert [it.id for it in products] == list(range(1, 40))
    assert (reject.row, reject.reason) == (place, f"line {place + 1}: field larger than field limit (131072)")


@pytest.mark.parametrize("name", ["t.csv.gz", "t.jsonl.gz"])
def test_what_unpacks_to_more_than_texts_do_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(gzip.compress(b"product_id,title\n") + 10 * gzip.compress(b"\n" * 7_000_000))
    with pytest.raises(InputError, match=rf"{name}: damaged: it unpacks to more than [\d,]+ bytes; export it again"):
        Reader([tmp_path / name], labelled=False).check()


def test_the_line_of_a_bad_row_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('product_id,title\n1,"а\nб"\n,ваза\n', encoding="utf-8")
    _, [reject] = read(tmp_path / "t.csv")
    assert (reject.row, reject.reason) == (2, "line 4: product_id is empty")


@pytest.mark.parametrize("encoding", ["utf-8", "cp1251", "koi8-r", "cp866"])
def test_russian_is_read_in_any_of_its_encodings(encoding: str, tmp_path: Path) -> None:
    text = "product_id,title\n1,Кроссовки мужские Nike\n2,Ёлка «Снег»\n".replace("«", '"' * 0).replace("»", "")
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    assert [it.title for it in read(tmp_path / "t.csv")[0]] == ["Кроссовки мужские Nike", "Ёлка Снег"]


def test_french_in_latin_letters_is_not_taken_for_russian(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("product_id,title\n1,Théière émaillée\n".encode("cp1252"))
    assert read(tmp_path / "t.csv")[0][0].title == "Théière émaillée"


def test_ids_that_a_spreadsheet_spoiled_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("product_id,title\n1.23E+11,кеды\n12.0,ваза\n", encoding="utf-8")
    [product], [reject] = read(tmp_path / "t.csv")
    assert product.id == 12
    assert reject.reason == "line 2: product_id 1.23E+11 was shortened by a spreadsheet; export it as text"


@pytest.mark.parametrize(
    ("kind", "rounded"), [(pa.float16(), 2**11 + 2), (pa.float32(), 2**24 + 2), (pa.float64(), 2**54)]
)
def test_an_id_that_its_column_may_have_rounded_is_refused(kind: pa.DataType, rounded: int, tmp_path: Path) -> None:
    table = pa.table({"product_id": pa.array([7.0, float(rounded)], kind), "title": ["кеды", "ваза"]})
    pq.write_table(table, tmp_path / "t.parquet")
    [product], [reject] = read(tmp_path / "t.parquet")
    assert product.id == 7
    assert "may have been rounded" in reject.reason


def test_json_columns_of_other_programs_are_texts(tmp_path: Path) -> None:
    cells = pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"title": "кеды"}']))
    pq.write_table(pa.table({"product_id": [1], "text_fields": cells}), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet")[0][0].title == "кеды"


def test_folders_patterns_and_partitions(tmp_path: Path) -> None:
    for shelf, id in (("Обувь", 1), ("Дом", 2)):
        (tmp_path / f"category={shelf}").mkdir()
        pq.write_table(pa.table({"product_id": [id], "title": ["вещь"]}), tmp_path / f"category={shelf}" / "p.parquet")
    (tmp_path / "_SUCCESS.csv").touch()
    for path in (tmp_path, tmp_path / "*" / "p.parquet"):
        reader = Reader(tables_in(path), labelled=True)
        found = {
            product.id: product.category and product.category.key for batch in reader for product in batch.products
        }
        assert found == {1: "Обувь", 2: "Дом"}
        assert sum(reader.labels().values()) == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="a folder without a table"):
        tables_in(tmp_path / "empty")


def test_a_damaged_table_is_one_sentence(tmp_path: Path) -> None:
    for name, content in {
        "a.xlsx": b"PK\x03\x04 no workbook",
        "b.json": b'[{"product_id": 1, ',
        "c.jsonl": b"[]\n1\n",
        "d.csv.gz": gzip.compress(b"product_id,title\n1,a\n")[:-9],
        "e.csv": b"\n \n",
        "f.arrow": b"ARROW1 no file",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            Reader([tmp_path / name], labelled=False).check()


@pytest.mark.parametrize("name", ["t.csv", "t.xlsx"])
def test_a_column_may_be_there_twice_unless_it_is_wanted(name: str, tmp_path: Path) -> None:
    frame = pd.DataFrame([[1, "кеды", "синие", "новые"]], columns=["product_id", "title", "note", "note"])
    write = frame.to_csv if name == "t.csv" else frame.to_excel
    write(tmp_path / name, index=False)
    assert [it.text for it in read(tmp_path / name)[0]] == ["кеды"]
    with pytest.raises(InputError, match=rf"{name}: 2 columns are called note; keep one"):
        read(tmp_path / name, text="note")
    assert [it.text for it in read(tmp_path / name, text="note (column 4)")[0]] == ["кеды\nnote (column 4): новые"]


def test_a_doubled_column_of_a_table_of_ids_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gone.csv").write_text("product_id,product_id\n1,2\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"gone.csv: it needs the columns product_id, each once"):
        read_ids(tmp_path / "gone.csv")


def test_ids_to_delete_may_be_in_any_table(tmp_path: Path) -> None:
    (tmp_path / "gone.csv").write_text("product_id\nSKU-1\n12\nSKU-1\n", encoding="utf-8")
    assert read_ids(tmp_path / "gone.csv") == [numbered("SKU-1"), 12]


def test_a_name_longer_than_that_of_any_file_is_an_id_or_a_sentence() -> None:
    name = "SKU-" * 100
    assert ids_of(name) == [numbered(name)]
    with pytest.raises(InputError, match=rf"^{name}: cannot be read \(File name too long\); check the path$"):
        tables_in(Path(name))


def test_ids_of_a_pandas_index_are_found() -> None:
    frame = pd.DataFrame({"product_id": ["a", "b"], "title": ["кеды", "ваза"]}).set_index("product_id")
    [batch] = Frame.of(frame, labelled=False)
    assert [product.key for product in batch.products] == ["a", "b"]


def test_letters_of_two_characters_are_read_as_one() -> None:
    [batch] = Frame.of(pd.DataFrame({"product_id": [1], "title": ["йод"]}), labelled=False)
    assert batch.products[0].title == "йод"


def test_entities_in_titles_and_values_are_resolved() -> None:
    fields = {"title": "Чай &quot;Лев&quot;", "attributes": {"Вес": "100&nbsp;<b>г</b>"}}
    [batch] = Frame.of(pd.DataFrame({"product_id": [1], "text_fields": [fields]}), labelled=False)
    assert batch.products[0].text == 'Чай "Лев"\nВес: 100 г'


@given(st.text(min_size=1, max_size=MAX_KEY))
def test_a_text_has_one_number_that_no_spreadsheet_rounds(text: str) -> None:
    try:
        number, key = identity("product_id", text)
    except RowError:
        return
    assert number < 2**53 if key else str(number) == one_line(text).removesuffix(".0")
    assert identity("product_id", key or number) == (number, key)


@given(st.lists(st.text("абв /", min_size=1).map(str.strip).filter(bool), min_size=1, max_size=5))
def test_a_label_comes_back_as_it_was(levels: list[str]) -> None:
    levels = [" ".join(level.split()) for level in levels]
    label = " > ".join(levels)
    category = path_label(label, guessed_separator([label]) if len(levels) > 1 else None)
    assert category.key == label
    assert category.path.split("->") == levels


@pytest.mark.parametrize(
    ("labels", "separator"),
    [
        (["A > B", "A > C/D", "E"], " > "),
        (["A>B", "A>C"], ">"),
        (["A/B", "A/C"], "/"),
        (["A->B > C"], "->"),
        (["TV/Video", "Shoes", "Home"], None),
        ([], None),
    ],
)
def test_what_stands_between_levels_is_seen(labels: list[str], separator: str | None) -> None:
    assert guessed_separator(labels) == separator


def test_a_broken_row_of_a_table_of_ids_refuses_the_whole(tmp_path: Path) -> None:
    file = tmp_path / "gone.csv"
    file.write_text("product_id,why\n1,sold\n2,sold,twice\n3,sold\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"gone.csv row 2: line 3: 3 cells instead of 2; nothing was changed"):
        read_ids(file)


def test_the_encoding_of_a_table_is_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, asked = tmp_path / "shop.csv", list[Path]()
    file.write_text("product_id,title\n1,кеды\n", encoding="cp1251")
    monkeypatch.setattr(convert, "encoding_of", lambda path: asked.append(path) or "cp1251")
    [batch] = Reader([file], labelled=False)
    assert ([product.title for product in batch.products], asked) == (["кеды"], [file])


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (pa.array([2**63 + 1], pa.uint64()), None, pa.uint64()),
        (pa.array([Decimal(2**63 + 1)], pa.decimal128(20)), None, pa.uint64()),
        (pa.array([1], pa.int64()), pa.array([2**63 + 1], pa.uint64()), pa.uint64()),
        (pa.array([1], pa.int32()), pa.array([2**40], pa.int64()), pa.int64()),
        (pa.array([1], pa.int64()), pa.array(["SKU-1"]), pa.string()),
        (pa.array([7.0], pa.float64()), None, pa.int64()),
    ],
    ids=str,
)
def test_the_column_of_ids_holds_those_of_all_files(
    tmp_path: Path, first: pa.Array, second: pa.Array | None, kind: pa.DataType
) -> None:
    files = [tmp_path / f"{place}.parquet" for place in range(1 if second is None else 2)]
    for file, ids in zip(files, (first, second), strict=False):
        pq.write_table(pa.table({"product_id": ids, "title": ["кеды"]}), file)
    reader = Reader(files, labelled=False)
    assert reader.id_type() == kind
    products = [product for batch in reader for product in batch.products]
    assert pa.array(own_ids(products, kind), kind).null_count == 0
