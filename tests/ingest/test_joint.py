"""Pictures in the index: three named vectors, a joint vote, look-alikes, and no picture that stops a run."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Run, copied
from index_contents import contents
from models import save_bert, save_vit

from rubrika.index.folder import Index
from rubrika.index.location import Location
from rubrika.ingest.ingest import ingest
from rubrika.products.images import PictureFolder
from rubrika.products.reader import Reader
from rubrika.sample import write_sample
from rubrika.store.base import Point

Rubrika = Callable[..., Run]


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small marketplace with broken pictures among the good ones, and a tiny ViT to look at them."""
    folder = tmp_path_factory.mktemp("pictured")
    write_sample(folder, seed=5, products=250)
    pictures = sorted((folder / "images" / "train").iterdir())
    pictures[0].write_bytes(pictures[0].read_bytes()[:200])
    pictures[1].write_bytes(b"GIF89a nothing")
    pictures[2].write_bytes(b"")
    save_vit(folder / "vit")
    return folder


@pytest.fixture(scope="module")
def ingested(rubrika: Rubrika, pictured: Path) -> Run:
    return rubrika(
        *("ingest", pictured / "train.parquet", "--index", pictured / "index", "--json"),
        *("--images", pictured / "images" / "train", "--image-encoder", pictured / "vit"),
        *("--image-url", "http://127.0.0.1:8080/train/"),
        **cached(pictured),
    )


def cached(folder: Path) -> dict[str, str]:
    return {"RUBRIKA_CACHE": str(folder / "cache")}


def test_pictures_are_counted_and_broken_ones_have_a_reason(ingested: Run, pictured: Path) -> None:
    assert ingested.code == 0, ingested.err
    answer = ingested.json
    there = len(list((pictured / "images" / "train").iterdir()))
    assert answer["pictures"] == there - 3
    assert sum(answer["unusable_pictures"].values()) == 3
    assert {"is truncated", "is GIF, not JPEG, PNG or WEBP", "is empty"} == set(answer["unusable_pictures"])
    assert answer["added"] == answer["read"]


def test_one_index_has_text_image_and_joint_vectors(ingested: Run, pictured: Path) -> None:
    with Index.open(Location(pictured / "index", cache=pictured / "cache")) as index:
        assert set(index.manifest.vectors) == {"text", "image", "joint"}
        assert index.manifest.vote.weights == {"joint": 1.0}
        points = [point for batch in index.store.scroll(vectors=True) for point in batch]
    with_picture = [point for point in points if "image" in point.vectors]
    assert {tuple(sorted(point.vectors)) for point in points} == {("image", "joint", "text"), ("joint", "text")}
    assert with_picture[0].payload["image_url"] == f"http://127.0.0.1:8080/train/{with_picture[0].id}.jpg"
    assert len(with_picture) == ingested.json["pictures"]


def test_vectors_that_are_stored_are_taken_as_they_are(ingested: Run, pictured: Path) -> None:
    (batch,) = Reader([pictured / "train.parquet"], labelled=True)
    products = batch.products
    pictures = PictureFolder.scan(pictured / "images" / "train")
    with Index.open(Location(pictured / "index", cache=pictured / "cache")) as index:
        made = index.encoders.encode(products, pictures, known=index.encoders.picture_hashes(products, pictures))
        image = made.vectors["image"]
        again = index.encoders.encode(products, None, given={"image": image})
        assert {name: rows.tobytes() for name, rows in again.vectors.items()} == {
            name: rows.tobytes() for name, rows in made.vectors.items()
        }
        assert (made.failures != {}, again.failures) == (True, {})
        without = index.encoders.encode(products, pictures, given={"image": np.zeros_like(image)})
        assert all(set(without.of(row)) == {"text", "joint"} for row in range(len(products)))


def test_a_second_run_encodes_and_writes_nothing(rubrika: Rubrika, ingested: Run, pictured: Path) -> None:
    again = rubrika(
        *("ingest", pictured / "train.parquet", "--index", pictured / "index", "--json"),
        *("--images", pictured / "images" / "train", "--image-url", "http://127.0.0.1:8080/train"),
        **cached(pictured),
    )
    assert again.json["unchanged"] == again.json["read"]


def test_pictures_stay_while_no_others_are_given(rubrika: Rubrika, ingested: Run, pictured: Path) -> None:
    arguments = ("ingest", pictured / "train.parquet", "--index", pictured / "index", "--json")
    done = rubrika(*arguments, **cached(pictured))
    assert done.json["unchanged"] == done.json["read"]
    with Index.open(Location(pictured / "index", cache=pictured / "cache")) as index:
        points = [point for batch in index.store.scroll(vectors=True) for point in batch]
    assert sum("image" in point.vectors for point in points) == ingested.json["pictures"]


