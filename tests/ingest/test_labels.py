"""A person's label is kept: whatever the catalogue says the next day, through learning again and repair."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import Run
from index_contents import contents
from rows import CASES, SHOES, row

from rubrika import Index, RubrikaError
from rubrika.index.folder import Index as Opened
from rubrika.index.location import Location
from rubrika.ingest.relabel import Relabelled, restore
from rubrika.store.base import Payload

Write = Callable[..., Path]
DRESSES = (33, "Все категории->Одежда->Платья")
ROWS = [
    *(row(id, f"кроссовки беговые {id}") for id in (1, 2, 3)),
    *(row(id, f"чехол силиконовый {id}", CASES) for id in (4, 5, 6)),
    *(row(id, f"платье летнее {id}", DRESSES) for id in (7, 8)),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a catalogue, and an index of it in which Anna has corrected product 1."""
    folder = tmp_path_factory.mktemp("labels")
    pd.DataFrame(ROWS).to_parquet(folder / "catalogue.parquet")
    with Index.open(folder / "index") as index:
        index.ingest(folder / "catalogue.parquet")
        assert index.correct({1: CASES[0]}, by="anna") == Relabelled(relabelled=1)
    return folder


@pytest.fixture
def catalogue(made: Path) -> Path:
    return made / "catalogue.parquet"


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made / "index", tmp_path / "index")


def payloads(folder: Path) -> dict[int, Payload]:
    return {id: payload for id, (payload, _) in contents(folder, times=True).items()}


def said(product: int, category: int) -> dict[str, int]:
    """A row of a table of labels."""
    return {"product_id": product, "category_id": category}


def label(folder: Path, product: int) -> tuple[int, str | None]:
    """The category of a product, and who set it."""
    payload = payloads(folder)[product]
    assert payload["category"] == payload["category_path"].split("->")[-1]
    assert (payload.get("label_source") == "person") == ("labelled_by" in payload) == ("labelled_at" in payload)
    return payload["category_id"], payload.get("labelled_by")


def test_the_catalogue_does_not_undo_what_a_person_said(folder: Path, catalogue: Path) -> None:
    before = payloads(folder)
    report = Index.open(folder).ingest(catalogue)
    assert (report.read, report.kept, report.unchanged, report.encoded) == (8, 1, 7, 0)
    [kept] = report.kept_labels
    assert (kept.file, kept.row, kept.product_id, kept.labelled_by) == (catalogue, 1, 1, "anna")
    assert (kept.category_id, kept.category_name, kept.row_category_id, kept.row_category_name) == (*CASES, *SHOES)
    assert kept.labelled_at.startswith("20")
    # And says so the next day too, without writing anything.
    assert Index.open(folder).ingest(catalogue).kept == 1
    assert payloads(folder) == before


def test_what_else_changes_of_a_kept_product_is_written(folder: Path, write: Write) -> None:
    report = Index.open(folder).ingest(write([row(1, "чехол для кроссовок", rating=5.0), row(2, "кеды", CASES)]))
    assert (report.kept, report.updated, report.encoded) == (1, 1, 2)
    assert payloads(folder)[1]["title"] == "чехол для кроссовок"
    assert label(folder, 1) == (CASES[0], "anna")


def test_a_catalogue_that_agrees_at_last_changes_nothing(folder: Path, write: Write) -> None:
    before = payloads(folder)
    report = Index.open(folder).ingest(write([row(1, "кроссовки беговые 1", CASES)]))
    assert (report.unchanged, report.kept) == (1, 0)
    assert payloads(folder) == before


def test_a_later_person_is_right(folder: Path) -> None:
    with Index.open(folder) as index:
        assert index.correct({1: DRESSES[0]}, by="boris").relabelled == 1
        assert label(folder_closed(index, folder), 1) == (DRESSES[0], "boris")
        # The same again is no news.
        assert index.correct({1: DRESSES[0]}, by="anna") == Relabelled(unchanged=1)
    assert label(folder, 1) == (DRESSES[0], "boris")


def folder_closed(index: Index, folder: Path) -> Path:
    index.close()
    return folder


def test_reviewed_and_right_is_a_label_of_a_person_too(folder: Path, write: Write) -> None:
    with Index.open(folder) as index:
        assert index.correct({2: None, 3: SHOES[0], 1: None}, by="anna") == Relabelled(verified=2, unchanged=1)
        assert index.ingest(write([row(id, f"кроссовки беговые {id}", CASES) for id in (2, 3)])).kept == 2
    assert label(folder, 2) == label(folder, 3) == (SHOES[0], "anna")


