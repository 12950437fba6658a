"""The tree: a vote is surer the higher one looks, and an answer that is nearly right counts for a part."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Run
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import row

from rubrika.eval.metrics import Hierarchy, hierarchy_of, metrics_of
from rubrika.index.folder import Index
from rubrika.index.location import Location
from rubrika.index.manifest import BUILT_IN, Calibration
from rubrika.products.product import Category
from rubrika.retrieve.guarantee import Policy
from rubrika.retrieve.search import Query
from rubrika.retrieve.tree import NO_NODE, Tree, path_confidence
from rubrika.store.base import Hits
from rubrika.vote import NO_CATEGORY, Votes, weighted_vote

BOOTS, SHOES, TRAINERS, CASES, WATER = 1, 2, 3, 4, 2**63 - 1
CATEGORIES = [
    Category(BOOTS, "Все категории->Обувь->Женская обувь->Сапоги"),
    Category(SHOES, "Все категории->Обувь->Женская обувь->Туфли"),
    Category(TRAINERS, "Все категории->Обувь->Мужская обувь->Кроссовки"),
    Category(CASES, "Все категории->Электроника->Чехлы"),
    Category(WATER, "Все категории->Вода"),
]


@pytest.fixture
def tree() -> Tree:
    return Tree(CATEGORIES)


def votes(*rows: dict[int, float]) -> Votes:
    width = max(map(len, rows))
    categories, shares = np.full((len(rows), width), NO_CATEGORY), np.zeros((len(rows), width), np.float32)
    for place, one in enumerate(rows):
        categories[place, : len(one)], shares[place, : len(one)] = list(one), list(one.values())
    return Votes(categories, shares)


def shares(tree: Tree, asked: Votes) -> np.ndarray:
    """What part of each vote is under the winner's node at every level, 0 below its last."""
    nothing = {"text": Hits.none(len(asked.winners), 1)}
    return path_confidence(tree, nothing, asked, {"text": 1.0}, Calibration(), Policy()).shares


def ids(*categories: int) -> np.ndarray:
    return np.array(categories, np.int64)


def test_a_parent_is_sure_when_the_leaf_is_not(tree: Tree) -> None:
    asked = votes({BOOTS: 0.5, SHOES: 0.47, TRAINERS: 0.03})
    path = tree.names(tree.paths(asked.winners))
    assert path.tolist() == [["Обувь", "Обувь->Женская обувь", "Обувь->Женская обувь->Сапоги"]]
    assert shares(tree, asked)[0].tolist() == pytest.approx([1.0, 0.97, 0.5])


def test_confidence_falls_from_the_top_to_the_leaf(tree: Tree) -> None:
    found: list[list[tuple[int, float, int]]] = [
        [(1, 0.95, BOOTS), (2, 0.95, SHOES), (3, 0.94, BOOTS), (4, 0.94, SHOES)],
        [(1, 0.95, CASES)],
    ]
    hits = {"text": Hits.of(found, 4)}
    curve = ((0.9, 10_000, 0), (0.1, 20_000, 9_000))
    calibration = Calibration(replace(BUILT_IN, curve=curve), levels=(replace(BUILT_IN, curve=curve),) * 3)
    levels = path_confidence(tree, hits, weighted_vote(hits["text"], 20), {"text": 1.0}, calibration, Policy())
    boots, cases = levels.confidences.tolist()
    assert boots[0] == boots[1] > 0.9 > boots[2]
    assert (cases[0], cases[2]) == (cases[1], 0)
    assert levels.sure.tolist() == [2, 2]
    promise = path_confidence(tree, hits, weighted_vote(hits["text"], 20), {"text": 1.0}, Calibration(), Policy())
    assert promise.sure.tolist() == [0, 0]  # without a measurement nothing is promised


def test_short_paths_end_where_they_end(tree: Tree) -> None:
    asked = votes({CASES: 0.6, WATER: 0.4}, {WATER: 1.0}, {})
    paths = tree.names(tree.paths(asked.winners)).tolist()
    assert paths == [["Электроника", "Электроника->Чехлы", None], ["Вода", None, None], [None, None, None]]
    assert shares(tree, asked).tolist() == pytest.approx(np.array([[0.6, 0.6, 0], [1, 0, 0], [0, 0, 0]]))


def test_a_branch_can_win_against_the_first_leaf(tree: Tree) -> None:
    asked = votes({TRAINERS: 0.4, BOOTS: 0.35, SHOES: 0.25})
    at = tree.at(asked, 2)
    assert (at.categories[0, :2].tolist(), at.shares[0, :2].tolist()) == ([BOOTS, TRAINERS], pytest.approx([0.6, 0.4]))
    assert tree.names(tree.nodes(at.winners, 2)).tolist() == ["Обувь->Женская обувь"]
    assert tree.at(asked, 1).winners.tolist() == [TRAINERS]
    assert tree.at(asked, 3).winners.tolist() == tree.at(asked, 9).winners.tolist() == [TRAINERS]


