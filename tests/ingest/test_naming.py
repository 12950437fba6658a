"""One id, one name: the newest rows name a category, all its products follow, and what is not clear is said."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import Run
from index_contents import contents
from qdrant_edge import UpdateOperation
from rows import CASES, SHOES, row

from rubrika import Index, RubrikaError
from rubrika.index.categories import read_names
from rubrika.index.folder import Index as Opened
from rubrika.index.location import Location
from rubrika.ingest.naming import NameConflict
from rubrika.progress import Silent

Write = Callable[..., Path]
DRESSES, KETTLES = (33, "Все категории->Одежда->Платья"), (44, "Все категории->Кухня->Чайники")
KEDS = (SHOES[0], "Все категории->Обувь->Кеды")
ROWS = [
    *(row(id, f"кроссовки беговые {id}") for id in (1, 2, 3)),
    *(row(id, f"чехол силиконовый {id}", CASES) for id in (4, 5)),
    *(row(id, f"платье летнее {id}", DRESSES) for id in (6, 7)),
    *(row(id, f"чайник стальной {id}", KETTLES) for id in (8, 9)),
]
NAMES = dict([SHOES, CASES, DRESSES, KETTLES])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    pd.DataFrame(ROWS).to_parquet(folder / "products.parquet")
    Index.open(folder / "index").ingest(folder / "products.parquet")
    return folder / "index"


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "index")


class Notes(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def paths(folder: Path) -> dict[int, str]:
    """What the products of an index say that their categories are called; fails where two disagree."""
    found = {(payload["category_id"], payload["category_path"]) for payload, _ in contents(folder).values()}
    assert len(dict(found)) == len(found)
    return dict(found)


def renumbered(count: int) -> list[dict[str, object]]:
    """The rows of four categories, of which the first `count` have other names."""
    named = list(NAMES.items())
    others = [(id, f"{path} оптом" if place < count else path) for place, (id, path) in enumerate(named)]
    return [row(100 + place, f"товар {place}", category) for place, category in enumerate(others)]


def test_a_new_index_knows_the_names_of_its_categories(folder: Path) -> None:
    assert read_names(folder) == NAMES == paths(folder)


def test_the_newest_file_renames_all_products_of_a_category(folder: Path, write: Write) -> None:
    report = Index.open(folder).ingest(write([row(10, "кеды", KEDS)]))
    assert (report.added, report.renamed, report.encoded) == (1, 1, 1)
    assert paths(folder) == read_names(folder) == NAMES | dict([KEDS])
    assert contents(folder)[1][0]["category"] == "Кеды"


@pytest.mark.parametrize("order", [1, -1])
def test_most_rows_name_a_category_whichever_comes_first(folder: Path, write: Write, order: int) -> None:
    shoes = [row(20, "кеды", KEDS), row(21, "сапоги"), row(22, "туфли")]
    rows = [*shoes, row(23, "ваза", (55, "Б")), row(24, "ваза", (55, "А"))]
    notes = Notes()
    report = Index.open(folder, progress=notes).ingest(write(rows[::order]))
    assert (report.added, report.renamed) == (5, 0)
    assert paths(folder) == NAMES | {55: "А"}
    assert report.name_conflicts == (
        NameConflict(SHOES[0], SHOES[1], {SHOES[1]: 2, KEDS[1]: 1}, None),
        NameConflict(55, "А", {"А": 1, "Б": 1}, None),
    )
    [said] = notes.said
    assert "2 categories have several names, the first of each counts: 11 is «Все категории->Обувь->Кросс" in said
    # The same file says the same the next day.
    assert Index.open(folder).ingest(write(rows[::order])).name_conflicts == report.name_conflicts


def test_the_same_product_under_two_names_of_its_category_is_no_conflict(folder: Path, write: Write) -> None:
    report = Index.open(folder).ingest(write([row(1, "сапоги"), row(1, "сапоги", KEDS), row(2, "туфли")]))
    assert (report.updated, report.unchanged, report.rejected) == (2, 1, 0)


def test_a_dataframe_names_categories_too(folder: Path) -> None:
    rows = [row(20, "кеды", KEDS), row(21, "сапоги", KEDS), row(22, "туфли"), row(23, "ваза", (-1, "Вазы"))]
    report = Index.open(folder).ingest(pd.DataFrame(rows))
    assert (report.added, report.rejected, report.renamed) == (3, 1, 1)
    assert paths(folder) == NAMES | dict([KEDS])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row(20, "кеды", KEDS), row(21, "сапоги")], "category 11 is .* in 1 row, .* in 1 row, .* several names"),
        ([row(20, "кеды", KEDS)], "category 11 is .*Кеды» in 1 row, .*Кроссовки» before; .* `rename` if the name"),
    ],
)
def test_strict_refuses_a_name_that_is_not_clear_before_anything_is_written(
    folder: Path, write: Write, rows: list[dict[str, object]], said: str
) -> None:
    before = contents(folder, times=True), (folder / "index.json").read_bytes()
    with pytest.raises(RubrikaError, match=said):
        Index.open(folder).ingest(write(rows), strict=True)
    assert (contents(folder, times=True), (folder / "index.json").read_bytes()) == before
    assert Index.open(folder).ingest(write(rows[:1]), strict=True, rename=True).renamed == 1


def test_another_numbering_is_refused_unless_it_is_meant(folder: Path, write: Write) -> None:
    before = contents(folder, times=True)
    with pytest.raises(RubrikaError, match=r"another numbering: 3 of 4 ids .* such as 11 is .*; nothing was ch"):
        Index.open(folder).ingest(write(renumbered(3)))
    assert contents(folder, times=True) == before
    report = Index.open(folder).ingest(write(renumbered(3)), rename=True)
    assert (report.renamed, len(report.name_conflicts)) == (3, 3)
    assert paths(folder)[SHOES[0]] == f"{SHOES[1]} оптом"


def test_two_names_of_four_are_no_other_numbering_nor_are_two_of_two(folder: Path, write: Write) -> None:
    assert Index.open(folder).ingest(write(renumbered(2))).renamed == 2
    assert Index.open(folder).ingest(write(renumbered(0)[:2])).renamed == 2


def test_an_older_index_is_named_by_its_products_and_then_agrees(folder: Path, write: Write) -> None:
    (folder / "categories.json").unlink()
    with Opened.open(Location(folder), shared=False) as opened:
        opened.store.replace_payloads({1: opened.store.fetch([1])[1].payload | {"category_path": KEDS[1]}})
    with Index.open(folder) as index:
        assert [one.category_name for one in index.categories().categories or ()].count(SHOES[1]) == 1
        index.ingest(write([row(10, "ваза", (55, "Вазы"))]))
    assert paths(folder) == read_names(folder) == NAMES | {55: "Вазы"}


def test_renaming_that_was_killed_halfway_ends_the_next_time(folder: Path, write: Write) -> None:
    with Opened.open(Location(folder), shared=False) as opened:
        opened.store.replace_payloads({1: opened.store.fetch([1])[1].payload | {"category_path": KEDS[1]}})
    with Index.open(folder) as index:
        assert index.check().problems == {"with another name of its category than the index has": 1}
        assert index.ingest(write([row(2, "кроссовки", KEDS)])).renamed == 1
    assert paths(folder) == read_names(folder) == NAMES | dict([KEDS])


def test_a_table_of_categories_is_known_before_there_are_products(folder: Path, write: Write, tmp_path: Path) -> None:
    named = [(55, "Все категории->Спорт->Скейтборды"), CASES, KEDS]
    table = pd.DataFrame(named, columns=["category_id", "category_name"])
    table.to_csv(tmp_path / "names.csv", index=False, sep=";")
    table.to_parquet(tmp_path / "names.parquet")
    with Index.open(folder) as index:
        first = index.categories(tmp_path / "names.csv")
        assert (first.known, first.added, first.renamed, first.categories) == (5, 1, 1, None)
        assert first.name_conflicts == (NameConflict(SHOES[0], KEDS[1], {KEDS[1]: 1}, SHOES[1]),)
        again = index.categories(tmp_path / "names.parquet")
        assert (again.known, again.added, again.renamed) == (5, 0, 0)
        listed = index.categories().categories or ()
    assert [(one.category_id, one.products) for one in listed] == [(44, 2), (11, 3), (33, 2), (55, 0), (22, 2)]
    assert paths(folder)[SHOES[0]] == KEDS[1]


def test_adding_names_alone_leaves_the_last_ingest_known(folder: Path, made: Path, write: Write) -> None:
    before = (folder / "index.json").read_bytes()
    Index.open(folder).categories(write([{"category_id": 55, "category_name": "Скейтборды"}]))
    assert (folder / "index.json").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "category_id,name\n55,Вазы\n",
            r"needs the columns category_id and category_name, or category, or category_name, each once \(it has",
        ),
        ("category_id,category_name\n55,Вазы\n,Ложки\n", "row 2: line 3: category_id is empty; nothing was changed"),
        ("category_id,category_name\n5e+9,Вазы\n", r"row 1: line 2: category_id 5e\+9 was shortened by a spread"),
        ("category_id,category_name\n55.0,->\n", "row 1: line 2: category_name is empty"),
        ("category_id,category_name\n55\n", "row 1: line 2: 1 cells instead of 2; nothing was changed"),
        ('category_id,category_name\n55,"Вазы\n', "row 1: line 2: a quote is not closed; nothing was changed"),
    ],
)
def test_a_table_with_one_bad_row_changes_nothing(folder: Path, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "names.csv").write_text(text, encoding="utf-8")
    with pytest.raises(RubrikaError, match=said):
        Index.open(folder).categories(tmp_path / "names.csv")
    assert read_names(folder) == NAMES


def test_a_table_in_another_alphabet_is_read(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_bytes("category_id,category_name\n55,Вазы из стекла\n".encode("cp1251"))
    Index.open(folder).categories(tmp_path / "names.csv")
    assert (read_names(folder) or {})[55] == "Вазы из стекла"


def test_a_category_whose_products_are_deleted_stays_named_and_one_that_was_left_does_not(folder: Path) -> None:
    with Index.open(folder) as index:
        index.delete([6, 7])
        index.relabel(KETTLES[0], CASES[0])
        listed = {one.category_id: one.products for one in index.categories().categories or ()}
    assert listed == {11: 3, 22: 4, 33: 0}


def test_a_category_that_moves_to_one_with_another_name_leaves_none_behind(folder: Path) -> None:
    Index.open(folder).relabel(SHOES[0], CASES[0], "Все категории->Разное")
    assert paths(folder) == {22: "Все категории->Разное"} | dict([DRESSES, KETTLES])


@pytest.mark.parametrize("text", ["", "[]", '{"names": {"x": "А"}}', '{"names": {"1": 2}}', '{"names": {"-1": "А"}}'])
def test_damaged_names_are_one_sentence(folder: Path, write: Write, text: str) -> None:
    (folder / "categories.json").write_text(text)
    for use in (lambda index: index.categories(), lambda index: index.ingest(write([row(10, "кеды")]))):
        with pytest.raises(RubrikaError, match=r"categories\.json: no names of categories can be read"):
            use(Index.open(folder))
    assert "no names of categories" in next(iter(Index.open(folder).check().problems))


def test_the_command_says_names_and_counts(rubrika: Callable[..., Run], folder: Path, write: Write) -> None:
    table = write([{"category_id": 55, "category_name": "Все категории->Спорт->Скейтборды"}])
    done = rubrika("categories", table, "--index", folder, "--json")
    assert done.json == {"known": 5, "added": 1, "renamed": 0, "name_conflicts": []}
    shown = rubrika("categories", "--index", folder, COLUMNS="100").out
    assert "Спорт › Скейтборды" in shown
    assert shown.endswith("5 categories are known, 1 without a product\n")
    refused = rubrika("ingest", write(renumbered(4)), "--index", folder)
    assert (refused.code, "use --rename if the names really changed" in refused.err) == (1, True)
    done = rubrika("ingest", write(renumbered(4)), "--index", folder, "--rename", "--json")
    assert (done.json["renamed"], json.loads(done.out)["name_conflicts"][0]["before"]) == (4, SHOES[1])


OF_WOMEN = (66, "Все категории->Обувь->Женщинам->Кроссовки")


def unique(folder: Path) -> dict[int, str]:
    """What the products of an index say that their categories are called where all are side by side."""
    found = {(payload["category_id"], payload.get("label")) for payload, _ in contents(folder).values()}
    assert len(dict(found)) == len(found)
    return dict(found)


def test_a_new_category_of_the_same_name_gives_stored_products_a_longer_label(folder: Path, write: Write) -> None:
    assert unique(folder) == {SHOES[0]: "Кроссовки", CASES[0]: "Чехлы", DRESSES[0]: "Платья", KETTLES[0]: "Чайники"}
    before = contents(folder)
    with Index.open(folder) as index:
        report = index.ingest(write([*ROWS, row(10, "кроссовки женские", OF_WOMEN)]))
        assert (report.added, report.unchanged, report.encoded) == (1, len(ROWS), 1)
        assert index.check().problems == {}
    assert unique(folder)[SHOES[0]] == "Обувь › Кроссовки"
    assert unique(folder)[OF_WOMEN[0]] == "Женщинам › Кроссовки"
    assert {id: vectors for id, (_, vectors) in contents(folder).items() if id in before} == {
        id: vectors for id, (_, vectors) in before.items()
    }


@pytest.mark.parametrize("how", ["a table", "a person", "a move", "a new name"])
def test_whatever_names_a_category_brings_the_labels_of_others_up_to_date(
    how: str, folder: Path, write: Write, rubrika: Callable[..., Run]
) -> None:
    id, path = OF_WOMEN
    wanted = {
        "a table": ("categories", write([{"category_id": id, "category_name": path}], "names.parquet")),
        "a person": ("relabel", 9, id, "--path", path),
        "a move": ("relabel", "--from", KETTLES[0], "--to", id, "--path", path),
        "a new name": ("relabel", "--from", KETTLES[0], "--to", KETTLES[0], "--path", path),
    }[how]
    done = rubrika(*wanted, "--index", folder)
    assert done.code == 0, done.err
    assert unique(folder)[SHOES[0]] == "Обувь › Кроссовки"
    assert rubrika("check", "--index", folder).code == 0


def test_check_knows_a_label_that_is_another_now_and_repairs_it_without_files(folder: Path) -> None:
    with Opened.open(Location(folder), shared=False) as opened:
        opened.store.replace_payloads({1: opened.store.fetch([1])[1].payload | {"label": "Кеды"}})
    with Index.open(folder) as index:
        assert index.check().problems == {"with another label than its category has now": 1}
        assert index.check(repair=True).repaired == 1
        assert index.check().problems == {}
    assert unique(folder)[SHOES[0]] == "Кроссовки"


def test_an_index_of_the_version_before_is_read_as_it_is_and_rewritten_by_an_ingest(folder: Path, write: Write) -> None:
    manifest = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    (folder / "index.json").write_text(json.dumps(manifest | {"format": 2}), encoding="utf-8")
    new = ("text", "brand", "label")
    with Opened.open(Location(folder), shared=False) as opened:
        for id, point in opened.store.fetch(range(1, 10)).items():
            flat = {key: value for key, value in point.payload.items() if key not in new}
            opened.store._shard.update(UpdateOperation.overwrite_payload([id], flat))
    with Index.open(folder) as index:
        assert index.check().problems == {}
        assert index.neighbours(1)[0].category_path == SHOES[1]
        report = index.ingest(write(ROWS[:6]))
        assert (report.unchanged, report.updated, report.encoded) == (6, 0, 0)
        stored = {each.id: each.payload for each in index._index().store._shard.retrieve([1, 9], True, False)}
    assert stored[1]["category_path"] == "Обувь › Кроссовки"
    # Of products that were in none of the files, too.
    assert unique(folder) == {SHOES[0]: "Кроссовки", CASES[0]: "Чехлы", DRESSES[0]: "Платья", KETTLES[0]: "Чайники"}
    assert json.loads((folder / "index.json").read_text(encoding="utf-8"))["format"] == 3
