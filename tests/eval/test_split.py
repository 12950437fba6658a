"""Held-out rows: chosen by seed alone, and no group on both sides."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows import product_in

from rubrika.errors import RubrikaError
from rubrika.products.split import families, group_split, plain_split, stratified_split

IDS = np.arange(1_000, dtype=np.uint64)


def test_the_same_seed_holds_out_the_same_rows() -> None:
    one, again, other = (plain_split(IDS, 0.1, seed) for seed in (4, 4, 5))
    assert np.array_equal(one.held_out, again.held_out)
    assert one.hash == again.hash != other.hash
    assert one.held_out.sum() == 100


def test_of_rows_that_are_all_products_of_their_own_the_choice_has_stayed() -> None:
    categories, groups = np.arange(1_000) % 7, [str(number // 3) for number in range(1_000)]
    assert plain_split(IDS, 0.1, 4).hash == "dfbaae41a20af075"
    assert stratified_split(IDS, categories, 0.1, 4).hash == "c81561b3e3b16654"
    assert group_split(IDS, groups, 0.1, 4, "family").hash == "a8e5637fe1603f02"


def test_rows_of_one_product_are_on_one_side() -> None:
    ids, categories = np.tile(IDS[:500], 2), np.tile(np.arange(500) % 7, 2)
    groups = [str(number) for number in range(1_000)]
    for split in (
        plain_split(ids, 0.1, 0),
        stratified_split(ids, categories, 0.1, 0),
        group_split(ids, groups, 0.1, 0, "family"),
    ):
        assert not set(ids[split.held_out]) & set(ids[~split.held_out])
        assert split.held_out.sum() == pytest.approx(100, abs=5)


def test_groups_that_share_a_product_are_one_group() -> None:
    ids = np.array([1, 2, 2, 3, 4], np.uint64)
    one, two, again, three, other = families(ids, ["а", "а", "б", "б", "в"]).tolist()
    assert one == two == again == three != other


def test_rows_without_a_group_belong_to_nothing() -> None:
    cells = {"product_id": 1, "text_fields": '{"title": "кеды"}'}
    empty = [product_in(cells | {"family": cell}, False, "family").group for cell in (None, float("nan"), "")]
    assert empty == ["", "", ""]
    assert len(set(families(IDS[:5], [*empty, "а", "а"]).tolist())) == 4


@given(st.lists(st.sampled_from("абвгдежз"), min_size=2, max_size=80).filter(lambda groups: len(set(groups)) > 1))
def test_no_group_is_on_both_sides(groups: list[str]) -> None:
    split = group_split(IDS[: len(groups)], groups, 0.5, 0, "family")
    held, kept = (
        {g for g, out in zip(groups, split.held_out, strict=True) if out is side} for side in (np.True_, np.False_)
    )
    assert held
    assert kept
    assert not held & kept


def test_groups_held_out_are_about_the_part_asked_for() -> None:
    groups = [str(number // 3) for number in range(1_000)]
    assert group_split(IDS, groups, 0.2, 1, "family").held_out.mean() == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_a_group_that_is_too_large_is_passed_over(seed: int) -> None:
    for large in (150, 500, 900):
        groups = ["большая"] * large + [str(number) for number in range(1_000 - large)]
        assert group_split(IDS, groups, 0.1, seed, "family").held_out[large:].sum() == 100
    # Of two halves, of which neither is a tenth, the smaller one.
    assert group_split(IDS, ["а"] * 700 + ["б"] * 300, 0.1, seed, "family").held_out.sum() == 300


def test_one_large_group_that_fits_does_not_end_the_search() -> None:
    groups = ["большая"] * 95 + [str(number // 5) for number in range(905)]
    assert all(group_split(IDS, groups, 0.1, seed, "family").held_out.sum() >= 99 for seed in range(20))


def test_stratified_rows_keep_every_category_on_the_side_to_learn_from() -> None:
    categories = np.repeat([1, 2, 3], [900, 99, 1])
    split = stratified_split(IDS, categories, 0.1, 0)
    assert [int(split.held_out[categories == category].sum()) for category in (1, 2, 3)] == [90, 10, 0]


@pytest.mark.parametrize("holdout", [0.0, 1.0, 1.5, 0.0001])
def test_a_part_that_leaves_nothing_is_refused(holdout: float) -> None:
    with pytest.raises(RubrikaError, match="choose another `holdout`"):
        plain_split(IDS, holdout, 0)


def test_a_single_group_cannot_be_split() -> None:
    with pytest.raises(RubrikaError, match="column family has one value, одна, in all rows"):
        group_split(IDS, ["одна"] * 1_000, 0.1, 0, "family")
    with pytest.raises(RubrikaError, match="both sides"):
        group_split(np.array([1, 1, 2], np.uint64), ["а", "б", "а"], 0.4, 0, "family")