def test_a_category_above_the_level_is_there_by_itself(tree: Tree) -> None:
    at = tree.at(votes({WATER: 0.6, BOOTS: 0.4}, {}), 3)
    assert at.categories.tolist() == [[WATER, BOOTS], [NO_CATEGORY, NO_CATEGORY]]
    assert tree.names(tree.nodes(at.winners, 3)).tolist() == ["Вода", None]


def test_what_is_not_known_has_no_node(tree: Tree) -> None:
    assert tree.nodes(ids(BOOTS, 77, NO_CATEGORY), 1).tolist() == [0, NO_NODE, NO_NODE]
    assert tree.depths(ids(BOOTS, 77, WATER)).tolist() == [3, 0, 1]
    assert (tree.path(WATER), tree.path(77)) == ("Все категории->Вода", None)
    assert shares(Tree(), votes({BOOTS: 1.0})).tolist() == [[0]]


@given(
    st.lists(st.dictionaries(st.sampled_from([c.id for c in CATEGORIES]), st.floats(0.01, 1), min_size=1), min_size=1)
)
def test_arrays_agree_with_the_definition(drawn: list[dict[int, float]]) -> None:
    rows = [dict(sorted(one.items(), key=lambda pair: -pair[1])) for one in drawn]
    parts = [{category: share / sum(one.values()) for category, share in one.items()} for one in rows]
    tree, paths = Tree(CATEGORIES), {category.id: category.levels for category in CATEGORIES}
    for found, one in zip(shares(tree, votes(*parts)), parts, strict=True):
        own = paths[next(iter(one))]
        under = [
            sum(s for c, s in one.items() if paths[c][: level + 1] == own[: level + 1]) for level in range(len(own))
        ]
        assert found.tolist() == pytest.approx(under + [0] * (tree.depth - len(own)), abs=1e-5)


def test_an_index_tells_the_paths_of_what_was_found(
    rubrika: Callable[..., Run], write: Callable[..., Path], tmp_path: Path
) -> None:
    rows = [row(1, "сапоги", (BOOTS, CATEGORIES[0].path)), row(2, "туфли", (SHOES, CATEGORIES[1].path))]
    assert rubrika("ingest", write(rows), "--index", tmp_path / "index").code == 0
    tree = Tree()
    with Index.open(Location(tmp_path / "index", cache=tmp_path)) as index:
        query = Query.of_content(index, "сапоги женские").vectors["text"]
        for _ in range(2):
            tree.learn(index.store, {"text": index.store.search("text", query, 5)})
    assert (tree.path(BOOTS), tree.path(SHOES)) == (CATEGORIES[0].path, CATEGORIES[1].path)


def test_a_near_miss_counts_for_its_part(tree: Tree) -> None:
    found = hierarchy_of(ids(BOOTS, CASES), ids(SHOES, CASES), tree)
    assert found == Hierarchy(4 / 5, (1.0, 1.0, 0.5))
    assert hierarchy_of(ids(BOOTS), ids(WATER), tree).f1 == 0
    assert hierarchy_of(ids(BOOTS), ids(NO_CATEGORY), tree).levels == (0, 0, 0)
    assert hierarchy_of(ids(), ids(), tree).f1 == 0


pairs = st.lists(st.tuples(*[st.sampled_from([c.id for c in CATEGORIES])] * 2), min_size=1, max_size=30)


@given(pairs)
def test_hierarchical_f1_is_the_same_both_ways_and_perfect_only_when_all_is_right(drawn: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(drawn, np.int64).T
    tree = Tree(CATEGORIES)
    one, other = hierarchy_of(truth, predicted, tree), hierarchy_of(predicted, truth, tree)
    assert 0 <= one.f1 <= 1
    assert one.f1 == other.f1
    assert (one.f1 == 1) == (one.levels[-1] == 1) == bool((truth == predicted).all())
    assert hierarchy_of(truth, truth, tree).f1 == 1
    assert list(one.levels) == sorted(one.levels, reverse=True)


# The first measurement loads scikit-learn.
@settings(deadline=None)
@given(pairs)
def test_where_all_paths_are_equally_long_it_is_never_below_accuracy(drawn: list[tuple[int, int]]) -> None:
    truth, predicted = np.minimum(np.array(drawn, np.int64).T, TRAINERS)
    found = hierarchy_of(truth, predicted, Tree(CATEGORIES))
    assert found.levels[-1] == metrics_of(truth, predicted).accuracy <= found.f1 + 1e-9
