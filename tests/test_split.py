"""Held-out rows: chosen by seed alone, and no group on both sides."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubrika.errors import RubrikaError
from rubrika.eval.split import group_split, plain_split, stratified_split

IDS = np.arange(1_000, dtype=np.uint64)


def test_the_same_seed_holds_out_the_same_rows() -> None:
    one, again, other = (plain_split(IDS, 0.1, seed) for seed in (4, 4, 5))
    assert np.array_equal(one.held_out, again.held_out)
    assert one.hash == again.hash != other.hash
    assert one.held_out.sum() == 100


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


def test_stratified_rows_keep_every_category_on_the_side_to_learn_from() -> None:
    categories = np.repeat([1, 2, 3], [900, 99, 1])
    split = stratified_split(IDS, categories, 0.1, 0)
    assert [int(split.held_out[categories == category].sum()) for category in (1, 2, 3)] == [90, 10, 0]


@pytest.mark.parametrize("holdout", [0.0, 1.0, 1.5, 0.0001])
def test_a_part_that_leaves_nothing_is_refused(holdout: float) -> None:
    with pytest.raises(RubrikaError, match="--holdout"):
        plain_split(IDS, holdout, 0)


def test_a_single_group_cannot_be_split() -> None:
    with pytest.raises(RubrikaError, match="both sides"):
        group_split(IDS, ["одна"] * 1_000, 0.1, 0, "family")
