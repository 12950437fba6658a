"""The guarantee: thresholds keep their word for products they have not seen, and say what they lack."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubrika.index.manifest import BUILT_IN, Calibration, Fit
from rubrika.retrieve.guarantee import (
    NEVER,
    Policy,
    advice,
    coverage,
    curve_of,
    growth_needed,
    lowest_similarity,
    threshold,
)


def known(*curve: tuple[float, int, int], design: float = 1.0) -> Fit:
    return replace(BUILT_IN, curve=curve, design=design)


def test_a_threshold_has_a_margin() -> None:
    # 2 % of 500 are wrong, and by chance it might be fewer than usual.
    assert threshold(known((0.9, 500, 10)), Policy(0.02)) == NEVER
    assert threshold(known((0.9, 500, 3)), Policy(0.02)) == 0.9
    assert threshold(known((0.9, 50_000, 900)), Policy(0.02)) == 0.9


def test_more_certainty_needs_a_wider_margin() -> None:
    found = known((0.9, 500, 4))
    assert threshold(found, Policy(0.02, certainty=0.5)) == 0.9
    assert threshold(found, Policy(0.02, certainty=0.99)) == NEVER


def test_near_duplicates_are_not_counted_twice() -> None:
    assert threshold(known((0.9, 500, 3), design=3.0), Policy(0.02)) == NEVER


def test_a_few_wrong_labels_among_the_surest_do_not_stop_the_search() -> None:
    assert threshold(known((0.99, 100, 5), (0.9, 2_000, 12), (0.8, 2_500, 200)), Policy(0.02)) == 0.9


def test_a_sequence_that_reached_the_start_of_another_has_the_part_of_both() -> None:
    # Five of 500 wrong are too many for a third of what may go wrong, and few enough for all of it.
    end = (0.9, 500, 5), (0.5, 660, 60)
    assert threshold(known((0.99, 200, 0), (0.95, 350, 1), *end), Policy(0.02)) == 0.9
    assert threshold(known((0.99, 200, 3), (0.95, 350, 4), *end), Policy(0.02)) == NEVER


def test_the_promise_holds_for_new_products() -> None:
    """Of 200 calibrations of 2,000 products each, the true error is above the bound in fewer than one in ten."""
    random, broken = np.random.default_rng(0), 0
    for _ in range(200):
        scores = random.random(2_000).astype(np.float32)
        lowest = threshold(known(*curve_of(scores, random.random(2_000) < (1 - scores) / 4)), Policy(0.05))
        # Where (1 - s) / 4 of those at s are wrong, (1 - lowest) / 8 are of all above.
        broken += (1 - lowest) / 8 > 0.05
    assert broken <= 20


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=300), st.floats(0, 1))
def test_what_stands_was_wrong_less_often_than_asked(rows: list[tuple[int, bool]], max_error: float) -> None:
    scores, wrong = np.array([score / 20 for score, _ in rows], np.float32), np.array([it for _, it in rows])
    stands = scores >= threshold(known(*curve_of(scores, wrong)), Policy(max_error))
    assert not stands.any() or wrong[stands].mean() <= max_error


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=300))
def test_a_curve_ends_with_all_predictions(rows: list[tuple[int, bool]]) -> None:
    scores, wrong = np.array([score / 20 for score, _ in rows], np.float32), np.array([it for _, it in rows])
    *_, (lowest, count, mistakes) = curve = curve_of(scores, wrong)
    assert (lowest, count, mistakes) == (scores.min(), len(rows), wrong.sum())
    assert [score for score, *_ in curve] == sorted({score for score, *_ in curve}, reverse=True)


def test_advice_says_how_many_more_products_would_do() -> None:
    small = Calibration(known((0.9, 100, 0), (0.5, 200, 20)), rows=200, products=200)
    said = advice(small, Policy(0.02))
    assert said is not None
    assert "about 69 more labelled products are needed" in said
    assert "`max_error` 0.03 can be promised" in said
    more = known((0.9, 135, 0), (0.5, 270, 27))
    assert (threshold(more, Policy(0.02)), coverage(more, Policy(0.02))) == (0.9, 0.5)
    assert growth_needed(known((0.9, 100, 5)), Policy(0.02)) is None
    assert "not calibrated" in str(advice(Calibration(), Policy()))
    assert advice(Calibration(more, rows=270), Policy(0.02)) is None


def test_few_known_products_are_called_new() -> None:
    similar = np.linspace(0, 1, 1_001)[:1_000]
    known_ones = Calibration(BUILT_IN, similarities=tuple(zip(similar.tolist(), range(1_000), strict=True)), rows=1_000)
    assert lowest_similarity(known_ones, Policy(new_rate=0.02)) == pytest.approx(0.013)
    assert lowest_similarity(known_ones, Policy(new_rate=0.1)) == pytest.approx(0.087)
    assert lowest_similarity(Calibration(), Policy()) == -np.inf
