"""Decisions of several people on one product, and what waits: nobody's decision is lost by what another one does."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rubrika.api import Index
from rubrika.errors import RubrikaError
from rubrika.products.product import Product
from rubrika.serve import reviews as reviews_module
from rubrika.serve import views
from rubrika.serve.reviews import APPLYING, DONE, SAVED, SUSPECTS, UNCERTAIN, UNDOING, Action, Filters, Item, Reviews
from rubrika.serve.settle import content_of, settle

KETTLE = Item(UNCERTAIN, "900001", 900_001, "Чайник", content=content_of(Product(900_001, "Чайник", "Чайник", 1)))


@pytest.fixture
def shop(copy: Path) -> Iterator[Index]:
    with Index.open(copy) as index:
        yield index


@pytest.fixture
def reviews(tmp_path: Path) -> Reviews:
    return Reviews(tmp_path / "index")


@pytest.fixture
def shelves(shop: Index) -> list[int]:
    """Some categories."""
    return sorted(int(each.category_id) for each in shop.categories().categories)[:4]


@pytest.fixture
def item(shop: Index) -> Item:
    """A stored product that may have a wrong label."""
    point = next(point for points in shop.opened().store.scroll() for point in points)
    return replace(views.stored(shop.opened(), point.id), queue=SUSPECTS)


def decided(reviews: Reviews, item: Item, by: str, category: object = None, action: Action = "label") -> int:
    return reviews.decide([(item, action, category, "")], by)


def label(shop: Index, reviews: Reviews, item: Item) -> object:
    """Its category in the index, once all that was decided counts there; None where it is not stored."""
    settle(shop, reviews, lambda _: None)
    point = shop.opened().store.fetch([int(item.number)]).get(int(item.number))
    return point and point.category_id


def test_to_skip_leaves_what_another_person_decided(reviews: Reviews) -> None:
    reviews.fill(SUSPECTS, [replace(KETTLE, queue=SUSPECTS)])
    reviews.fill(UNCERTAIN, [KETTLE])
    decided(reviews, KETTLE, "anna", 1)
    decided(reviews, replace(KETTLE, queue=SUSPECTS), "boris", action="skip")
    assert [(each.by, each.action) for each in reviews.decisions()] == [("boris", "skip"), ("anna", "label")]
    decided(reviews, KETTLE, "boris", 2)
    assert [(each.by, each.action) for each in reviews.decisions()] == [("boris", "label"), ("boris", "skip")]


def test_a_decision_that_is_taken_back_leaves_a_later_one(
    shop: Index, reviews: Reviews, item: Item, shelves: list[int]
) -> None:
    before = item.category_id
    first, second, third = [shelf for shelf in shelves if shelf != before][:3]
    anna = decided(reviews, item, "anna", first)
    assert label(shop, reviews, item) == first
    boris = decided(reviews, item, "boris", second)
    assert label(shop, reviews, item) == second
    reviews.undo("anna", anna)
    assert label(shop, reviews, item) == second
    # Not yet in the index, a decision is replaced by Eva's, and with hers all are taken back.
    decided(reviews, item, "boris", first)
    eva = decided(reviews, item, "eva", third)
    reviews.undo("boris", boris)
    assert label(shop, reviews, item) == third
    reviews.undo("eva", eva)
    assert label(shop, reviews, item) == before


def test_a_product_that_came_by_a_decision_stays_while_a_later_one_stands(
    shop: Index, reviews: Reviews, shelves: list[int]
) -> None:
    reviews.fill(UNCERTAIN, [KETTLE])
    anna = decided(reviews, KETTLE, "anna", shelves[0])
    assert label(shop, reviews, KETTLE) == shelves[0]
    boris = decided(reviews, KETTLE, "boris", action="right")
    reviews.undo("anna", anna)
    assert label(shop, reviews, KETTLE) == shelves[0]
    assert [(each.by, each.state) for each in reviews.decisions()] == [("boris", DONE)]
    reviews.undo("boris", boris)
    assert label(shop, reviews, KETTLE) is None


def test_what_was_taken_back_is_not_told_as_failed(reviews: Reviews) -> None:
    reviews.fill(UNCERTAIN, [KETTLE])
    act = decided(reviews, KETTLE, "anna", 1)
    [saved] = reviews.decisions()
    reviews.mark(SAVED, {saved.id: APPLYING}, {saved.id: {}})
    [applied] = reviews.decisions()
    reviews.undo("anna", act)
    reviews.fail(applied, "the disk is full")
    assert reviews.decisions() == []
    assert [each.id for each in reviews.pending(UNDOING, 10)] == [applied.id]


def test_near_duplicates_are_those_of_the_last_filling(reviews: Reviews) -> None:
    kettles = [replace(KETTLE, number=str(number), alike=1) for number in (1, 2)]
    cups = [replace(KETTLE, number=str(number), title="Чашка", alike=1) for number in (3, 4)]
    reviews.fill(UNCERTAIN, kettles)
    act = decided(reviews, kettles[0], "anna", 1)
    reviews.fill(UNCERTAIN, cups)
    reviews.undo("anna", act)
    waiting = {item.number: item for item in reviews.waiting(UNCERTAIN, Filters(), 10)[1]}
    assert sorted(waiting) == ["1", "3", "4"]
    assert reviews.alike(waiting["1"], 10) == []
    assert [item.number for item in reviews.alike(waiting["3"], 10)] == ["4"]


def test_no_more_near_duplicates_are_offered_than_are_decided_together(reviews: Reviews) -> None:
    kettles = [replace(KETTLE, number=str(number), alike=1) for number in range(1, 6)]
    reviews.fill(UNCERTAIN, kettles)
    assert len(reviews.alike(kettles[0], 10)) == 4
    assert [item.number for item in reviews.alike(kettles[0], 2)] == ["2", "3"]


def test_products_that_are_sent_in_wait_beside_others_as_long_as_there_is_room(
    reviews: Reviews, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviews_module, "MAX_WAITING", 2)
    first, second, third = (replace(KETTLE, number=str(number)) for number in range(1, 4))
    reviews.add([first, second])
    with pytest.raises(RubrikaError, match="more than 2 products would wait"):
        reviews.add([third])
    decided(reviews, first, "anna", 1)
    reviews.add([third])
    assert [item.number for item in reviews.waiting(UNCERTAIN, Filters(), 10)[1]] == ["2", "3"]