def test_only_what_reads_what_changed_is_encoded(ingested: Run, pictured: Path, tmp_path: Path) -> None:
    folder = copied(pictured / "index", tmp_path / "index")
    rows = pd.read_parquet(pictured / "train.parquet").head(60)
    before = stored(folder, pictured)
    bare = next(id for id in rows["product_id"] if "image" not in before[id].vectors)
    shown = next(id for id in rows["product_id"] if "image" in before[id].vectors)
    # A first picture for one product, other words for another.
    images = tmp_path / "images"
    images.mkdir()
    shutil.copy(pictured / "images" / "train" / f"{shown}.jpg", images / f"{bare}.jpg")
    rows.loc[rows["product_id"] == shown, "text_fields"] = json.dumps({"title": "ваза стеклянная"})
    rows.to_parquet(tmp_path / "changed.parquet")
    report = ingest(
        Location(folder, cache=pictured / "cache"),
        Reader([tmp_path / "changed.parquet"], labelled=True),
        pictures=PictureFolder.scan(images),
        # The addresses of pictures stay as they were.
        image_url="http://127.0.0.1:8080/train/",
    )
    assert (report.updated, report.unchanged, report.encoded) == (2, 58, 2)
    after = stored(folder, pictured)
    assert set(after[bare].vectors) == {"text", "image", "joint"}
    changed = {
        id: {name for name, row in after[id].vectors.items() if not np.array_equal(row, before[id].vectors.get(name))}
        for id in (bare, shown)
    }
    assert changed == {bare: {"image", "joint"}, shown: {"text", "joint"}}


def stored(folder: Path, pictured: Path) -> dict[int, Point]:
    with Index.open(Location(folder, cache=pictured / "cache")) as index:
        return {point.id: point for batch in index.store.scroll(vectors=True) for point in batch}


def test_classify_works_with_and_without_pictures(rubrika: Rubrika, ingested: Run, pictured: Path) -> None:
    for images in ([], ["--images", pictured / "images" / "test"]):
        output = pictured / f"result{len(images)}.parquet"
        arguments = ("classify", pictured / "test.parquet", "--index", pictured / "index", "-o", output)
        assert rubrika(*arguments, *images, **cached(pictured)).code == 0
        assert pd.read_parquet(output)["predicted_category_id"].notna().all()


def test_a_picture_finds_itself_among_look_alikes(rubrika: Rubrika, ingested: Run, pictured: Path) -> None:
    picture = sorted((pictured / "images" / "train").iterdir())[10]
    arguments = ("neighbours", "--vector", "image", "--image", picture, "--index", pictured / "index", "--json")
    found = rubrika(*arguments, **cached(pictured)).json["neighbours"]
    assert found[0]["similarity"] == pytest.approx(1, abs=1e-3)
    assert int(picture.stem) in {one["product_id"] for one in found}


def test_a_broken_picture_is_one_sentence(rubrika: Rubrika, ingested: Run, pictured: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"nothing")
    done = rubrika("neighbours", "--image", broken, "--index", pictured / "index", **cached(pictured))
    assert (done.code, done.out) == (1, "")
    assert "is something else, not JPEG, PNG or WEBP" in done.err


def test_a_title_has_no_picture_to_compare(rubrika: Rubrika, ingested: Run, pictured: Path) -> None:
    arguments = ("neighbours", "--title", "кеды", "--vector", "image", "--index", pictured / "index")
    done = rubrika(*arguments, **cached(pictured))
    assert (done.code, done.out) == (1, "")
    assert "a title has no image vector to search" in done.err
    assert "give an image" in done.err


def test_a_transformer_can_make_the_text_vectors(rubrika: Rubrika, pictured: Path, tmp_path: Path) -> None:
    model, index = save_bert(tmp_path / "bert"), tmp_path / "index"
    arguments = ("ingest", pictured / "train.parquet", "--index", index, "--text-encoder", model, "--json")
    first, again = (rubrika(*arguments, **cached(pictured)) for _ in range(2))
    assert first.code == 0, first.err
    assert again.json["unchanged"] == first.json["added"] > 200
    outputs = ("-o", tmp_path / "result.parquet", "--json")
    done = rubrika("classify", pictured / "test.parquet", "--index", index, *outputs, **cached(pictured))
    assert done.json["rows"] == len(pd.read_parquet(pictured / "test.parquet"))


