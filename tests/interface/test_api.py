"""Rubrika from Python: the same answers as the command line, from files and from DataFrames; no row is lost."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Run, copied, run_process
from models import save_vit
from PIL import Image
from qdrant_http import serve
from rows import CASES, SHOES, row

import rubrika as library
from rubrika import Index, Predictions, RubrikaError
from rubrika.products.frame import Frame
from rubrika.products.reader import Reader

Rubrika = Callable[..., Run]
Write = Callable[..., Path]

ROOT = Path(__file__).parents[2]
SCOOTERS = (33, "Все категории->Спорт->Самокаты")
SHELF = pd.DataFrame(
    [row(1, "кроссовки беговые"), row(2, "кроссовки мужские"), row(3, "чехол синий", CASES), row(4, "чехол", CASES)]
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of a DataFrame, to be copied."""
    folder = tmp_path_factory.mktemp("made") / "index"
    with Index.open(folder) as index:
        assert index.ingest(SHELF).added == 4
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return copied(made, tmp_path / "index")


def test_products_stored_in_another_order_give_the_same_bytes(market: Path, index: Path, tmp_path: Path) -> None:
    train, folders = pd.read_parquet(market / "train.parquet"), [tmp_path / name for name in ("as it was", "shuffled")]
    for folder in folders:
        shutil.copytree(index, folder)
    train.sample(frac=1, random_state=5).to_parquet(tmp_path / "shuffled.parquet")
    with Index.open(folders[1]) as stored:
        stored.delete(train["product_id"].tolist())
        assert stored.ingest(tmp_path / "shuffled.parquet").added == len(train)
    for folder in folders:
        with Index.open(folder) as stored:
            # Of the third neighbours, some are as near as the second or the fourth.
            details = folder / "details.parquet"
            stored.classify_file(market / "test.parquet", folder / "result.parquet", details=details, top_k=3)
    for name in ("result.parquet", "details.parquet"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    ties = [
        [each["score"] for each in found] for found in pd.read_parquet(folders[0] / "details.parquet")["neighbours"]
    ]
    assert any(scores[-1] == scores[-2] for scores in ties)


def test_importing_it_loads_nothing_heavy() -> None:
    loads = (
        "import sys, rubrika; print([name for name in ('numpy', 'torch', 'pandas', 'sklearn') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", loads], capture_output=True, text=True).stdout == "[]\n"
    assert set(library.__all__) <= set(dir(library))
    with pytest.raises(AttributeError, match="no attribute 'Shop'"):
        _ = library.Shop


