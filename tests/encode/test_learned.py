"""The learned encoder: learns from labels, saves, loads, and says the same in another process."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rubrika.encode.hashing import features_of
from rubrika.encode.learned import LearnedEncoder, cores, feature_rows
from rubrika.errors import EncoderError
from rubrika.products.product import Batch, Category, Product
from rubrika.progress import Silent
from rubrika.train.embed import LearnSettings, learn

SMALL = LearnSettings(size=32, bits=12, epochs=8, batch_size=16, learning_rate=0.1)
TITLES = {
    1: ["кроссовки беговые", "кроссовки мужские", "кеды летние", "кеды и кроссовки", "кроссовки детские"],
    2: ["чехол для телефона", "чехол силиконовый", "чехол на айфон", "чехлы для телефонов", "бампер и чехол"],
    3: ["корм для кошек", "корм сухой", "корм для собак", "влажный корм", "корм и лакомства"],
}


class Shelf:
    """Products as a reader would give them."""

    def __init__(self, titles: dict[int, list[str]]) -> None:
        pairs = [(title, id) for id, group in titles.items() for title in group]
        self.products = [Product(n, t, t, n, Category(c, f"Все категории->{c}")) for n, (t, c) in enumerate(pairs)]

    def __len__(self) -> int:
        return len(self.products)

    def __iter__(self) -> Iterator[Batch]:
        yield Batch(Path("shelf.parquet"), self.products, [])

    def check(self) -> None:
        pass


@pytest.fixture(scope="module")
def encoder() -> LearnedEncoder:
    return learn(Shelf(TITLES), Silent(), SMALL)


def test_a_new_product_is_nearest_to_its_own_kind(encoder: LearnedEncoder) -> None:
    shelf = Shelf(TITLES)
    known = encoder.encode([product.text for product in shelf.products])
    asked = encoder.encode(["кроссовки женские", "чехол кожаный", "корм для щенков"])
    nearest = (asked @ known.T).argmax(axis=1)
    assert [shelf.products[n].category.id for n in nearest] == [1, 2, 3]  # type: ignore[union-attr]


def test_vectors_have_length_one_and_ignore_their_company(encoder: LearnedEncoder) -> None:
    texts = ["кеды", "—", "", "корм " * 2_000, "чехол 5.5 дюймов"]
    together = encoder.encode(texts)
    assert together.dtype == np.float32
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    assert np.array_equal(together, np.concatenate([encoder.encode([text]) for text in texts]))


def test_the_same_products_teach_the_same_encoder(encoder: LearnedEncoder) -> None:
    again = learn(Shelf(TITLES), Silent(), SMALL)
    assert np.array_equal(again.encode(["кеды синие"]), encoder.encode(["кеды синие"]))


def test_another_process_gives_the_same_vectors_without_torch(encoder: LearnedEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "text")
    script = (
        "import sys, json; from pathlib import Path; from rubrika.encode.learned import LearnedEncoder\n"
        "vectors = LearnedEncoder.load(Path(sys.argv[1])).encode(['кеды красные', 'корм'])\n"
        "print(json.dumps([vectors.tolist(), 'torch' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "text"], capture_output=True, check=True)
    vectors, torch_loaded = json.loads(done.stdout)
    assert np.array_equal(np.array(vectors, np.float32), encoder.encode(["кеды красные", "корм"]))
    assert not torch_loaded


def test_words_that_were_not_learned_are_counted(encoder: LearnedEncoder) -> None:
    assert encoder.unseen_words(["Кроссовки зимние", "чехол для ноутбука", "—"]) == (2, 5)
    words = [word for group in TITLES.values() for title in group for word in title.split()]
    alone = sum(words.count(word) == 1 for word in words)
    assert encoder.config.unseen_words == pytest.approx(alone / len(words), abs=1e-4)


def test_an_earlier_encoder_does_not_know_its_words(encoder: LearnedEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    weights, config = load_file(tmp_path / "model.safetensors"), json.loads((tmp_path / "config.json").read_text())
    del weights["words"], config["unseen_words"]
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    earlier = LearnedEncoder.load(tmp_path)
    assert (earlier.unseen_words(["кеды"]), earlier.config.unseen_words) == (None, None)
    assert np.array_equal(earlier.encode(["кеды"]), encoder.encode(["кеды"]))


def test_an_encoder_of_one_view_reads_texts_as_it_did(tmp_path: Path) -> None:
    learn(Shelf(TITLES), Silent(), replace(SMALL, margin=0.0)).save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"kind": "hashed-bag-1"}
    del config["margin"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    text = "кеды iPhone11, кеды"
    features = features_of([text])
    table = load_file(tmp_path / "model.safetensors")["table"].astype(np.float32)
    expected = features.weights @ table[feature_rows(features.hashes, 12)]
    found = LearnedEncoder.load(tmp_path).encode([text])
    assert np.allclose(found, expected / np.linalg.norm(expected), atol=1e-6)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not say which cores may be used")
def test_no_more_threads_than_cores_that_may_be_used() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert cores() == len(allowed)


def test_one_category_is_too_few_to_learn(encoder: LearnedEncoder) -> None:
    with pytest.raises(EncoderError, match="at least 2 categories"):
        learn(Shelf({1: ["кеды", "кроссовки"]}), Silent(), SMALL)


def test_no_products_are_too_few_to_learn() -> None:
    with pytest.raises(EncoderError, match="no readable labelled product"):
        learn(Shelf({}), Silent(), SMALL)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_damaged_files_end_in_a_sentence(encoder: LearnedEncoder, tmp_path: Path, name: str) -> None:
    encoder.save(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:20])
    with pytest.raises(EncoderError, match="cannot be read"):
        LearnedEncoder.load(tmp_path)


def test_an_encoder_of_another_kind_is_refused(encoder: LearnedEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"kind": "hashed-bag-9"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(EncoderError, match="encodes differently"):
        LearnedEncoder.load(tmp_path)
