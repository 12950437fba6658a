"""What other tools take from an index: its text encoder as a model, and a table with every product and its vectors."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import Run
from qdrant_http import serve
from rows import CASES, SHOES, row

from rubrika.api import Index
from rubrika.encode.learned import LearnedEncoder
from rubrika.errors import RubrikaError
from rubrika.index.folder import Index as Opened
from rubrika.index.location import Location, folder_hash
from rubrika.index.manifest import Manifest
from rubrika.retrieve import export as module
from rubrika.store.base import Point

Rubrika = Callable[..., Run]
IndexOf = Callable[..., Path]
SHELF = [row(number, f"кеды {number}") for number in range(10, 30)] + [
    row(number, f"чехол {number}", CASES) for number in range(30, 50)
]


@pytest.fixture(scope="module")
def table(index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "products.parquet"
    with Index.open(index) as opened:
        opened.export(embeddings=path, neighbours=5)
    return path


def test_a_row_for_every_stored_product_in_the_order_of_ids(index: Path, table: Path) -> None:
    with Opened.open(Location(index)) as opened:
        points = [point for page in opened.store.scroll(vectors=True) for point in page]
    frame = pd.read_parquet(table)
    assert list(frame) == ["product_id", "title", "category_id", "category_path", "text_vector", "neighbors"]
    assert frame["product_id"].tolist() == sorted(point.id for point in points)
    for name in ("title", "category_path"):
        assert frame[name].tolist() == [point.text(name) for point in points]
    assert frame["category_id"].tolist() == [point.category_id for point in points]
    np.testing.assert_array_equal(np.stack(frame["text_vector"]), [point.vectors["text"] for point in points])


def test_neighbours_are_rows_of_the_nearest_products_and_how_far_they_are(index: Path, table: Path) -> None:
    frame = pd.read_parquet(table)
    with Index.open(index) as opened:
        for place in (0, 7, len(frame) - 1):
            found = frame["neighbors"][place]
            nearest = opened.neighbours(int(frame["product_id"][place]), top_k=5, exact=True)
            assert frame["product_id"][found["ids"]].tolist() == [hit.product_id for hit in nearest]
            np.testing.assert_allclose(1 - found["distances"], [hit.similarity for hit in nearest], atol=1e-6)


def test_blocks_change_nothing(index: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 500)
    with Index.open(index) as opened:
        opened.export(embeddings=tmp_path / "products.parquet", neighbours=5)
    assert pq.read_table(tmp_path / "products.parquet").equals(pq.read_table(table))
    assert [path.name for path in tmp_path.iterdir()] == ["products.parquet"]


def test_an_index_on_a_server_gives_the_same(index_of: IndexOf, tmp_path: Path) -> None:
    with serve() as server, Index.open(index_of(SHELF)) as index:
        index.export(embeddings=tmp_path / "ours.parquet", neighbours=5)
        index.push(server.url, "products")
        index.export(embeddings=tmp_path / "theirs.parquet", neighbours=5)
    ours, theirs = (pd.read_parquet(tmp_path / name) for name in ("ours.parquet", "theirs.parquet"))
    pd.testing.assert_frame_equal(ours.iloc[:, :4], theirs.iloc[:, :4])
    np.testing.assert_allclose(np.stack(theirs["text_vector"]), np.stack(ours["text_vector"]), atol=1e-6)
    assert [len(found["ids"]) for found in theirs["neighbors"]] == [5] * len(SHELF)


def test_a_product_without_the_vector_has_neither_it_nor_neighbours(index_of: IndexOf, tmp_path: Path) -> None:
    folder = index_of(SHELF)
    with Opened.open(Location(folder), shared=False) as opened:
        opened.store.upsert([Point(20, {}, opened.store.fetch([20])[20].payload)])
        opened.store.flush()
    with Index.open(folder) as index:
        index.export(embeddings=tmp_path / "shelf.parquet", neighbours=1_000)
    frame = pd.read_parquet(tmp_path / "shelf.parquet").set_index("product_id")
    assert frame.loc[20, ["text_vector", "neighbors"]].tolist() == [None, None]
    # Of 40 products, all but itself and the one without.
    assert {len(found["ids"]) for found in frame["neighbors"].drop(20)} == {38}
    assert all(frame.index.get_loc(20) not in found["ids"] for found in frame["neighbors"].drop(20))


def test_products_and_categories_are_called_as_their_owner_does(index_of: IndexOf, tmp_path: Path) -> None:
    rows = [row(f"sku-{each['product_id']}", "кеды", ("shoes", SHOES[1])) for each in SHELF[:20]]
    rows += [row(f"sku-{each['product_id']}", "чехол", ("cases", CASES[1])) for each in SHELF[20:]]
    with Index.open(index_of(rows)) as index:
        index.export(embeddings=tmp_path / "shelf.parquet", neighbours=0)
    frame = pd.read_parquet(tmp_path / "shelf.parquet")
    assert "neighbors" not in frame
    assert sorted(frame["product_id"]) == [f"sku-{number}" for number in range(10, 50)]
    assert set(zip(frame["title"], frame["category_id"], strict=True)) == {("кеды", "shoes"), ("чехол", "cases")}


def test_the_folder_of_the_encoder_has_its_files_and_a_card(rubrika: Rubrika, index: Path, tmp_path: Path) -> None:
    folder, manifest = tmp_path / "model", Manifest.read(index)
    (folder / ".git").mkdir(parents=True)
    for _ in range(2):  # a second time in place of the first
        done = rubrika("export", "--encoder", folder, "--index", index, "--json")
        assert done.json == {"encoder": str(folder), "embeddings": None, "products": None}
    encoder, card = LearnedEncoder.load(folder), (folder / "README.md").read_text(encoding="utf-8")
    (tmp_path / "files").mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).rename(tmp_path / "files" / name)
    assert folder_hash(tmp_path / "files") == manifest.vectors["text"].sha256
    assert manifest.vectors["text"].sha256 in card
    assert f"| products learned from | {encoder.config.products:,} |" in card
    assert f"| categories | {len(encoder.config.categories):,} |" in card
    [module] = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    assert module["type"] == "rubrika.encode.sentence.LearnedText"


@pytest.mark.parametrize(
    ("options", "said", "code"),
    [
        ((), "give --encoder, --embeddings or both", 2),
        (("--embeddings", "products.csv"), "end its name with .parquet", 1),
        (("--embeddings", "products.parquet", "--vector", "image"), "has no vector image; it has text", 1),
        (("--encoder", "full"), "it holds other files, such as letter.txt", 1),
        (("--encoder", "model", "--embeddings", "none.csv"), "end its name with .parquet", 1),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is(
    rubrika: Rubrika, index: Path, tmp_path: Path, options: tuple[str, ...], said: str, code: int
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    done = rubrika("export", *options, "--index", index, cwd=tmp_path)
    assert (done.code, said in done.err, "Traceback" in done.err) == (code, True, False)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["letter.txt"]


def test_a_pretrained_encoder_is_not_exported(copy: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(copy)
    bert = replace(manifest.vectors["text"], encoder="rubert")
    replace(manifest, vectors={"text": bert}).write(copy)
    with Index.open(copy) as index, pytest.raises(RubrikaError, match="its text encoder, rubert, is not learned"):
        index.export(tmp_path / "model")
    assert not (tmp_path / "model").exists()
