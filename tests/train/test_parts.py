"""Learning from a part of some products: it knows no other labels, and of long texts it shows a part at a time."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from rubrika.ingest.reach import Cohort
from rubrika.products.product import Category, Product
from rubrika.train.kernels import Table, bags_for_margin, parts_of

SHELF = [
    Product(n, text, text, n, Category(n % 2, f"Все категории->{n % 2}"))
    for n, text in enumerate(f"{('чайник стальной', 'кеды летние')[n % 2]} {n}" for n in range(40))
]


def test_an_encoder_of_a_part_knows_none_of_the_other_labels() -> None:
    chosen = np.arange(40) < 30
    relabelled = [
        product if asked else replace(product, category=Category(7, "Все категории->другое"))
        for product, asked in zip(SHELF, chosen, strict=True)
    ]
    honest, other = (Cohort(shelf).learn(chosen, {}, 0.5) for shelf in (SHELF, relabelled))
    assert honest.config.categories == other.config.categories == (0, 1)
    assert np.array_equal(honest.encode(["кеды 7"]), other.encode(["кеды 7"]))


def test_of_a_long_text_epochs_show_one_part_after_the_other() -> None:
    bags = csr_array(np.ones((1, 10), np.uint8))
    parts = [parts_of(bags, np.zeros(1, np.int64), turn, 4) for turn in range(3)]
    assert [part.columns.tolist() for part in parts] == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]
    assert [float(part.weights.sum()) for part in parts] == pytest.approx([1, 1, 1])


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rubrika.train.kernels.ENOUGH", 0)
    random = np.random.default_rng(0)
    bags = csr_array((random.random((50, 64)) < 0.3).astype(np.uint8))
    part, vectors = parts_of(bags, np.arange(50), 0, 100), random.random((64, 8), np.float32)
    tables = [Table(vectors.copy(), threads) for threads in (1, 2)]
    for table in tables:
        table.descend(part, table.means(part), 0.1)
    assert np.array_equal(tables[0].vectors, tables[1].vectors)
    assert not np.array_equal(tables[0].vectors, vectors)


def test_the_margin_view_learns_from_the_heaviest_features() -> None:
    bags = csr_array(np.array([[9, 1, 8, 2, 7]], np.uint8))
    place, rarity = np.arange(5, dtype=np.int32), np.ones(5, np.float32)
    part = bags_for_margin(bags, np.zeros(1, np.int64), place, rarity, 3, np.float32(2))
    assert part.columns.tolist() == [0, 2, 4]
    assert float(np.square(part.weights).sum()) == pytest.approx(2)
