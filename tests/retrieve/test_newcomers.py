"""Categories known by name alone: every named vector that reads a name has a say in which is the nearest."""

import numpy as np
import pytest

from rubrika.index.manifest import VoteSettings
from rubrika.retrieve.newcomers import Newcomers, Prototypes
from rubrika.store.base import Hits

SKATES, TENTS, LAMPS = 1, 2, 3
NAMES = {SKATES: "Спорт->Скейтборд", TENTS: "Туризм->Палатка", LAMPS: "Дом->Лампа"}
IDS = np.array([SKATES, TENTS, LAMPS])
# By the learned vector skates and tents look the same: it has seen neither word. The pretrained one tells them apart,
# by little, as its similarities lie close together.
LEARNED = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 1]], np.float32)
PRETRAINED = np.array([[0.9, 0.4, 0.17], [0.9, 0.3, 0.31], [0.9, 0.2, 0.39]], np.float32)


@pytest.fixture
def newcomers() -> Newcomers:
    named = {"text": Prototypes(IDS, PRETRAINED), "joint": Prototypes(IDS, LEARNED)}
    return Newcomers({"joint": np.zeros(0, np.int64)}, {}, named, NAMES)


def test_a_pretrained_vector_decides_between_names_that_the_learned_one_cannot_tell_apart(newcomers: Newcomers) -> None:
    like_tents = {"text": PRETRAINED[[1]], "joint": np.array([[0.8, 0.6, 0]], np.float32)}
    assert newcomers.suggestions(like_tents) == ["Туризм->Палатка"]


def test_a_name_votes_as_near_as_the_voting_vector_finds_it(newcomers: Newcomers) -> None:
    query = {"text": PRETRAINED[[1]], "joint": np.array([[0.8, 0.6, 0]], np.float32)}
    stored = Hits(np.array([[7]], np.uint64), np.array([[0.5]], np.float32), np.array([[30]]))
    vote = VoteSettings({"joint": 1.0}, unseen_reach=0.0, name_reach=0.0)
    voting = newcomers.voting({"joint": stored}, query, vote)["joint"]
    assert voting.categories.tolist() == [[30, TENTS, SKATES, LAMPS]]
    assert voting.scores[0].tolist() == pytest.approx([0.5, 0.8, 0.8, 0.0])


def test_a_product_without_a_vector_gets_no_name(newcomers: Newcomers) -> None:
    nothing = {"text": np.zeros((1, 3), np.float32), "joint": np.zeros((1, 3), np.float32)}
    assert newcomers.suggestions(nothing) == [None]