def test_the_examples_of_the_documentation_run(market: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("train.parquet", "test.parquet"):
        pd.read_parquet(market / name).head(300).to_parquet(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 5
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)  # noqa: S102 - our own page


def test_predictions_are_those_of_the_command_line(rubrika: Rubrika, market: Path, index: Path, tmp_path: Path) -> None:
    outputs = ("-o", tmp_path / "result.parquet", "--details", tmp_path / "details.parquet")
    assert rubrika("classify", market / "test.parquet", "--index", index, *outputs).code == 0
    with Index.open(index) as opened:
        found = opened.classify(market / "test.parquet").to_frame()
    said = pd.read_parquet(tmp_path / "details.parquet")
    for name in found.columns:
        assert found[name].tolist() == said[name].tolist(), name


def test_a_dataframe_says_what_its_file_says(market: Path) -> None:
    file = market / "train.parquet"
    frame = pd.read_parquet(file)
    for given in (frame, frame.convert_dtypes(), frame.astype(object)):
        products = [product for batch in Frame(given, labelled=True, batch_rows=100) for product in batch.products]
        known = [product for batch in Reader([file], labelled=True) for product in batch.products]
        assert products == known
        # Two products that say the same are equal wherever they stand.
        assert [product.row for product in products] == [product.row for product in known]


def test_fields_may_be_dictionaries() -> None:
    fields = {"title": "кеды", "attributes": np.array(["Цвет", None]), "filters": {"Размер": (np.int64(40), np.nan)}}
    looped = {"title": "кеды"}
    looped["filters"] = looped
    frame = pd.DataFrame({"product_id": [1, 2, 3], "text_fields": [fields, {"title": "кеды"}, looped]})
    [batch] = Frame(frame, labelled=False)
    assert [product.text for product in batch.products] == ["кеды\nЦвет\nРазмер: 40", "кеды"]
    assert [(reject.row, reject.reason) for reject in batch.rejects] == [
        (3, "text_fields is a dictionary that cannot be written as JSON")
    ]


def test_rows_that_cannot_be_read_keep_their_place(index: Path) -> None:
    rows = [row(None, "кеды"), row(2**64 - 1, "кеды"), row(-3, "кеды"), row(4, "чехол"), row(5, "", text_fields="{{")]
    with Index.open(index) as opened:
        found = opened.classify(pd.DataFrame(rows, dtype=object))
    assert (found.product_ids.tolist(), found.places.tolist()) == ([2**64 - 1, 4], [1, 3])
    assert [(reject.row, reject.reason) for reject in found.rejects] == [
        (1, "product_id is empty"),
        (3, f"product_id -3 is outside 0 … {2**64 - 1}"),
        (5, "text_fields is neither JSON nor a Python literal"),
    ]
    frame = found.to_frame()
    assert frame["product_id"].tolist() == [pd.NA, 2**64 - 1, pd.NA, 4, 5]
    assert frame["predicted_category_id"].isna().tolist() == [True, False, True, False, True]
    assert frame["decision"][[0, 2, 4]].tolist() == ["review"] * 3


def test_a_stored_product_has_no_vote_on_itself_but_its_duplicate_has(
    rubrika: Rubrika, index: Path, market: Path, write: Write, tmp_path: Path
) -> None:
    copy = shutil.copytree(index, tmp_path / "index")
    asked = pd.read_parquet(market / "train.parquet").head(20)
    own, twin = int(asked["product_id"][0]), 10**9
    with Index.open(copy) as opened:
        opened.ingest(write([asked.iloc[0].to_dict() | {"product_id": twin}]))
        found, with_self = (opened.classify(asked, include_self=each).hits["text"] for each in (False, True))
    ids = asked["product_id"].to_numpy(np.uint64)[:, None]
    assert (found.ids != ids).all()
    assert np.isfinite(found.scores).all()
    assert found.ids[0, 0] == twin
    assert {own, twin} <= set(with_self.ids[0].tolist())
    assert (with_self.ids == ids).any(axis=1).all()
    outputs = ("-o", tmp_path / "r.parquet", "--details", tmp_path / "d.parquet")
    done = rubrika("classify", market / "train.parquet", "--include-self", "--index", copy, *outputs)
    assert done.code == 0, done.err
    assert own in {each["product_id"] for each in pd.read_parquet(tmp_path / "d.parquet")["neighbours"][0]}


def test_several_files_are_one_run_and_no_rows_are_none(index: Path, write: Write) -> None:
    files = [write([row(1, "кеды"), row(2, "")], "one.parquet"), str(write([row(3, "чехол")], "two.parquet"))]
    with Index.open(index) as opened:
        found = opened.classify(files)
        assert (found.product_ids.tolist(), found.places.tolist()) == ([1, 3], [0, 2])
        none = opened.classify(SHELF.head(0), top_k=3)
    assert (len(none.product_ids), none.decide(0.01).to_frame().shape) == (0, (0, 5))
    assert {name: hits.ids.shape for name, hits in none.hits.items()} == {"text": (0, 3)}


def test_another_bound_decides_as_if_it_had_been_asked_for(index: Path, market: Path) -> None:
    with Index.open(index) as opened:
        asked = {bound: opened.classify(market / "test.parquet", max_error=bound) for bound in (0.0, 0.002, 0.05, 1.0)}
    for first in asked.values():
        for bound, second in asked.items():
            assert first.decide(bound).decisions.tolist() == second.decisions.tolist()
    assert "auto" not in asked[0.0].decisions
    with pytest.raises(RubrikaError, match="max_error is a rate from 0 to 1, not 2"):
        first.decide(2)
    with pytest.raises(RubrikaError, match="max_error is a rate from 0 to 1, not x"):
        first.decide("x")


def test_the_evidence_is_kept(index: Path, market: Path) -> None:
    with Index.open(index) as opened:
        found: Predictions = opened.classify(market / "test.parquet", top_k=4)
    assert found.hits["text"].ids.shape == (len(found.product_ids), 4)
    assert np.array_equal(found.votes.winners, found.categories)
    assert found.votes.shares.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_a_prediction_takes_so_many_bytes(index: Path, market: Path) -> None:
    with Index.open(index) as opened:
        found = opened.classify(market / "test.parquet")
    names = ("product_ids", "categories", "names", "confidences", "decisions", "places")
    hits, votes = found.hits["text"], found.votes
    arrays = [*(getattr(found, name) for name in names), hits.ids, hits.scores, hits.categories]
    total = sum(array.nbytes for array in [*arrays, votes.categories, votes.shares])
    assert total == 380 * len(found.product_ids)


def test_another_dataframe_is_not_taken_for_the_last_one(folder: Path) -> None:
    with Index.open(folder) as index:
        changed = SHELF.assign(rating=[5.0, None, None, None])
        assert index.ingest(changed).updated == 1
        assert index.ingest(changed).unchanged == 4
        assert index.ingest(changed.head(3), delete_missing=True).deleted == 1
        with pytest.raises(RubrikaError, match="no product can be read there, so none was deleted"):
            index.ingest(SHELF.head(0), delete_missing=True)
        with pytest.raises(RubrikaError, match="DataFrame row 1: product_id -1 is outside"):
            index.ingest(pd.DataFrame([row(-1, "кеды")]), strict=True)


def test_a_category_that_was_never_learned_is_predicted_from_its_first_products_on(folder: Path) -> None:
    scooters = pd.DataFrame([row(5, "самокат детский", SCOOTERS), row(6, "самокат трюковой", SCOOTERS)])
    with Index.open(folder) as index:
        assert index.ingest(scooters).added == 2
        found = index.classify(pd.DataFrame([row(7, "самокат складной"), row(8, "чехол чёрный")]))
    assert found.categories.tolist() == [SCOOTERS[0], CASES[0]]


def test_what_came_from_a_dataframe_is_learned_again_without_it(rubrika: Rubrika, folder: Path) -> None:
    done = rubrika("learn", "--index", folder, "--json")
    assert (done.code, done.json["products"]) == (0, 4)


def test_neighbours_are_found_by_id_and_by_title(folder: Path) -> None:
    with Index.open(folder) as index:
        assert {one.product_id for one in index.neighbours(1, top_k=9)} == {2, 3, 4}
        [nearest] = index.neighbours(title="кроссовки беговые", top_k=1)
        assert (nearest.product_id, nearest.category_path) == (1, SHOES[1])
        for asked, said in (
            ({}, "give one of `product_id`, `title` and `image`"),
            ({"product_id": 1, "title": "кеды"}, "give one of `product_id`, `title` and `image`"),
            ({"product_id": 9}, "product 9 is not in"),
            ({"title": "кеды", "vector": "image"}, "has no vector image; it has text"),
            ({"title": "кеды", "top_k": 0}, "`top_k` is at least 1, not 0"),
            ({"title": "кеды", "top_k": 2.5}, "`top_k` is a whole number, not 2.5"),
            ({"title": " \u200b"}, "the title has no text"),
            ({"title": 1}, "`title` is a text, not int"),
            ({"image": 1}, "`image` is the path of a picture, or its bytes, not int"),
            *(({"product_id": wrong}, "`product_id` is a whole number from 0 to") for wrong in (True, 1.5, -1, 2**64)),
        ):
            with pytest.raises(RubrikaError, match=said):
                index.neighbours(**asked)


def test_pictures_are_told_apart_and_counted(tmp_path: Path) -> None:
    save_vit(tmp_path / "vit")
    pictures = tmp_path / "images"
    pictures.mkdir()
    for product, colour in enumerate(("red", "red", "blue"), 1):
        Image.new("RGB", (32, 32), colour).save(pictures / f"{product}.png")
    (pictures / "4.png").write_bytes(b"GIF89a")
    with Index.open(tmp_path / "index", cache=tmp_path / "cache") as index:
        report = index.ingest(SHELF, pictures, image_encoder=str(tmp_path / "vit"), vote="image")
        assert (report.added, report.pictures, sum(report.unusable.values())) == (4, 3, 1)
        found = index.classify(SHELF, str(pictures), top_k=1, include_self=True)
        assert found.categories.tolist() == [SHOES[0], SHOES[0], CASES[0], -1]
        assert found.names.tolist()[2:] == [CASES[1], None]
        assert dict(found.unusable) == {"is GIF, not JPEG, PNG or WEBP": 1}
        assert found.to_frame()["predicted_category_id"].isna().tolist() == [False, False, False, True]
        assert {one.product_id for one in index.neighbours(image=pictures / "1.png", top_k=2)} == {1, 2}
        # The picture itself does as well as its path.
        same = index.neighbours(image=(pictures / "1.png").read_bytes(), top_k=2)
        assert same == index.neighbours(image=pictures / "1.png", top_k=2)
        with pytest.raises(RubrikaError, match="the picture is GIF, not JPEG"):
            index.explain(image=b"GIF89a")


def test_a_server_may_have_the_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "key")
    with serve(api_key="key") as server:
        with Index.open(tmp_path / "index", url=server.url, collection="shelf") as index:
            assert index.ingest(SHELF).added == 4
        with Index.open(tmp_path / "index") as index:
            assert index.classify(SHELF).categories.tolist() == SHELF["category_id"].tolist()
    assert not (tmp_path / "index" / "edge").exists()


