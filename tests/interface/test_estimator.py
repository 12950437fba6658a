"""The classifier of texts for scikit-learn: it keeps scikit-learn's contract, and decides as an index does."""

import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from models import save_vit
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks
from table_classifier import Tables

from rubrika import Index, RetrievalClassifier
from rubrika.products.reader import Reader
from rubrika.retrieve.exact import exact_hits

SHOES = ["кроссовки беговые", "кроссовки мужские", "кроссовки детские белые"]
CASES = ["чехол для телефона", "чехол силиконовый", "чехол кожаный"]
TEXTS, LABELS = SHOES + CASES, ["обувь"] * 3 + ["чехлы"] * 3
DRESSES = ["платье летнее", "платье вечернее", "платье в горошек"]


@pytest.fixture(scope="module")
def fitted() -> RetrievalClassifier:
    return RetrievalClassifier(top_k=3).fit(TEXTS, LABELS)


@pytest.fixture
def grown(fitted: RetrievalClassifier) -> RetrievalClassifier:
    copy: RetrievalClassifier = pickle.loads(pickle.dumps(fitted))
    return copy.partial_fit(DRESSES, ["платья"] * 3, classes=["платья", "шубы"])


@parametrize_with_checks([Tables(size=32, epochs=6)])
def test_scikit_learn_finds_nothing_wrong(estimator: Tables, check: Callable[[Tables], None]) -> None:
    check(estimator)


def test_it_names_the_label_of_the_texts_most_like(fitted: RetrievalClassifier) -> None:
    assert fitted.classes_.tolist() == ["обувь", "чехлы"]
    assert fitted.predict(pd.Series(["кроссовки красные", "чехол"])).tolist() == ["обувь", "чехлы"]
    assert fitted.predict_proba(["кроссовки"]).sum() == pytest.approx(1)
    assert fitted.score(TEXTS, LABELS) == 1
    assert len(fitted.predict([])) == 0


def test_of_equal_shares_that_of_the_nearer_text_wins(fitted: RetrievalClassifier) -> None:
    undecided: RetrievalClassifier = pickle.loads(pickle.dumps(fitted)).set_params(top_k=6, temperature=0)
    assert undecided.predict_proba(TEXTS).tolist() == [[0.5, 0.5]] * 6
    assert undecided.predict(TEXTS).tolist() == LABELS


def test_labels_may_be_numbers() -> None:
    found = RetrievalClassifier().fit(TEXTS, [7] * 3 + [-1] * 3)
    assert (found.classes_.tolist(), found.predict(["чехол"]).tolist()) == ([-1, 7], [-1])


def test_texts_that_are_added_count_at_once(fitted: RetrievalClassifier, grown: RetrievalClassifier) -> None:
    assert grown.classes_.tolist() == ["обувь", "платья", "чехлы", "шубы"]
    assert grown.predict(["платье красное", *TEXTS]).tolist() == ["платья", *LABELS]
    assert grown.predict_proba(["шуба"]).shape == (1, 4)
    assert grown.seen_.tolist() == [0, 2]
    assert np.array_equal(grown.encoder_.encode(TEXTS), fitted.vectors_)
    assert fitted.classes_.tolist() == ["обувь", "чехлы"]


def test_a_label_that_was_never_heard_of_is_refused(grown: RetrievalClassifier) -> None:
    with pytest.raises(ValueError, match="the class 'сумки' is not known yet; name it in `classes`"):
        grown.partial_fit(["сумка"], ["сумки"])
    with pytest.raises(ValueError, match="the class 'чехлы' is not known yet"):
        RetrievalClassifier().partial_fit(TEXTS, LABELS, classes=["обувь"])
    assert grown.partial_fit(["шуба"], ["шубы"]).predict(["шуба"]).tolist() == ["шубы"]


