"""Ingest: every row is counted once, a second run writes nothing, and what changed is seen."""

from collections.abc import Callable
from pathlib import Path

import pytest
from rows import CASES, SHOES, row

from rubrika.errors import EncoderError, IndexFolderError, InputError
from rubrika.index.folder import Index
from rubrika.index.location import Location
from rubrika.ingest.ingest import IngestReport, ingest
from rubrika.products.reader import Reader

Write = Callable[..., Path]
# Learned encoders need no cache.
CACHE = Path("nowhere")
ROWS = [
    row(1, "кроссовки беговые", rating=4.5, sale=True, shop_id=3, shop_title="Бегун"),
    row(2, "кроссовки мужские", rating=4.0, sale=False, shop_id=3, shop_title="Бегун"),
    row(3, "чехол для телефона", CASES, rating=5.0, sale=False, shop_id=4, shop_title="Связь"),
    row(4, "чехол силиконовый", CASES, rating=4.9, sale=False, shop_id=4, shop_title="Связь"),
]


def counts(report: IngestReport) -> dict[str, int]:
    names = ("read", "added", "updated", "relabelled", "unchanged", "rejected")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


@pytest.fixture
def folder(index_of: Callable[..., Path]) -> Path:
    return index_of(ROWS)


def again(folder: Path, path: Path) -> dict[str, int]:
    return counts(ingest(Location(folder, cache=CACHE), Reader([path], labelled=True)))


def test_a_point_says_what_a_person_wants_to_know(folder: Path) -> None:
    with Index.open(Location(folder, cache=CACHE)) as index:
        payload = index.store.fetch([3])[3].payload
    assert payload.pop("ingested_at").startswith("20")
    assert len(payload.pop("text_hash")) == 16
    assert payload == {
        "product_id": 3,
        "title": "чехол для телефона",
        "category_id": 22,
        "category": "Чехлы",
        "label": "Чехлы",
        "category_path": "Все категории->Электроника->Чехлы",
        "category_levels": ["Электроника", "Чехлы"],
        "shop_id": 4,
        "shop_title": "Связь",
        "rating": 5.0,
        "sale": False,
    }


def test_a_second_run_changes_nothing(folder: Path, write: Write) -> None:
    assert again(folder, write(ROWS)) == {"read": 4, "unchanged": 4}


def test_changes_are_told_apart(folder: Path, write: Write) -> None:
    changed = [
        ROWS[0] | {"category_id": CASES[0], "category_name": CASES[1]},
        ROWS[1] | {"rating": 1.0},
        row(3, "чехол для планшета", CASES, rating=5.0, sale=False, shop_id=4, shop_title="Связь"),
        ROWS[3],
        row(5, "кеды", SHOES),
    ]
    assert again(folder, write(changed)) == {"read": 5, "added": 1, "updated": 2, "relabelled": 1, "unchanged": 1}
    with Index.open(Location(folder, cache=CACHE)) as index:
        assert index.store.fetch([1])[1].payload["category"] == "Чехлы"
        assert index.store.fetch([3])[3].payload["title"] == "чехол для планшета"
        assert index.store.count() == 5


def test_the_same_id_with_other_content_is_set_aside(folder: Path, write: Write) -> None:
    path = write([row(9, "кеды"), row(9, "кеды"), row(9, "сапоги")], "twice.parquet")
    report = ingest(Location(folder, cache=CACHE), Reader([path], labelled=True))
    assert counts(report) == {"read": 3, "added": 1, "unchanged": 1, "rejected": 1}
    [reject] = report.rejects
    assert (reject.row, reject.reason) == (
        3,
        "product_id 9 was in twice.parquet row 1 with other content; the first was kept",
    )


def test_strict_stops_at_the_first_bad_row(folder: Path, write: Write) -> None:
    path = write([row(5, "кеды"), row(6, "")], "bad.parquet")
    with pytest.raises(InputError, match=r"bad\.parquet row 2: text_fields has no title"):
        ingest(Location(folder, cache=CACHE), Reader([path], labelled=True), strict=True)


def test_several_files_are_one_run(tmp_path: Path, write: Write) -> None:
    files = [write(ROWS[:3], "a.parquet"), write(ROWS[3:], "b.parquet")]
    assert counts(ingest(Location(tmp_path / "both", cache=CACHE), Reader(files, labelled=True))) == {
        "read": 4,
        "added": 4,
    }


def test_nothing_to_learn_from_leaves_no_index(tmp_path: Path, write: Write) -> None:
    with pytest.raises(EncoderError, match="at least 2 categories"):
        ingest(Location(tmp_path / "index", cache=CACHE), Reader([write(ROWS[:2])], labelled=True))
    assert not (tmp_path / "index" / "index.json").exists()


def test_somebody_elses_folder_is_left_alone(tmp_path: Path, write: Write) -> None:
    photos = tmp_path / "photos"
    (photos / "edge").mkdir(parents=True)
    (photos / "album.txt").write_text("лето")
    with pytest.raises(IndexFolderError, match=r"album\.txt is in it.; choose a new folder"):
        ingest(Location(photos, cache=CACHE), Reader([write(ROWS)], labelled=True))
    assert (photos / "edge").is_dir()


def test_what_an_interrupted_try_left_is_replaced(tmp_path: Path, write: Write) -> None:
    (tmp_path / "index" / "encoders" / "text.new").mkdir(parents=True)
    (tmp_path / "index" / "edge").mkdir()
    report = ingest(Location(tmp_path / "index", cache=CACHE), Reader([write(ROWS)], labelled=True))
    assert report.added == 4