def test_rows_that_a_person_labelled_say_so(folder: Path, catalogue: Path, write: Write) -> None:
    rows = [
        row(2, "кроссовки беговые 2", CASES, label_source="Person"),
        row(3, "кроссовки беговые 3", label_source="person"),
        row(4, "чехол силиконовый 4", DRESSES, label_source="shop"),
        row(9, "платье красное", DRESSES, label_source="person"),
    ]
    reviewed = write(rows, "reviewed.parquet")
    with Index.open(folder) as index:
        report = index.ingest(reviewed, by="anna")
        assert (report.added, report.updated, report.relabelled) == (1, 1, 2)
        assert index.ingest(reviewed, by="boris").unchanged == 4
        assert index.ingest(catalogue).kept == 2
    assert [label(folder, id) for id in (2, 3, 4, 9)] == [(22, "anna"), (11, "anna"), (22, None), (33, "anna")]


def test_whole_files_are_verified(folder: Path, catalogue: Path) -> None:
    with Index.open(folder) as index:
        report = index.ingest(catalogue, verified=True, by="anna")
        # Of product 1, which Anna had corrected, she has changed her mind.
        assert (report.updated, report.relabelled, report.kept) == (7, 1, 0)
        assert index.ingest(catalogue, verified=True, by="anna").unchanged == 8
    assert label(folder, 1) == (SHOES[0], "anna")


def test_a_catalogue_that_is_known_is_read_again_when_it_was_verified(made: Path, tmp_path: Path, write: Write) -> None:
    folder = shutil.copytree(made / "index", tmp_path / "index")
    part = write(ROWS[3:])
    with Index.open(folder) as index:
        assert index.ingest(part).unchanged == index.ingest(part).unchanged == 5
        assert index.ingest(part, verified=True).updated == 5


def test_learning_again_and_repair_keep_who_said_so(folder: Path, catalogue: Path) -> None:
    with Index.open(folder) as index:
        index.learn([catalogue])
        assert label(folder_closed(index, folder), 1) == (CASES[0], "anna")
        with Opened.open(Location(folder), shared=False) as opened:
            points = opened.store.fetch([1, 2])
            opened.store.replace_payloads({id: point.payload | {"text_hash": "0"} for id, point in points.items()})
        assert index.check([catalogue], repair=True).repaired == 2
    assert (label(folder, 1), label(folder, 2)) == ((CASES[0], "anna"), (SHOES[0], None))


def test_a_table_of_labels_is_what_a_person_says(folder: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("product_id,category_id\n2,33\n3,11\n1,22\n", encoding="utf-8")
    with Index.open(folder) as index:
        assert index.relabel(labels, by="anna") == Relabelled(relabelled=1, verified=1, unchanged=1)
        assert index.relabel(labels, by="boris") == Relabelled(unchanged=3)
    assert [label(folder, id) for id in (1, 2, 3)] == [(22, "anna"), (33, "anna"), (11, "anna")]


def test_a_table_of_categories_moves_their_products(folder: Path, write: Write) -> None:
    moves = write([{"from": 11, "to": 33}, {"from": 22, "to": 33}, {"from": 99, "to": 33}])
    with Index.open(folder) as index:
        assert index.relabel(moves) == Relabelled(relabelled=6, unknown=1)
        assert index.relabel(moves) == Relabelled(unknown=3)
    # A person's label moves with its category, and is still the person's.
    assert (label(folder, 1), label(folder, 2)) == ((33, "anna"), (33, None))


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (
            [said(2, 33), said(99, 33)],
            "1 of the 2 products, such as 99,",
        ),
        (
            [said(2, 33), said(3, 99)],
            "category 99 is not known; give",
        ),
        ([said(2, 33), said(2, 22)], "row 2: product_id 2 was in an"),
        ([said(2, -33)], "row 1: category_id -33 is outside"),
        ([{"from": 11, "to": 33}, {"from": 33, "to": 22}], "category 33 is to be left, and others are to move to it"),
        ([{"from": 11, "to": 33}, {"from": 11, "to": 22}], "row 2: from 11 was in an earlier row with 33, not 22"),
        ([{"from": 11, "to": 99}], "category 99 is not known"),
        ([{"from": 11, "into": 22}], "needs the columns product_id and category_id, or from and to, each once"),
    ],
)
def test_a_table_is_checked_whole_before_anything_changes(
    folder: Path, write: Write, rows: list[dict[str, int]], reason: str
) -> None:
    before = payloads(folder), (folder / "index.json").read_bytes(), (folder / "categories.json").read_bytes()
    with pytest.raises(RubrikaError, match=reason):
        Index.open(folder).relabel(write(rows))
    assert before == (
        payloads(folder),
        (folder / "index.json").read_bytes(),
        (folder / "categories.json").read_bytes(),
    )


