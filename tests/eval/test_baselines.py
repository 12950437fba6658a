"""Other ways to predict: each learns what is plain to see, twice the same, and none looks at the answers."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone

from rubrika.errors import RubrikaError
from rubrika.eval.baselines import (
    Baseline,
    FastText,
    LinearSvm,
    NearestNeighbours,
    Network,
    best_of,
    ensemble_weights,
    fasttext_epochs,
)
from rubrika.eval.methods import Method, Part, ensemble_of
from rubrika.eval.metrics import metrics_of
from rubrika.retrieve.exact import best_hits
from rubrika.vote import Votes

SNEAKERS, CASES, PUZZLES = 11, 22, 33
WORDS = {
    SNEAKERS: "кроссовки беговые мужские сетка шнурки подошва",
    CASES: "чехол силиконовый прозрачный смартфон накладка бампер",
    PUZZLES: "пазл картонный детский деталей картинка сборка",
}


def shelf(count: int, seed: int) -> Part:
    """Products of three categories: three words of each one's own, text vectors that tell, pictures that tell less."""
    random = np.random.default_rng(seed)
    labels = random.choice(list(WORDS), count)
    texts = [" ".join(random.permutation(WORDS[label].split())[:3]) for label in labels.tolist()]
    around = (labels[:, None] == list(WORDS)).astype(np.float32)

    def vectors(noise: float) -> np.ndarray:
        rows = np.pad(around, ((0, 0), (0, 5))) + random.normal(0, noise, (count, 8))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    return Part(texts, {"text": vectors(0.1), "image": vectors(0.6)}, labels, np.arange(count))


TRAIN, TEST = shelf(300, 0), shelf(100, 1)
METHODS = [
    Method("", "kNN by text", ("text",), NearestNeighbours(5, 20.0)),
    Method("", "linear head", ("text",), Network()),
    Method("", "MLP", ("text", "image"), Network(hidden=16)),
    Method("", "TF-IDF kNN", (), NearestNeighbours()),
    Method("", "TF-IDF + linear SVM", (), LinearSvm()),
    Method("", "fastText", (), FastText()),
]
each_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


def fitted(method: Method) -> Baseline:
    assert method.estimator
    return method.estimator.fit(method.inputs(TRAIN), TRAIN.labels)


def f1(votes: Votes, part: Part) -> float:
    return metrics_of(part.labels, votes.winners).weighted_f1


@each_method
def test_a_method_learns_what_is_plain_to_see_and_does_so_twice(method: Method) -> None:
    once, again = (fitted(method).votes(method.inputs(TEST)) for _ in range(2))
    assert f1(once, TEST) > 0.95
    assert np.array_equal(once.categories, again.categories)
    assert np.array_equal(once.shares, again.shares)


@each_method
def test_shares_are_parts_of_one_and_the_best_comes_first(method: Method) -> None:
    votes = fitted(method).votes(method.inputs(TEST))
    assert votes.shares.sum(axis=1) == pytest.approx(np.ones(100), abs=1e-3)
    assert (np.diff(votes.shares, axis=1) <= 0).all()


@each_method
def test_a_method_is_a_classifier_of_scikit_learn(method: Method) -> None:
    estimator, inputs = fitted(method), method.inputs(TEST)
    assert estimator.classes_.tolist() == sorted(WORDS)
    assert estimator.score(inputs, TEST.labels) > 0.95
    assert type(clone(estimator)) is type(estimator)


@each_method
def test_the_answers_are_not_among_the_inputs(method: Method) -> None:
    estimator, blind = fitted(method), replace(TEST, labels=np.zeros(100, np.int64))
    assert np.array_equal(estimator.predict(method.inputs(TEST)), estimator.predict(method.inputs(blind)))


def test_two_categories_are_enough_for_an_svm() -> None:
    two = TRAIN.rows(np.flatnonzero(TRAIN.labels != PUZZLES))
    assert f1(LinearSvm().fit(two.texts, two.labels).votes(two.texts), two) > 0.95


def test_one_category_is_not() -> None:
    one = TRAIN.rows(np.flatnonzero(TRAIN.labels == CASES))
    with pytest.raises(RubrikaError, match="there is only one"):
        LinearSvm().fit(one.texts, one.labels)


@pytest.mark.parametrize("baseline", [NearestNeighbours(), LinearSvm()], ids=lambda baseline: type(baseline).__name__)
def test_texts_without_words_are_explained(baseline: Baseline) -> None:
    with pytest.raises(RubrikaError, match="too few words"):
        baseline.fit([""] * 300, TRAIN.labels)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fasttext", None)
    with pytest.raises(RubrikaError, match="fastText is not installed; install"):
        FastText().fit(TRAIN.texts, TRAIN.labels)


