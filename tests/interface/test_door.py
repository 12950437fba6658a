"""The front door: somebody's own table, with their own ids and labels, from the first command to the result."""

import json
import multiprocessing
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pandas as pd
import pytest
from conftest import Run, run_process
from rows import row

from rubrika.api import Index
from rubrika.errors import ParameterError, StoreError

NAMES = "id=sku,title=name,text=brand"
SHOES, CASES = "Обувь > Кроссовки", "Электроника > Чехлы"


def shop(count: int = 60) -> pd.DataFrame:
    """Shoes and cases, with text ids, as a shop might export them."""
    kinds = [("кроссовки беговые", SHOES) if place % 2 else ("чехол для телефона", CASES) for place in range(count)]
    rows = [
        (f"SKU-{place:03}", f"{name} {place}", "Лев" if place % 3 else "Гном", path)
        for place, (name, path) in enumerate(kinds)
    ]
    return pd.DataFrame(rows, columns=["sku", "name", "brand", "category"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of that shop, beside the table it came from and one of new products."""
    made = tmp_path_factory.mktemp("shop")
    shop().to_csv(made / "shop.csv", index=False)
    shop(70).iloc[60:].drop(columns="category").to_csv(made / "new.csv", index=False)
    done = run_process("ingest", "shop.csv", "--columns", NAMES, "--index", "index", "--json", cwd=made)
    assert done.code == 0, done.err
    assert done.json["added"] == 60
    return made


def test_two_commands_from_a_table_to_its_own_labels(rubrika: Callable[..., Run], folder: Path) -> None:
    done = rubrika(
        "classify", "new.csv", "--index", "index", "-o", "result.csv", "--details", "details.jsonl", cwd=folder
    )
    assert done.code == 0, done.err
    result = pd.read_csv(folder / "result.csv")
    assert list(result.columns) == ["product_id", "predicted_category_id"]
    assert list(result["product_id"]) == [f"SKU-0{place}" for place in range(60, 70)]
    assert list(result["predicted_category_id"]) == [CASES, SHOES] * 5
    first = json.loads((folder / "details.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["alternatives"][0]["category_id"] == CASES
    assert first["neighbours"][0]["product_id"].startswith("SKU-0")
    assert first["predicted_category_name"] == "Электроника->Чехлы"


@pytest.mark.parametrize("name", ["r.parquet", "r.csv", "r.tsv", "r.jsonl", "r.xlsx"])
def test_a_result_is_written_as_its_name_ends(
    rubrika: Callable[..., Run], folder: Path, tmp_path: Path, name: str
) -> None:
    done = rubrika("classify", folder / "new.csv", "--index", folder / "index", "-o", tmp_path / name)
    assert done.code == 0, done.err
    read = {".parquet": pd.read_parquet, ".csv": pd.read_csv, ".xlsx": pd.read_excel}
    read |= {".tsv": lambda path: pd.read_csv(path, sep="\t"), ".jsonl": lambda path: pd.read_json(path, lines=True)}
    found = read[Path(name).suffix](tmp_path / name)
    assert found.iloc[0].to_dict() == {"product_id": "SKU-060", "predicted_category_id": CASES}


def test_a_result_for_a_pipe(folder: Path) -> None:
    done = run_process("classify", "new.csv", "--index", "index", "-o", "-", cwd=folder)
    assert done.out.splitlines()[:2] == ['"product_id","predicted_category_id"', f'"SKU-060","{CASES}"']
    assert "10 products" in done.err
    assert run_process("classify", "new.csv", "--index", "index", "-o", "-", "--json", cwd=folder).code == 2


def test_large_numbers_are_texts_in_a_workbook(tmp_path: Path) -> None:
    rows = [row(2**53 + 1, "кеды"), row(7, "чехол", (22, "Чехлы"))]
    with Index.open(tmp_path / "index") as index:
        index.ingest(pd.DataFrame(rows * 1))
        pd.DataFrame(rows).to_parquet(tmp_path / "t.parquet")
        index.classify_file(tmp_path / "t.parquet", tmp_path / "r.xlsx")
    cells = list(openpyxl.load_workbook(tmp_path / "r.xlsx").active.iter_rows(min_row=2, max_col=1, values_only=True))
    assert cells == [(str(2**53 + 1),), (7,)]


def test_a_person_calls_products_and_categories_by_their_own_names(rubrika: Callable[..., Run], folder: Path) -> None:
    nearest = rubrika("neighbours", "SKU-001", "--index", folder / "index", "--json").json["neighbours"][0]
    assert nearest["product_id"].startswith("SKU-0")
    assert nearest["category_id"] == SHOES
    table = folder / "near.csv"
    assert rubrika("neighbours", "SKU-001", "--index", folder / "index", "-o", table).code == 0
    assert pd.read_csv(table).iloc[0].to_dict() == nearest
    assert rubrika("explain", "SKU-001", "--index", folder / "index", "--json").json["predicted_category_id"] == SHOES
    assert rubrika("relabel", "SKU-001", CASES, "--index", folder / "index", "--json").json["relabelled"] == 1
    assert rubrika("relabel", "SKU-001", SHOES, "--index", folder / "index", "--json").json["relabelled"] == 1
    unknown = rubrika("neighbours", "SKU-999", "--index", folder / "index")
    assert (unknown.code, "product SKU-999 is not in" in unknown.err) == (1, True)


def test_the_same_file_again_changes_nothing_and_the_index_is_whole(rubrika: Callable[..., Run], folder: Path) -> None:
    shuffled = shop().sample(frac=1, random_state=1)
    shuffled.to_json(folder / "again.jsonl", orient="records", lines=True, force_ascii=False)
    again = rubrika("ingest", "again.jsonl", "--index", "index", "--json", cwd=folder)
    assert again.json["unchanged"] + again.json["kept"] == 60
    assert rubrika("check", "--index", folder / "index", "--json").json["problems"] == {}
    with Index.open(folder / "index") as index:
        found = index.classify(shop().assign(name=lambda it: it["name"] + "!"), include_self=True).to_frame()
    assert list(found["product_id"][:2]) == ["SKU-000", "SKU-001"]
    assert set(found["predicted_category_id"]) == {SHOES, CASES}
    with Index.open(folder / "index") as index:
        [first] = index.classify(shop(1)).to_frame(details=True).itertuples()
    assert first.alternatives[0]["category_id"] == CASES
    assert first.neighbours[0]["product_id"].startswith("SKU-0")


def test_it_is_shown_what_each_view_counts_for(rubrika: Callable[..., Run], folder: Path) -> None:
    shown = " ".join(rubrika("info", "--index", folder / "index", COLUMNS="200").out.split())
    assert re.search(r"vector text │ learned, 256 wide; its views count 0\.\d+ \(learned\) to 0\.\d+ \(margin\)", shown)


def test_ids_of_one_number_are_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rubrika.products import identity

    first = identity.identity("product_id", "SKU-003")[0]
    monkeypatch.setattr(identity, "numbered", lambda text: first if text == "SKU-clash" else 2**52 + len(text))
    with Index.open(folder / "index") as index:
        report = index.ingest(shop(1).assign(sku="SKU-clash"), columns=NAMES)
    assert [reject.reason for reject in report.rejects] == [
        "product_id SKU-clash has the same number in the store as SKU-003; give it another id"
    ]


def test_when_nothing_can_be_used_the_reasons_are_kept(
    rubrika: Callable[..., Run], folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.csv").write_text(
        "product_id,text_fields,category\n1,кеды,Обувь\n2,чехол,Чехлы\n", encoding="utf-8"
    )
    for index in (tmp_path / "index", folder / "index"):
        done = rubrika("ingest", tmp_path / "bad.csv", "--index", index)
        assert done.code == 1
        assert "text_fields is neither JSON nor a Python literal" in done.err
        rejects = index.with_name("index.rejects.parquet")
        assert len(pd.read_parquet(rejects)) == 2
    # What an earlier run set aside does not stay beside a clean one.
    assert rubrika("ingest", "shop.csv", "--index", "index", cwd=folder).code == 0
    assert not rejects.exists()


def test_pictures_that_match_nothing_are_said(rubrika: Callable[..., Run], folder: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "front.jpg").touch()
    options = ("--columns", NAMES, "--images", tmp_path / "photos", "--image-encoder", "efficientnet-lite0")
    done = rubrika("ingest", folder / "shop.csv", "--index", tmp_path / "index", *options)
    assert done.code == 1
    assert "no picture of these products (SKU-000, SKU-001, SKU-002, …) among its pictures (front.jpg, …)" in done.err


@pytest.mark.parametrize(
    ("command", "said", "code"),
    [
        (["classify", "new.csv", "--level", "9"], "--level is at most 2, as deep as", 2),
        (["classify", "new.csv", "-o", "new.csv"], "new.csv: named twice", 1),
        (["classify", "new.csv", "-o", "index/edge/r.csv"], "inside the index index, whose files are its own", 1),
        (["classify", "new.csv", "-o", "r.doc"], "r.doc: a table is written as .parquet, .csv", 1),
        (
            ["classify", "new.csv", "--index", "shop.csv", "--columns", NAMES],
            "shop.csv: a file, not the folder of an",
            1,
        ),
        (
            ["evaluate", "shop.csv", "--columns", f"{NAMES}", "--group-by", "same"],
            "column same has one value, а, in all",
            1,
        ),
        (
            ["evaluate", "shop.csv", "--columns", f"{NAMES}", "--group-by", "none"],
            "column none is empty in all rows",
            1,
        ),
        (["ingest", "shop.csv", "--columns", "sku=id"], "--columns knows no sku", 2),
        (["sample", "there"], "train.parquet: there already; choose another folder, or replace it with --force", 1),
    ],
)
def test_what_cannot_be_is_one_sentence(
    rubrika: Callable[..., Run], folder: Path, command: list[str], said: str, code: int
) -> None:
    shop().assign(same="а", none=None).to_csv(folder / "shop.csv", index=False)
    (folder / "there").mkdir(exist_ok=True)
    (folder / "there" / "train.parquet").touch()
    place = () if {"--index", "sample", "evaluate"} & set(command) else ("--index", "index")
    done = rubrika(*command, *place, cwd=folder)
    assert (done.code, said in done.err) == (code, True), done.err


def test_the_number_of_hits_is_bounded(folder: Path) -> None:
    with Index.open(folder / "index") as index, pytest.raises(ParameterError, match="`top_k` is at most 1,000"):
        index.classify(shop(2), top_k=10**9, columns=NAMES)


def asked_in_a_child(index: Index) -> None:
    try:
        index.neighbours("SKU-002")
    except StoreError as error:
        os._exit(7 if "opened in another process" in str(error) else 1)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_an_index_of_another_process_is_refused_at_once(folder: Path) -> None:
    with Index.open(folder / "index") as index:
        child = multiprocessing.get_context("fork").Process(target=asked_in_a_child, args=(index,))
        child.start()
        child.join(30)
        assert child.exitcode == 7


def test_standard_output_may_be_full_or_of_another_alphabet(folder: Path) -> None:
    command = [sys.executable, "-m", "rubrika", "neighbours", "SKU-002", "--index", str(folder / "index")]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "standard output cannot be written (No space left on device)" in done.stderr
    latin = os.environ | {"PYTHONIOENCODING": "latin-1"}
    for more in ([], ["--json"]):
        shown = subprocess.run([*command, *more], capture_output=True, env=latin, timeout=120)
        assert (shown.returncode, shown.stderr) == (0, b"")
    assert json.loads(shown.stdout)["neighbours"][0]["category_id"] == CASES


def test_the_version_is_told() -> None:
    done = subprocess.run([sys.executable, "-m", "rubrika", "--version"], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("rubrika 0.")


@pytest.fixture
def numbered(index_of: Callable[..., Path]) -> Path:
    """An index whose categories have numbers, two of them one path."""
    paths = {11: "Все категории->Обувь->Кеды", 22: "Все категории->Чехлы", 33: "Лампы->Другое", 44: "Лампы->Другое"}
    names = {11: "кеды белые", 22: "чехол для телефона", 33: "лампа", 44: "лампа настольная"}
    rows = [row(place, f"{names[id]} {place}", (id, paths[id])) for place, id in enumerate([11, 22, 33, 44] * 8, 1)]
    return index_of(rows)


def test_a_path_alone_finds_the_category_that_has_a_number(
    rubrika: Callable[..., Run], numbered: Path, tmp_path: Path
) -> None:
    lines = ["101,кеды чёрные,Обувь > Кеды", "102,чехол синий,Чехлы", "103,кеды зимние,Все категории > Обувь > Кеды"]
    gold = tmp_path / "gold.csv"
    gold.write_text("\n".join(["product_id,title,category", *lines]), encoding="utf-8")
    scored = rubrika("evaluate", gold, "--index", numbered, "--json").json
    assert (scored["rows"], scored["accuracy"]) == (3, 1.0)
    added = rubrika("ingest", gold, "--index", numbered, "--json").json
    assert (added["added"], added["renamed"]) == (3, 0)
    known = rubrika("categories", "--index", numbered, "--json").json["categories"]
    assert {each["category_id"]: each["products"] for each in known} == {11: 10, 22: 9, 33: 8, 44: 8}
    assert rubrika("relabel", "101", "Чехлы", "--index", numbered, "--json").json["relabelled"] == 1


def test_an_id_alone_leaves_the_name_of_its_category(
    rubrika: Callable[..., Run], numbered: Path, tmp_path: Path
) -> None:
    (tmp_path / "new.csv").write_text("product_id,title,category_id\n101,кеды чёрные,11\n", encoding="utf-8")
    added = rubrika("ingest", tmp_path / "new.csv", "--index", numbered, "--json").json
    assert (added["added"], added["renamed"], added["name_conflicts"]) == (1, 0, [])


def test_a_path_of_several_categories_is_not_guessed(
    rubrika: Callable[..., Run], numbered: Path, tmp_path: Path
) -> None:
    lines = ["101,лампа,Лампы > Другое", "102,кеды,Обувь > Кеды", "103,чехол,Все категории > Чехлы"]
    (tmp_path / "new.csv").write_text("\n".join(["product_id,title,category", *lines]), encoding="utf-8")
    added = rubrika("ingest", tmp_path / "new.csv", "--index", numbered, "--json").json
    assert (added["added"], added["rejected"]) == (2, 1)
    [reason] = pd.read_parquet(added["rejects"])["reason"]
    several = "2 categories of the index are called Лампы->Другое (33, 44); say by its id which is meant"
    assert reason == f"line 2: {several}"
    refused = rubrika("relabel", "1", "Лампы > Другое", "--index", numbered)
    assert (refused.code, several in refused.err) == (2, True), refused.err
