"""Metrics: scikit-learn's numbers, and a notice when truth and prediction are swapped."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from rubrika.eval.metrics import (
    bootstrap_interval,
    macro_f1_interval,
    metrics_of,
    paired_difference,
    weighted_f1_interval,
)
from rubrika.vote import NO_CATEGORY

pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60)


@settings(deadline=None)
@given(pairs)
def test_the_same_as_scikit_learn(drawn: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(drawn).T
    found = metrics_of(truth, predicted)
    assert found.weighted_f1 == pytest.approx(f1_score(truth, predicted, average="weighted", zero_division=0))
    assert found.macro_f1 == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))
    assert found.accuracy == pytest.approx(accuracy_score(truth, predicted))


def test_swapped_truth_and_prediction_would_be_noticed() -> None:
    """Weighted F1 weights categories by how many products truly are of them: 4 of 6, 1 of 6 and 1 of 6 here."""
    truth, predicted = np.array([1, 1, 1, 1, 2, 3]), np.array([1, 1, 2, 2, 2, 3])
    # F1 = 2·right / (true + predicted), the same whichever way round: 4/6, 2/4 and 2/2.
    right_way = (4 * (4 / 6) + 1 * (2 / 4) + 1 * 1) / 6
    swapped = (2 * (4 / 6) + 3 * (2 / 4) + 1 * 1) / 6
    assert metrics_of(truth, predicted).weighted_f1 == pytest.approx(right_way)
    assert f1_score(truth, predicted, average="weighted") == pytest.approx(right_way)
    assert metrics_of(predicted, truth).weighted_f1 == pytest.approx(swapped)
    assert right_way - swapped > 0.05


def test_a_product_without_an_answer_is_a_mistake_but_no_category_of_its_own() -> None:
    truth, predicted = np.array([1, 1, 1, 2]), np.array([1, 1, NO_CATEGORY, 2])
    # Category 1: 2·2 / (3 + 2); category 2: 2·1 / (1 + 1).
    found = metrics_of(truth, predicted)
    assert (found.weighted_f1, found.macro_f1, found.accuracy) == pytest.approx((3 / 4 * 0.8 + 1 / 4, 0.9, 0.75))
    # One group is drawn whole, so that every resample is all rows.
    together = np.zeros(4, np.int64)
    assert macro_f1_interval(truth, predicted, together, 0) == pytest.approx((0.9, 0.9))
    assert weighted_f1_interval(truth, predicted, together) == pytest.approx((0.85, 0.85))


def test_the_interval_holds_the_value_and_narrows_with_more_rows() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(5, size=4_000)
    predicted = np.where(random.random(4_000) < 0.9, truth, 0)
    low, high = weighted_f1_interval(truth, predicted, np.arange(4_000))
    few_low, few_high = weighted_f1_interval(truth[:100], predicted[:100], np.arange(100))
    assert low < metrics_of(truth, predicted).weighted_f1 < high
    assert few_high - few_low > 2 * (high - low)
    assert weighted_f1_interval(truth, predicted, np.arange(4_000)) == (low, high)


def test_rows_that_belong_together_widen_the_interval() -> None:
    random = np.random.default_rng(1)
    truth = np.repeat(random.integers(5, size=200), 10)
    predicted = np.where(np.repeat(random.random(200), 10) < 0.8, truth, 0)
    alone, together = (
        weighted_f1_interval(truth, predicted, groups) for groups in (np.arange(2_000), np.repeat(np.arange(200), 10))
    )
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])


def test_a_resample_has_the_weighted_f1_that_scikit_learn_finds_for_it() -> None:
    random = np.random.default_rng(2)
    truth = random.integers(5, size=200)
    predicted = np.where(random.random(200) < 0.8, truth, 0)
    drawn = [np.random.default_rng(7).integers(200, size=200)]

    def f1(counts: np.ndarray) -> float:
        rows = np.repeat(np.arange(200), counts.astype(int))
        drawn.append(rows)
        return float(f1_score(truth[rows], predicted[rows], average="weighted", zero_division=0))

    expected = bootstrap_interval(f1, np.arange(200), 7)
    assert np.array_equal(drawn[1], np.sort(drawn[0]))
    assert weighted_f1_interval(truth, predicted, np.arange(200), 7) == pytest.approx(expected)


def test_a_paired_difference_is_of_the_same_rows() -> None:
    random = np.random.default_rng(3)
    truth, groups = random.integers(5, size=300), np.arange(300)
    one, other = (np.where(random.random(300) < part, truth, 0) for part in (0.9, 0.6))
    assert paired_difference(truth, one, one, groups) == (0, 0)
    low, high = paired_difference(truth, one, other, groups)
    assert 0 < low < metrics_of(truth, one).weighted_f1 - metrics_of(truth, other).weighted_f1 < high
    assert paired_difference(truth, other, one, groups) == pytest.approx((-high, -low))


def test_no_rows_are_no_score() -> None:
    nothing = np.array([], np.int64)
    assert metrics_of(nothing, nothing).weighted_f1 == 0
    assert weighted_f1_interval(nothing, nothing, nothing) == (0, 0)