def test_numbers_and_texts_are_not_labels_of_one_classifier(grown: RetrievalClassifier) -> None:
    numbers = RetrievalClassifier().fit(TEXTS, [7] * 3 + [-1] * 3)
    with pytest.raises(ValueError, match="labels are numbers so far, and these are texts; give them as numbers too"):
        numbers.partial_fit(["платье"], ["платья"], classes=["платья"])
    with pytest.raises(ValueError, match="labels are numbers so far, and these are texts"):
        numbers.partial_fit(["платье"], [7], classes=["платья"])
    with pytest.raises(ValueError, match="labels are texts so far, and these are numbers"):
        grown.partial_fit(["платье"], [3], classes=[3])
    assert numbers.partial_fit(["платье"], [3], classes=[3]).classes_.tolist() == [-1, 3, 7]
    assert grown.partial_fit(["шуба"], pd.Series(["шубы"], dtype="category"), classes=[]).seen_.tolist() == [0, 2]


def test_the_first_partial_fit_learns(fitted: RetrievalClassifier) -> None:
    first = RetrievalClassifier(top_k=3).partial_fit(TEXTS, LABELS)
    assert np.array_equal(first.vectors_, fitted.vectors_)


def test_neighbours_are_places_among_the_texts(grown: RetrievalClassifier) -> None:
    distances, places = grown.kneighbors(["платье летнее", "чехол кожаный"], n_neighbors=2)
    assert places[:, 0].tolist() == [6, 5]
    assert distances[:, 0] == pytest.approx(0, abs=1e-6)
    own = grown.kneighbors(return_distance=False)
    assert own.shape == (9, 3)
    assert not (own == np.arange(9)[:, None]).any()
    assert grown.kneighbors(["чехол"], n_neighbors=99, return_distance=False).shape == (1, 9)
    for count in (0, 2.5, "а", True):
        with pytest.raises(ValueError, match=f"n_neighbors is a whole number from 1, not {count!r}"):
            grown.kneighbors(["чехол"], n_neighbors=count)


def test_no_distance_is_below_0(fitted: RetrievalClassifier) -> None:
    longer: RetrievalClassifier = pickle.loads(pickle.dumps(fitted))
    # As float32 may round a vector of unit length, only more so.
    longer.vectors_ = longer.vectors_ * np.float32(1.0001)
    distances, _ = longer.kneighbors(TEXTS, n_neighbors=6)
    assert (distances.dtype, distances.min()) == (np.float32, 0)


def test_the_same_texts_give_the_same_classifier(fitted: RetrievalClassifier) -> None:
    again = clone(fitted).fit(TEXTS, LABELS)
    assert pickle.dumps(again) == pickle.dumps(clone(fitted).fit(np.array(TEXTS), LABELS))
    other = clone(fitted).set_params(random_state=1).fit(TEXTS, LABELS)
    assert not np.array_equal(other.vectors_, fitted.vectors_)
    drawn = clone(fitted).set_params(random_state=np.random.RandomState(5)).fit(TEXTS, LABELS)
    assert drawn.predict(["чехол"]).tolist() == ["чехлы"]


def test_it_can_be_searched_over() -> None:
    found = GridSearchCV(RetrievalClassifier(), {"top_k": [1, 3], "temperature": [20.0, 60.0]}, cv=3)
    assert found.fit(TEXTS, LABELS).best_score_ > 0.5


