"""The vote: nearer hits count for more, ties fall the same way always, and arrays agree with the plain definition."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubrika.index.manifest import VoteSettings
from rubrika.store.base import Hits
from rubrika.vote import NO_CATEGORY, Votes, mode_vote, vote_over, weighted_vote, with_unseen_reach

SHOES, BOOTS, CATS = 1, 2, 3

SearchResult = list[tuple[int, float, int]]


def hits(*queries: SearchResult) -> Hits:
    return Hits.of(queries, max((len(query) for query in queries), default=1))


def ranking(votes: Votes, row: int = 0) -> dict[int, float]:
    pairs = zip(votes.categories[row].tolist(), votes.shares[row].tolist(), strict=True)
    return {category: share for category, share in pairs if category != NO_CATEGORY}


def test_near_hits_outweigh_many_far_ones() -> None:
    found: SearchResult = [(1, 0.9, SHOES), (2, 0.5, BOOTS), (3, 0.5, BOOTS)]
    assert weighted_vote(hits(found), temperature=20).winners.tolist() == [SHOES]
    assert mode_vote(hits(found)).winners.tolist() == [BOOTS]


def test_shares_sum_to_one_best_first() -> None:
    found: SearchResult = [(1, 0.8, SHOES), (2, 0.8, BOOTS), (3, 0.8, BOOTS), (4, 0.8, CATS)]
    assert ranking(mode_vote(hits(found))) == pytest.approx({BOOTS: 0.5, SHOES: 0.25, CATS: 0.25})


def test_equal_totals_go_to_the_nearer_hit_then_the_smaller_id() -> None:
    assert mode_vote(hits([(1, 0.9, BOOTS), (2, 0.8, SHOES)])).winners.tolist() == [BOOTS]
    assert mode_vote(hits([(7, 0.9, CATS), (3, 0.9, SHOES)])).winners.tolist() == [SHOES]


def test_a_product_with_no_hits_has_no_category() -> None:
    votes = weighted_vote(hits([(1, 0.9, SHOES)], []), temperature=20)
    assert votes.winners.tolist() == [SHOES, NO_CATEGORY]
    assert votes.shares[1].sum() == 0


found_hits = st.lists(
    st.tuples(st.integers(0, 50), st.floats(-1, 1, width=32), st.integers(0, 4)),
    max_size=8,
    unique_by=lambda hit: hit[0],
)


@given(st.lists(found_hits, min_size=1, max_size=5), st.floats(0, 40))
def test_arrays_agree_with_the_definition(queries: list[SearchResult], temperature: float) -> None:
    votes = weighted_vote(hits(*queries), temperature)
    for row, query in enumerate(queries):
        totals: dict[int, float] = defaultdict(float)
        best = max((score for _, score, _ in query), default=0.0)
        for _, score, category in query:
            totals[category] += math.exp(temperature * (score - best))
        expected = {category: total / sum(totals.values()) for category, total in totals.items()}
        assert ranking(votes, row) == pytest.approx(expected, abs=1e-4)


@given(found_hits.filter(bool))
def test_the_mode_is_the_most_frequent_category(query: SearchResult) -> None:
    counts = Counter(category for _, _, category in query)
    assert counts[int(mode_vote(hits(query)).winners[0])] == max(counts.values())


@given(st.lists(found_hits, min_size=1, max_size=4), st.randoms())
def test_the_order_in_which_hits_arrive_does_not_matter(queries: list[SearchResult], random: object) -> None:
    shuffled = [random.sample(query, len(query)) for query in queries]  # type: ignore[attr-defined]
    one, other = hits(*queries), hits(*shuffled)
    assert np.array_equal(one.ids, other.ids)
    assert np.array_equal(weighted_vote(one, 9).categories, weighted_vote(other, 9).categories)


def test_a_category_that_the_encoder_has_never_seen_counts_as_nearer() -> None:
    found = {"text": Hits.of([[(1, 0.90, 11), (2, 0.88, 99)]], 2)}
    seen = {"text": np.array([11, 22])}
    assert vote_over(with_unseen_reach(found, VoteSettings(), seen), VoteSettings()).winners.tolist() == [99]
    assert vote_over(with_unseen_reach(found, VoteSettings(), {}), VoteSettings()).winners.tolist() == [11]
    plain = VoteSettings(unseen_reach=0.0)
    assert vote_over(with_unseen_reach(found, plain, seen), plain).winners.tolist() == [11]
    assert np.array_equal(
        with_unseen_reach(found, VoteSettings(), {"text": np.array([11, 99])})["text"].scores, found["text"].scores
    )