def test_a_product_without_the_vector_finds_nothing_and_is_nobodys_neighbour() -> None:
    train = {"image": np.where(np.arange(300)[:, None] < 150, TRAIN.vectors["image"], 0)}
    test = {"image": np.where(np.arange(100)[:, None] < 50, TEST.vectors["image"], 0)}
    nearest = NearestNeighbours(5, 20.0).fit(train, TRAIN.labels)
    votes = nearest.votes(test)
    assert (votes.shares[:50].sum(axis=1) > 0).all()
    assert not votes.shares[50:].any()


def test_nearest_products_come_best_first_and_ties_by_their_place() -> None:
    scores = np.array([[0.5, 0.9, 0.9, 0.1]], np.float32)
    hits = best_hits(scores, np.array([1, 2, 3, 4]), 3)
    assert hits.categories.tolist() == [[2, 3, 1]]
    assert best_hits(scores, np.array([1, 2, 3, 4]), 6).scores[0, 4:].tolist() == [-np.inf] * 2


def test_of_more_ties_than_are_kept_the_first_come() -> None:
    scores = np.zeros((2, 3_000), np.float32)
    equal = np.sort(np.random.default_rng(0).choice(3_000, 300, replace=False))
    scores[:, equal] = 1
    assert best_hits(scores, np.arange(3_000), 5).ids.tolist() == [equal[:5].tolist()] * 2
    scores = np.zeros((1, 30))
    scores[0, [3, 20]] = -1, 1
    assert best_of(np.arange(30), scores).categories.tolist() == [[20, 0, 1, 2, 4, 5, 6, 7, 8, 9]]


def test_the_fewer_products_the_more_often_fasttext_sees_them() -> None:
    assert [fasttext_epochs(count) for count in (0, 300, 10_000, 20_000, 73_061)] == [100, 100, 30, 15, 15]


def test_of_many_categories_the_best_ten_are_kept() -> None:
    votes = best_of(np.arange(100, 130), np.arange(30.0)[None] / 10)
    assert votes.categories.tolist() == [list(range(129, 119, -1))]
    assert votes.shares[0, 0] / votes.shares[0, 1] == pytest.approx(np.exp(0.1))


def sides(*names: str) -> list[tuple[dict[str, np.ndarray], np.ndarray]]:
    return [({name: part.vectors[name] for name in names}, part.labels) for part in (TRAIN, TEST)]


def test_early_stopping_ends_when_more_epochs_do_not_help() -> None:
    network, (train, test) = Network(hidden=16, epochs=200), sides("image")
    epochs, votes = network.choose_epochs(train, test)
    curve = [epoch.weighted_f1 for epoch in epochs]
    assert len(curve) < 200
    assert network.epochs == int(np.argmax(curve)) + 1
    assert f1(votes, TEST) == max(curve)
    # What was chosen so is then learned just so.
    assert np.array_equal(network.fit(*train).predict(test[0]), votes.winners)


def test_loss_falls_from_epoch_to_epoch() -> None:
    curve, _ = Network().choose_epochs(*sides("text"))
    assert curve[-1].loss < curve[0].loss / 2


def votes_of(*said: tuple[int, float]) -> Votes:
    """The category that each product is said to be of and how surely; the rest is for a category that none is of."""
    return Votes(np.array([[one, 9] for one, _ in said]), np.array([[sure, 1 - sure] for _, sure in said], np.float32))


def test_an_ensemble_is_better_than_members_that_are_unsure_where_they_err() -> None:
    truth = np.array([SNEAKERS, CASES, PUZZLES])
    said = {
        "text": votes_of((SNEAKERS, 0.9), (CASES, 0.9), (CASES, 0.6)),
        "image": votes_of((CASES, 0.6), (CASES, 0.9), (PUZZLES, 0.9)),
    }
    assert ensemble_weights(said, truth) == {"text": 0.5, "image": 0.5}
    ensemble = ensemble_of([Method("", name, votes=votes, validation=votes) for name, votes in said.items()], truth)
    assert ensemble.votes
    assert ensemble.votes.winners.tolist() == truth.tolist()
    assert ensemble.name == "ensemble: 0.50 × image + 0.50 × text"


def test_an_ensemble_leaves_out_what_does_not_help() -> None:
    truth = np.array([SNEAKERS, CASES])
    bad, good = votes_of((CASES, 0.9), (SNEAKERS, 0.9)), votes_of((SNEAKERS, 0.9), (CASES, 0.9))
    assert ensemble_weights({"bad": bad, "good": good}, truth) == {"good": 1.0}