def test_search_is_exact_and_ties_go_by_place() -> None:
    random = np.random.default_rng(0)
    vectors = random.standard_normal((500, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[100:120] = vectors[7]
    queries = vectors[[7, 42, 300]]
    hits = exact_hits(vectors, np.arange(500), queries, 12)
    order = np.lexsort((np.arange(500)[None].repeat(3, 0), -(queries.astype(float) @ vectors.T.astype(float))), axis=1)
    assert hits.ids[1:].tolist() == order[1:, :12].tolist()
    assert hits.ids[0].tolist() == [7, *range(100, 111)]
    assert hits.categories.tolist() == hits.ids.tolist()


def test_it_decides_as_an_index_of_the_same_texts(market: Path, index_of: Callable[..., Path]) -> None:
    # What is learned depends on the order of products, for an index that of their ids.
    rows = pd.read_parquet(market / "train.parquet").head(400).sort_values("product_id")
    index = index_of(rows.to_dict("records"))
    file = index.with_name("products.parquet")
    products = [product for batch in Reader([file], labelled=True) for product in batch.products]
    known = RetrievalClassifier().fit([one.text for one in products], [one.category.id for one in products])
    asked = [product for batch in Reader([market / "test.parquet"], labelled=False) for product in batch.products]
    with Index.open(index) as opened:
        found = opened.classify(market / "test.parquet")
    mine, shares = known.predict([one.text for one in asked]), known.predict_proba([one.text for one in asked])
    assert np.mean(mine == found.categories) > 0.99
    assert np.mean(np.abs(shares.max(axis=1) - found.votes.shares[:, 0]) < 0.01) > 0.99


@pytest.mark.parametrize(
    ("texts", "labels", "said"),
    [
        ("кроссовки", ["обувь"], "texts are given as a list, an array or a Series"),
        (np.zeros((2, 2)), ["а", "б"], "texts are given as a list, an array or a Series"),
        (["кроссовки", None], ["обувь", "чехлы"], "text 1 is NoneType, not str"),
        (["кроссовки", "кеды"], ["обувь", "обувь"], "at least 2 classes, and these texts are of 1 class, 'обувь'"),
        (["кроссовки", "чехол"], ["обувь"], "inconsistent numbers of samples"),
        ([], [], "there are no texts to learn from"),
        (["кроссовки", "чехол"], ["обувь", None], "label 1 is no text, but others are; give all as texts, none empty"),
        (["кроссовки", "чехол"], ["обувь", np.nan], "label 1 is no text, but others are"),
        (["кроссовки", "чехол"], pd.Series([7, "чехлы"]), "label 0 is no text, but others are"),
    ],
)
def test_what_cannot_be_learned_from_is_said(texts: object, labels: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RetrievalClassifier().fit(texts, labels)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        *((name, value) for name in ("top_k", "size", "epochs") for value in (0, -1, 2.5, "а", True)),
        *(("temperature", value) for value in (float("nan"), float("inf"), 1e308, -1, "а", None)),
    ],
)
def test_a_parameter_that_cannot_be_is_said(fitted: RetrievalClassifier, parameter: str, value: object) -> None:
    wrong = clone(fitted).set_params(**{parameter: value})
    with pytest.raises(ValueError, match=f"{parameter} is a (whole )?number from [01].*, not {re.escape(repr(value))}"):
        wrong.fit(TEXTS, LABELS)
    later: RetrievalClassifier = pickle.loads(pickle.dumps(fitted)).set_params(**{parameter: value})
    for ask in (later.predict, later.kneighbors):
        with pytest.raises(ValueError, match=f"{parameter} is a"):
            ask(TEXTS)


def test_any_temperature_that_can_be_gives_shares(fitted: RetrievalClassifier) -> None:
    for temperature in (0, 1e6, np.float32(60)):
        shares = pickle.loads(pickle.dumps(fitted)).set_params(temperature=temperature).predict_proba(TEXTS)
        assert shares.sum(axis=1) == pytest.approx(1)


def test_an_unfitted_one_says_so() -> None:
    for ask in (RetrievalClassifier().predict, RetrievalClassifier().kneighbors):
        with pytest.raises(NotFittedError):
            ask(["кеды"])


SHOP = pd.DataFrame(
    {
        "name": [f"{'кроссовки беговые' if place % 2 else 'чехол для телефона'} {place}" for place in range(40)],
        "brand": ["Лев", None, np.nan, "Гном"] * 10,
    }
)
SHELVES = ["Обувь > Кроссовки" if place % 2 else "Чехлы" for place in range(40)]


def test_rows_of_a_dataframe_are_texts_and_empty_cells_say_nothing() -> None:
    fitted = RetrievalClassifier(top_k=3).fit(SHOP, SHELVES)
    assert fitted.texts_[:2] == ["чехол для телефона 0\nbrand: Лев", "кроссовки беговые 1"]
    assert list(fitted.predict(SHOP.tail(2))) == SHELVES[-2:]


def test_a_classifier_becomes_an_index_and_comes_back(tmp_path: Path) -> None:
    fitted = RetrievalClassifier(top_k=3, temperature=20.0).fit(SHOP, SHELVES)
    fitted.to_index(tmp_path / "index")
    with Index.open(tmp_path / "index") as index:
        [nearest] = index.neighbours(title="кроссовки беговые", top_k=1)
        assert nearest.category_id == "Обувь > Кроссовки"
        assert index.info().manifest.vote.top_k == 3
    again = RetrievalClassifier.from_index(tmp_path / "index")
    assert (again.top_k, again.temperature) == (3, 20.0)
    asked = ["кроссовки", "чехол синий", "лампа"]
    np.testing.assert_allclose(again.predict_proba(asked), fitted.predict_proba(asked), atol=1e-3)
    assert list(again.classes_) == list(fitted.classes_)
    with pytest.raises(ValueError, match="came from an index"):
        again.to_index(tmp_path / "other")


@pytest.fixture(scope="module")
def eye(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_vit(tmp_path_factory.mktemp("eye") / "vit"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red and blue squares, which the titles say nothing of."""
    folder = tmp_path_factory.mktemp("photos")
    for place in range(60):
        shade = (150 + place, 20, 20) if place % 2 else (20, 20, 150 + place)
        Image.new("RGB", (32, 32), shade).save(folder / f"{place}.png")
    return folder


@pytest.mark.parametrize("kind", ["bytes", "struct", "name"])
def test_pictures_of_a_dataframe_count_as_they_do_in_an_index(eye: str, photos: Path, kind: str) -> None:
    names = [f"{place}.png" for place in range(60)]
    cells = {
        "bytes": [(photos / name).read_bytes() for name in names],
        "struct": [{"bytes": (photos / name).read_bytes(), "path": None} for name in names],
        "name": names,
    }
    shop = pd.DataFrame({"title": ["товар"] * 60, "image": cells[kind]})
    colours = ["красный" if place % 2 else "синий" for place in range(60)]
    folder = photos if kind == "name" else None
    found = RetrievalClassifier(top_k=3, size=16, image_encoder=eye, images=folder).fit(shop[:40], colours[:40])
    assert found.texts_[0] == "товар"
    assert found.predict(shop[40:]).tolist() == colours[40:]
    again = pickle.loads(pickle.dumps(found))
    assert again.partial_fit(shop[40:50], colours[40:50]).kneighbors(shop[40:41], 1, False).tolist() == [[40]]
    with pytest.raises(ValueError, match="pictures are in the column 'image' of a DataFrame, and there is none"):
        found.predict(["товар"])
    with pytest.raises(ValueError, match="is not the one that it was fitted with"):
        again.set_params(image_encoder=None).predict(["товар"])
    with pytest.raises(ValueError, match="its pictures are not kept; make the index of them with `Index.ingest`"):
        found.to_index("anywhere")


def test_a_missing_or_broken_picture_leaves_the_text(eye: str, photos: Path) -> None:
    cells = [(photos / f"{place}.png").read_bytes() for place in range(38)] + [None, b"no picture"]
    found = RetrievalClassifier(top_k=3, size=16, image_encoder=eye).fit(SHOP.assign(image=cells), SHELVES)
    assert found.predict(SHOP.assign(image=[None] * 40)).tolist() == SHELVES
    with pytest.raises(ValueError, match="no row has a picture .* file names and their folder as `images`"):
        clone(found).fit(SHOP.assign(image=["1.png"] * 40), SHELVES)


def test_without_an_image_encoder_pictures_are_no_text(photos: Path) -> None:
    cells = [(photos / f"{place}.png").read_bytes() for place in range(40)]
    found = RetrievalClassifier(top_k=3).fit(SHOP.assign(image=cells), SHELVES)
    assert found.texts_[1] == "кроссовки беговые 1"