def test_a_category_is_named_with_its_first_correction(folder: Path) -> None:
    with Index.open(folder) as index:
        assert index.correct({8: 55}, "Все категории->Спорт->Купальники").relabelled == 1
        with pytest.raises(RubrikaError, match="category 55 is called .*Купальники»; rename it with"):
            index.correct({7: 55}, "Купальники")
        with pytest.raises(RubrikaError, match="`by` is the name of a person"):
            index.correct({7: 55}, by=" ")
        assert index.correct({7: 55}).relabelled == 1
    assert payloads(folder)[7]["category_levels"] == ["Спорт", "Купальники"]


def test_the_audit_does_not_ask_about_what_a_person_has_seen(folder: Path, tmp_path: Path, write: Write) -> None:
    shoes = ("кеды", "ботинки", "туфли", "сапоги", "босоножки", "сланцы")
    cases = ("бампер", "накладка", "футляр", "книжка", "обложка", "кейс")
    rows = [row(20 + place, f"обувь мужская {name}") for place, name in enumerate(shoes)]
    rows += [row(30 + place, f"телефон силикон {name}", CASES) for place, name in enumerate(cases)]
    # Of three that are almost the same, two have a wrong label.
    rows += [row(id, "телефон силикон панель", SHOES if id < 12 else CASES) for id in (10, 11, 12)]
    with Index.open(folder) as index:
        index.ingest(write(rows))

        def issues_and_pairs() -> tuple[set[int], int]:
            index.audit(tmp_path / "audit.parquet", tmp_path / "pairs.parquet")
            issues = set(pd.read_parquet(tmp_path / "audit.parquet")["product_id"])
            return issues & {10, 11}, len(pd.read_parquet(tmp_path / "pairs.parquet"))

        assert issues_and_pairs() == ({10, 11}, 2)
        # A pair is asked about as long as one of the two is open, as is that of Anna's shoe and another.
        index.correct({11: None})
        assert issues_and_pairs() == ({10}, 2)
        index.correct(dict.fromkeys([2, 3, 10, 12]))
        assert issues_and_pairs() == (set(), 0)


def test_the_commands_say_what_was_kept(rubrika: Callable[..., Run], folder: Path, catalogue: Path) -> None:
    at = ("--index", folder)
    assert rubrika("relabel", "2", CASES[0], *at, "--json", LOGNAME="olga").json["relabelled"] == 1
    reviewed = rubrika("relabel", "3", "--by", "anna", *at).out
    assert reviewed == f"{folder}: 0 products got another category or name, 1 have the right one\n"
    done = rubrika("ingest", catalogue, *at)
    assert "8 read, 6 unchanged, 2 kept in" in done.out
    assert "product 2 stays in Электроника › Чехлы, set by olga on 20" in done.out
    kept = pd.read_parquet(f"{folder}.kept.parquet")
    assert kept[["row", "product_id", "labelled_by"]].to_numpy().tolist() == [[1, 1, "anna"], [2, 2, "olga"]]
    # Once catalogue and person agree, nothing is listed.
    ids, names = zip(CASES, CASES, SHOES, strict=True)
    agreed = pd.DataFrame(ROWS[:3]).assign(category_id=ids, category_name=names)
    agreed.to_parquet(catalogue.with_name("agreed.parquet"))
    assert rubrika("ingest", catalogue.with_name("agreed.parquet"), *at, "--json").json["kept_labels"] is None
    assert not Path(f"{folder}.kept.parquet").exists()
    wrong = rubrika("relabel", "2", "--from", "11", *at)
    assert (wrong.code, "give a product, a file, or --from and --to" in wrong.err) == (2, True)


def test_a_category_that_was_left_since_is_known_again_when_a_product_goes_back(folder: Path) -> None:
    before = {2: payloads(folder)[2]}
    with Index.open(folder) as index:
        index.correct({2: CASES[0]})
        index.relabel(SHOES[0], DRESSES[0])
        restore(index.at, before)
        assert {each.category_id for each in index.categories().categories or ()} == {SHOES[0], CASES[0], DRESSES[0]}
    assert label(folder, 2) == (SHOES[0], None)
    assert payloads(folder)[2]["label"] == "Кроссовки"


def test_a_category_that_is_known_again_makes_the_labels_of_others_longer(
    rubrika: Callable[..., Run], folder: Path
) -> None:
    before = {2: payloads(folder)[2]}
    with Index.open(folder) as index:
        index.correct({2: CASES[0]})
        index.relabel(SHOES[0], 44, "Все категории->Мужчинам->Кроссовки")
        restore(index.at, before)
    assert (payloads(folder)[2]["label"], payloads(folder)[3]["label"]) == ("Обувь › Кроссовки", "Мужчинам › Кроссовки")
    assert rubrika("check", "--index", folder, "--json").json["problems"] == {}
