"""An index as products come, change and go: only what must be is encoded, and learning again loses nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Run
from rows import CASES, SHOES, row

from rubrika.errors import IndexFolderError
from rubrika.index.folder import Choice, Index
from rubrika.index.location import Location
from rubrika.ingest.ingest import IngestReport, ingest
from rubrika.products.reader import Reader
from rubrika.store.base import Point

Rubrika = Callable[..., Run]
Write = Callable[..., Path]
CACHE = Path("nowhere")
SHORT = "it held 4 products when it was last changed, and holds 3"
FILES = ["categories.json", "edge-2", "encoders-2", "index.json", "lock"]
DRESSES = (33, "Все категории->Одежда->Платья")
WITH_MORE = json.dumps({"title": "платье летнее", "description": "из льна"})
ROWS = [
    row(1, "кроссовки беговые"),
    row(2, "кроссовки мужские", rating=4.0),
    row(3, "чехол для телефона", CASES),
    row(4, "чехол силиконовый", CASES),
]


@pytest.fixture
def folder(index_of: Callable[..., Path]) -> Path:
    return index_of(ROWS)


def put(folder: Path, *files: Path, choice: Choice | None = None, **options: bool) -> IngestReport:
    return ingest(Location(folder, cache=CACHE), Reader(files, labelled=True), choice=choice, **options)


def stored(folder: Path) -> dict[int, Point]:
    with Index.open(Location(folder, cache=CACHE)) as index:
        return {point.id: point for page in index.store.scroll(vectors=True) for point in page}


def manifest(folder: Path) -> dict[str, object]:
    return json.loads((folder / "index.json").read_text())


def test_another_label_or_rating_encodes_nothing(folder: Path, write: Write) -> None:
    before = stored(folder)
    changed = [ROWS[0] | {"category_id": CASES[0], "category_name": CASES[1]}, ROWS[1] | {"rating": 1.0}]
    report = put(folder, write(changed, "changed.parquet"))
    assert (report.relabelled, report.updated, report.encoded) == (1, 1, 0)
    after = stored(folder)
    assert after[1].payload["category"] == "Чехлы"
    assert after[2].payload["rating"] == 1.0
    assert all(np.array_equal(after[id].vectors["text"], before[id].vectors["text"]) for id in before)


def test_another_text_is_encoded_and_nothing_else(folder: Path, write: Write) -> None:
    before = stored(folder)
    report = put(folder, write([*ROWS[:3], row(4, "чехол кожаный", CASES)], "changed.parquet"))
    assert (report.updated, report.unchanged, report.encoded) == (1, 3, 1)
    after = stored(folder)
    assert not np.array_equal(after[4].vectors["text"], before[4].vectors["text"])
    assert after[3].payload == before[3].payload


def test_the_same_file_again_counts_again_once_something_else_has_happened(
    rubrika: Rubrika, folder: Path, write: Write
) -> None:
    path = folder.parent / "products.parquet"
    assert put(folder, path).unchanged == 4
    assert rubrika("delete", "1", "--index", folder).code == 0
    again = put(folder, path)
    assert (again.added, again.unchanged) == (1, 3)
    assert put(folder, path).unchanged == 4
    with Index.open(Location(folder, cache=CACHE), shared=False) as index:
        index.store.delete([2])
    assert put(folder, path).added == 1


def test_products_that_left_the_file_can_leave_the_index(folder: Path, write: Write) -> None:
    broken = row(2, "")
    report = put(folder, write([ROWS[0], broken], "today.parquet"), delete_missing=True)
    assert (report.deleted, report.rejected) == (2, 1)
    assert set(stored(folder)) == {1, 2}
    assert manifest(folder)["contents"]["products"] == 2


def test_an_empty_export_deletes_nothing(rubrika: Rubrika, folder: Path, write: Write) -> None:
    empty = write([row(1, "")], "empty.parquet")
    said = rubrika("ingest", empty, "--delete-missing", "--index", folder)
    assert (said.code, "none was deleted" in said.err) == (1, True)
    assert set(stored(folder)) == {1, 2, 3, 4}


def test_a_row_of_which_nobody_knows_whose_it_is_keeps_everybody(rubrika: Rubrika, folder: Path, write: Write) -> None:
    # An empty place makes a column one of floats, and a float does not hold all digits of so large an id.
    lost = row(1, "Чайник") | {"product_id": 9_007_199_254_741_002.0}
    doubtful = write([row(1, "Чайник стальной") | {"product_id": 1.0}, lost], "doubtful.parquet")
    said = rubrika("ingest", doubtful, "--delete-missing", "--index", folder)
    assert (said.code, "row 2: its product_id cannot be read" in said.err) == (1, True)
    assert set(stored(folder)) == {1, 2, 3, 4}


def test_a_file_that_was_renamed_is_known_by_its_new_name(rubrika: Rubrika, folder: Path) -> None:
    path = folder.parent / "products.parquet"
    assert put(folder, path.rename(folder.parent / "renamed.parquet")).unchanged == 4
    assert rubrika("learn", "--index", folder).code == 0


def test_two_files_with_the_same_product_are_no_damage(rubrika: Rubrika, tmp_path: Path, write: Write) -> None:
    files = [write(ROWS, "a.parquet"), write([row(1, "кеды")], "b.parquet")]
    put(tmp_path / "both", *files)
    assert rubrika("check", "--index", tmp_path / "both").code == 0


def test_products_are_deleted_by_id_and_by_file(rubrika: Rubrika, folder: Path, write: Write) -> None:
    gone = write([row(3, "чехол", CASES), row(77, "ваза", CASES)], "gone.parquet")
    done = rubrika("delete", "1", gone, "--index", folder, "--json")
    assert done.json == {"deleted": 2, "unknown": 1}
    assert set(stored(folder)) == {2, 4}
    said = rubrika("delete", "нет.parquet", "--index", folder)
    assert (said.code, "no such file" in said.err) == (1, True)


def test_categories_are_merged_and_renamed_without_encoding(rubrika: Rubrika, folder: Path) -> None:
    moved = rubrika("relabel", "--from", 11, "--to", 22, "--index", folder, "--json").json
    assert moved == {"relabelled": 2, "verified": 0, "unchanged": 0, "unknown": 0}
    assert {point.payload["category"] for point in stored(folder).values()} == {"Чехлы"}
    renamed = ("relabel", "--from", 22, "--to", 22, "--path", "Все категории->Разное")
    assert rubrika(*renamed, "--index", folder).code == 0
    assert stored(folder)[1].payload["category_levels"] == ["Разное"]
    for arguments, reason in [
        (("--from", 5, "--to", 22), "no product is in category 5"),
        (("--from", 22, "--to", 9), "give its --path"),
        (("--from", 22, "--to", 22), "give a --path to rename it"),
        (("--from", 22, "--to", 9, "--path", "->"), "names no category"),
    ]:
        said = rubrika("relabel", *arguments, "--index", folder)
        assert (said.code, reason in said.err) == (1, True)


def test_a_new_category_is_voted_for_at_once_and_info_says_so(
    rubrika: Rubrika, folder: Path, write: Write, tmp_path: Path
) -> None:
    put(folder, write([row(5, "платье летнее", DRESSES), row(6, "платье вечернее", DRESSES)], "new.parquet"))
    asked = write([row(9, "платье красное", SHOES)], "asked.parquet")
    assert rubrika("classify", asked, "--index", folder, "-o", tmp_path / "result.parquet").code == 0
    assert pd.read_parquet(tmp_path / "result.parquet")["predicted_category_id"].tolist() == [33]
    grown = rubrika("info", "--index", folder, "--json").json["since_learning"]
    assert grown == {"learned_from": 4, "products": 2, "categories": 1, "unseen": 2, "learning_pays": True}


def test_learning_again_takes_texts_and_labels_from_the_index(rubrika: Rubrika, folder: Path, write: Write) -> None:
    put(folder, write([row(5, "платье летнее", DRESSES), row(4, "чехол кожаный", CASES)], "new.parquet"))
    assert rubrika("relabel", "--from", 11, "--to", 44, "--path", "Обувь", "--index", folder).code == 0
    before = stored(folder)
    done = rubrika("learn", "--index", folder, "--json")
    assert (done.code, done.json) == (0, {"products": 5, "categories": 3})
    after = stored(folder)
    assert {id: p.payload["category"] for id, p in after.items()} == {
        id: p.payload["category"] for id, p in before.items()
    }
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert rubrika("info", "--index", folder, "--json").json["since_learning"]["categories"] == 0
    files = [folder.parent / "products.parquet", folder.parent / "new.parquet"]
    assert put(folder, files[1]).unchanged == 2
    assert rubrika("check", "--index", folder).code == 0


def test_an_index_is_learned_again_without_the_files_that_it_came_from(
    rubrika: Rubrika, folder: Path, write: Write
) -> None:
    put(folder, write([row(5, "платье летнее", DRESSES, text_fields=WITH_MORE)], "new.parquet"))
    before = stored(folder)
    for file in ("products.parquet", "new.parquet"):
        (folder.parent / file).unlink()
    assert rubrika("learn", "--index", folder).code == 0
    after = stored(folder)
    assert after[5].payload["text"] == before[5].payload["text"] == "платье летнее\nиз льна"
    assert after[1].vectors["text"].shape == before[1].vectors["text"].shape


def test_learning_again_takes_texts_that_an_earlier_version_did_not_store_from_the_files(
    rubrika: Rubrika, folder: Path, write: Write
) -> None:
    put(folder, write([row(5, "платье летнее", DRESSES, text_fields=WITH_MORE)], "new.parquet"))
    with Index.open(Location(folder, cache=CACHE), shared=False) as index:
        payload = index.store.fetch([5])[5].payload
        index.store.replace_payloads({5: {key: value for key, value in payload.items() if key != "text"}})
    before = (folder / "index.json").read_bytes()
    (folder.parent / "new.parquet").rename(folder.parent / "moved.parquet")
    said = rubrika("learn", "--index", folder)
    assert (said.code, "1 products of the index, such as 5, are in none of the files" in said.err) == (1, True)
    assert (folder / "index.json").read_bytes() == before
    assert rubrika("learn", folder.parent / "moved.parquet", "--index", folder).code == 0
    assert stored(folder)[5].payload["text"] == "платье летнее\nиз льна"


def test_check_finds_what_is_wrong_and_repairs_it(rubrika: Rubrika, folder: Path) -> None:
    before = stored(folder)
    assert rubrika("check", "--index", folder, "--json").json["problems"] == {}
    with Index.open(Location(folder, cache=CACHE), shared=False) as index:
        index.store.upsert([Point(1, {}, before[1].payload), Point(2, {"text": before[2].vectors["text"] * 2}, {})])
        index.store.replace_payloads({3: before[3].payload | {"text_hash": "0"}})
        index.store.delete([4])
    found = rubrika("check", "--index", folder, "--json")
    assert found.code == 1
    assert found.json["problems"] == {
        SHORT: 1,
        "under the id of another": 1,
        "with a vector text that is not of length 1": 1,
        "with another text than in the files it came from": 2,
        "without a category": 1,
        "without a vector text": 1,
        "without the hash of its text": 1,
    }
    mended = rubrika("check", "--repair", "--index", folder, "--json")
    # A product that is gone is said to be missing until its file is ingested again.
    assert (mended.code, mended.json["problems"], mended.json["repaired"]) == (1, {SHORT: 1}, 3)
    assert put(folder, folder.parent / "products.parquet").added == 1
    assert rubrika("check", "--index", folder).code == 0
    after = stored(folder)
    assert set(after) == {1, 2, 3, 4}
    assert all(np.allclose(after[id].vectors["text"], before[id].vectors["text"], atol=1e-6) for id in after)


def test_check_sees_a_damaged_encoder(rubrika: Rubrika, folder: Path) -> None:
    (folder / "encoders" / "text" / "config.json").write_text("{}")
    found = rubrika("check", "--index", folder, "--json")
    assert found.code == 1
    assert "its hash differs" in next(iter(found.json["problems"]))


def test_the_same_file_read_otherwise_is_another_ingest(rubrika: Rubrika, tmp_path: Path) -> None:
    rows = [("A-1", "кеды", "кеды белые", "Обувь", "p"), ("A-2", "чехол", "чехол тонкий", "Чехлы", "q")]
    pd.DataFrame(rows, columns=["sku", "name", "long_name", "category", "parent"]).to_csv(tmp_path / "a.csv")
    shared = ("--index", tmp_path / "index", "--json")
    ingested = [
        rubrika("ingest", tmp_path / "a.csv", "--columns", f"id=sku,title={title}", *more, *shared)
        for title, more in [("name", ()), ("name", ()), ("long_name", ()), ("long_name", ("--group-by", "parent"))]
    ]
    assert [(done.json["added"], done.json["unchanged"], done.json["updated"]) for done in ingested] == [
        (2, 0, 0),
        (0, 2, 0),
        (0, 0, 2),
        (0, 0, 2),
    ]


def test_what_others_put_into_a_point_stays(folder: Path, write: Write) -> None:
    with Index.open(Location(folder, cache=CACHE), shared=False) as index:
        [point] = index.store.fetch([1]).values()
        index.store.replace_payloads({1: point.payload | {"note": "ask the supplier"}})
    assert put(folder, write(ROWS, "again.parquet")).unchanged == 4
    assert put(folder, write([ROWS[0] | {"rating": 5.0}], "rated.parquet")).updated == 1
    assert stored(folder)[1].payload["note"] == "ask the supplier"


def test_nothing_is_deleted_and_the_reasons_are_kept(rubrika: Rubrika, folder: Path, write: Write) -> None:
    file, rejects = write([row(-1, "кеды"), *ROWS[:2]]), folder.parent / "why.parquet"
    done = rubrika("ingest", file, "--delete-missing", "--rejects", rejects, "--index", folder)
    assert (done.code, len(stored(folder))) == (1, 4)
    assert f"none was deleted; correct it and run the same command again; all reasons are in {rejects}" in done.err
    assert pd.read_parquet(rejects)["row"].tolist() == [1]


def test_an_index_votes_as_it_was_made_to(folder: Path, write: Write) -> None:
    with pytest.raises(IndexFolderError, match="its products vote by text, not by joint; .* or leave `vote` out"):
        put(folder, write([row(9, "кеды")]), choice=Choice(vote="joint"))
    assert len(stored(folder)) == 4
