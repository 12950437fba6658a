"""The margin view: it decides as a linear SVM does, and its share is chosen on products held out."""

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.svm import LinearSVC

from rubrika.encode.base import unit_or_zero
from rubrika.encode.learned import LearnedEncoder, side_by_side
from rubrika.products.product import Category, Kept, Product
from rubrika.progress import Silent
from rubrika.train.embed import LearnSettings, learn
from rubrika.train.margin import MarginSettings, drawn_for_margin, learn_margin
from rubrika.train.views import SHARES

KINDS = ("кроссовки беговые", "кеды летние", "чехол силиконовый", "корм для кошек", "чайник стальной")
SHELF = [
    Product(n, text, text, n, Category(n % 5, f"Все категории->{KINDS[n % 5]}"))
    for n, text in enumerate(f"{KINDS[n % 5]} модель {n % 7} {n}" for n in range(100))
]
SMALL = LearnSettings(size=16, bits=12, epochs=8, batch_size=16, learning_rate=0.1)


def drawn(count: int, features: int, kinds: int) -> tuple[csr_array, np.ndarray]:
    """Products of a few features each, some of which tell their kind."""
    random = np.random.default_rng(3)
    labels = random.integers(0, kinds, count)
    dense = random.integers(0, 5, (count, features)) * (random.random((count, features)) < 0.2)
    dense[np.arange(count), labels] += 2
    return csr_array(dense.astype(np.uint8)), labels


def test_it_decides_as_liblinear_does() -> None:
    bags, labels = drawn(600, 40, 6)
    alike = np.eye(6, 16, dtype=np.float32)
    view = learn_margin(
        bags, np.arange(600), labels, alike[labels], alike, MarginSettings(size=16, cost=0.1, epochs=60)
    )
    rarity = np.log(601 / (1 + np.bincount(bags.indices, minlength=40))) + 1
    weighted = bags.toarray() * rarity
    weighted *= np.sqrt(2) / np.linalg.norm(weighted, axis=1, keepdims=True)
    svm = LinearSVC(C=0.1, multi_class="crammer_singer", fit_intercept=False, tol=1e-4, max_iter=10_000)
    scores = unit_or_zero(weighted @ svm.fit(weighted, labels).coef_.T.astype(np.float32))
    # With no more categories than a vector is wide, nothing is lost: the cosines are those of the SVM's scores.
    vectors = unit_or_zero(bags.toarray().astype(np.float32) @ view.table.astype(np.float32))
    assert np.abs(vectors @ vectors.T - scores @ scores.T).max() < 0.05


def test_of_many_products_some_are_drawn_of_every_category() -> None:
    labels = np.repeat([0, 1, 2], [1_000, 100, 3])
    chosen = drawn_for_margin(80_000_000, labels, seed=0)
    assert np.array_equal(chosen, drawn_for_margin(80_000_000, labels, seed=0))
    sizes = np.bincount(labels[chosen])
    assert len(chosen) == 551
    assert sizes[2] == 3
    assert sizes[0] / sizes[1] == pytest.approx(10, rel=0.2)
    assert len(drawn_for_margin(1_000, labels, seed=0)) == len(labels)


def test_what_is_learned_does_not_depend_on_the_order_of_products() -> None:
    one, other = (learn(Kept(shelf), Silent(), SMALL) for shelf in (SHELF, SHELF[::-1]))
    assert one.config == other.config
    asked = ["кроссовки зимние", "чайник"]
    assert np.array_equal(one.encode(asked), other.encode(asked))


@pytest.mark.parametrize(("margin", "width"), [(0.0, 16), (0.6, 32), (1.0, 16)])
def test_a_view_that_does_not_count_takes_no_room(margin: float, width: int) -> None:
    encoder = learn(Kept(SHELF), Silent(), LearnSettings(16, margin, 12, 8, 16, 0.1))
    assert (encoder.size, encoder.config.margin) == (width, margin)
    known = encoder.encode(list(KINDS))
    assert (encoder.encode([f"{kind} новая" for kind in KINDS]) @ known.T).argmax(axis=1).tolist() == [0, 1, 2, 3, 4]


def test_views_count_by_their_share() -> None:
    one, other = np.eye(1, 4, dtype=np.float32), np.eye(2, 4, dtype=np.float32)[1:]
    both = side_by_side(one, other, 0.75)
    assert both.tolist() == [[0.25, 0, 0, 0, 0, 0.75, 0, 0]]
    assert side_by_side(one, other, 0.0) is one
    assert side_by_side(one, other, 1.0) is other


def test_the_share_is_chosen_and_kept(tmp_path: Path) -> None:
    encoder = learn(Kept(SHELF), Silent(), SMALL)
    assert encoder.config.margin in SHARES
    encoder.save(tmp_path / "text")
    again = LearnedEncoder.load(tmp_path / "text")
    assert again.config == encoder.config
    assert np.array_equal(again.encode(["кеды"]), encoder.encode(["кеды"]))