def test_a_transformers_pooling_can_be_chosen_and_is_shown(rubrika: Rubrika, pictured: Path, tmp_path: Path) -> None:
    model, rows = save_bert(tmp_path / "bert"), pd.read_parquet(pictured / "train.parquet").head(30)
    rows.to_parquet(tmp_path / "train.parquet")
    arguments = ("ingest", tmp_path / "train.parquet", "--text-encoder", model)
    for name, chosen in (("mean", ()), ("cls", ("--pooling", "cls"))):
        done = rubrika(*arguments, *chosen, "--index", tmp_path / name, **cached(pictured))
        assert done.code == 0, done.err
        shown = rubrika("info", "--index", tmp_path / name)
        assert f"{name} pooling" in " ".join(shown.out.split())
        found = rubrika("neighbours", "--title", "кеды", "--index", tmp_path / name, "--json", **cached(pictured))
        assert len(found.json["neighbours"]) == 10
    other = rubrika(*arguments, "--pooling", "cls", "--index", tmp_path / "mean", **cached(pictured))
    assert (other.code, "pooled by mean, not by cls; ingest into a new folder" in other.err) == (1, True)
    vectors = [contents(tmp_path / name) for name in ("mean", "cls")]
    assert all(vectors[0][id][1]["text"] != vectors[1][id][1]["text"] for id in vectors[0])


def test_int8_makes_the_text_vectors_and_classify_uses_it_again(
    rubrika: Rubrika, pictured: Path, tmp_path: Path
) -> None:
    model, index = save_bert(tmp_path / "bert"), tmp_path / "index"
    chosen = ("--text-encoder", model, "--backend", "onnx-int8")
    environment = cached(tmp_path)
    done = rubrika("ingest", pictured / "train.parquet", "--index", index, *chosen, "--json", **environment)
    assert done.code == 0, done.err
    (exported,) = (tmp_path / "cache").rglob("*.onnx")
    made = exported.stat().st_mtime_ns
    outputs = ("-o", tmp_path / "result.parquet", "--json")
    done = rubrika("classify", pictured / "test.parquet", "--index", index, *outputs, **environment)
    assert done.code == 0, done.err
    test, found = pd.read_parquet(pictured / "test.parquet"), pd.read_parquet(tmp_path / "result.parquet")
    assert found["product_id"].tolist() == test["product_id"].tolist()
    assert found["predicted_category_id"].notna().all()
    assert exported.stat().st_mtime_ns == made


def test_late_fusion_tunes_its_weights(rubrika: Rubrika, pictured: Path, tmp_path: Path) -> None:
    done = rubrika(
        *("ingest", pictured / "train.parquet", "--index", tmp_path / "late", "--vote", "late"),
        *("--images", pictured / "images" / "train", "--image-encoder", pictured / "vit"),
        **cached(pictured),
    )
    assert done.code == 0, done.err
    with Index.open(Location(tmp_path / "late", cache=pictured / "cache")) as index:
        weights = index.manifest.vote.weights
    assert set(weights) == {"text", "image"}
    assert sum(weights.values()) == pytest.approx(1)


def test_another_encoder_than_the_index_has_is_refused(rubrika: Rubrika, ingested: Run, pictured: Path) -> None:
    arguments = ("ingest", pictured / "train.parquet", "--index", pictured / "index", "--text-encoder", "rubert")
    done = rubrika(*arguments, **cached(pictured))
    assert done.code == 1
    assert "its text vectors are made by learned, not by rubert" in done.err


def test_an_encoder_that_cannot_be_had_is_one_sentence(
    rubrika: Rubrika, pictured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    arguments = ("ingest", pictured / "train.parquet", "--index", tmp_path / "index", "--text-encoder", "rubert")
    done = rubrika(*arguments, **cached(pictured))
    assert (done.code, done.out) == (1, "")
    assert "use the text encoder learned, which needs no download" in done.err
    assert not (tmp_path / "index" / "index.json").exists()


def test_a_model_that_changed_is_not_the_one_of_the_index(rubrika: Rubrika, ingested: Run, pictured: Path) -> None:
    kept = pictured / "kept"
    shutil.copytree(pictured / "vit", kept)
    try:
        save_vit(pictured / "vit", seed=11)
        arguments = ("classify", pictured / "test.parquet", "--index", pictured / "index", "-o", pictured / "r.parquet")
        done = rubrika(*arguments, **cached(pictured))
        assert done.code == 1
        assert "not the encoder that the vector image was made with" in done.err
    finally:
        shutil.rmtree(pictured / "vit")
        os.rename(kept, pictured / "vit")