def test_an_index_that_is_open_to_read_lets_others_in_and_is_open_again_after_it_was_closed(folder: Path) -> None:
    with Index.open(folder) as index:
        assert run_process("info", "--index", folder).code == 0
        index.close()
        assert len(index.neighbours(1)) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.drop(columns=["category_id", "category_name"]), "no column category \\(it has"),
        (lambda frame: frame.drop(columns="product_id"), r"no column product_id \(it has category_id, category_name"),
        (lambda frame: pd.concat([frame, frame[["product_id"]]], axis=1), "2 columns are called product_id; keep one"),
        (lambda frame: frame.assign(product_id=True), "column product_id is bool, not an id; convert it"),
        (lambda frame: frame.assign(text_fields=1), "column text_fields is int64, not text; convert it first"),
        (lambda frame: frame["text_fields"], "a list of paths, or a DataFrame or other table in memory, not Series"),
        (lambda frame: [], "a list of paths, or a DataFrame or other table in memory, not list"),
        (lambda frame: 15, "a list of paths, or a DataFrame or other table in memory, not int"),
        (lambda frame: "nowhere.parquet", "nowhere.parquet: no such file"),
    ],
)
def test_what_are_no_products_is_said(tmp_path: Path, change: Callable[..., object], said: str) -> None:
    with Index.open(tmp_path / "index") as index, pytest.raises(RubrikaError, match=said):
        index.ingest(change(SHELF))
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image_encoder": "vit"}, "`image_encoder` needs `images`, the folder of the pictures"),
        ({"vote": "late"}, "`vote` late needs `images`"),
        ({"vote": "loud"}, "`vote` is one of joint, text, image, late, not loud"),
        ({"backend": "zzz"}, "`backend` is one of torch, onnx-int8, not zzz"),
        ({"images": "nowhere"}, "nowhere: this folder of pictures cannot be read"),
    ],
)
def test_what_cannot_be_made_is_said(tmp_path: Path, options: dict[str, str], said: str) -> None:
    with Index.open(tmp_path / "index") as index, pytest.raises(RubrikaError, match=said):
        index.ingest(SHELF, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"protocol": "ours"}, "`protocol` is kazanexpress, not ours"),
        ({"seed": -1}, "`seed` is a whole number from 0, not -1"),
        ({"seed": 0.5}, "`seed` is a whole number from 0, not 0.5"),
    ],
)
def test_what_cannot_be_measured_is_said(write: Write, options: dict[str, Any], said: str) -> None:
    with pytest.raises(RubrikaError, match=said):
        Index.evaluate(write(SHELF.to_dict("records")), **options)


def test_where_no_index_is_nothing_can_be_asked(tmp_path: Path) -> None:
    with Index.open(tmp_path / "index") as index, pytest.raises(RubrikaError, match="no index here"):
        index.classify(SHELF)
    (tmp_path / "file").write_text("мой список")
    with pytest.raises(RubrikaError, match="file: a file, not a folder; choose another place for the index"):
        Index.open(tmp_path / "file").ingest(SHELF)
    with pytest.raises(RubrikaError, match="collection shop is on a server: say which with `url` or QDRANT_URL"):
        Index.open(tmp_path / "index", collection="shop")
