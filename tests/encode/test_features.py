"""Hashed features: the same text always the same, whatever stands beside it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rubrika.encode.hashing import FIRST_WEIGHT, GRAM_WEIGHT, PAIR_WEIGHT, WORD_WEIGHT, features_of, rich_features_of


def bag(text: str) -> list[tuple[int, float]]:
    features = features_of([text])
    return sorted(zip(features.hashes.tolist(), features.weights.tolist(), strict=True))


def shared(one: str, other: str) -> int:
    return len({h for h, _ in bag(one)} & {h for h, _ in bag(other)})


@given(st.lists(st.text(), max_size=5))
def test_a_text_has_the_same_features_alone_and_in_company(texts: list[str]) -> None:
    together = features_of(texts)
    for number, text in enumerate(texts):
        part = slice(together.offsets[number], together.offsets[number + 1])
        assert sorted(zip(together.hashes[part].tolist(), together.weights[part].tolist(), strict=True)) == bag(text)


def test_case_punctuation_and_yo_do_not_matter() -> None:
    assert bag("Ёлка, зелёная!") == bag("елка зеленая")


def test_letters_and_digits_are_tokens_of_their_own() -> None:
    assert bag("iPhone11 100мл") == bag("iphone 11 100 мл")


def test_a_word_counts_more_than_its_parts() -> None:
    # The word, and five parts: «_ко», «кот», «от_», «_кот», «кот_»; «_кот_» is the word itself.
    assert sorted(features_of(["кот"]).weights.tolist()) == [GRAM_WEIGHT] * 5 + [WORD_WEIGHT]


def test_related_words_share_parts() -> None:
    assert shared("кроссовки", "кроссовок") > 5
    assert shared("кроссовки", "чайник") == 0


def test_word_order_shows_in_pairs_only() -> None:
    one, other = {h for h, _ in bag("чехол для телефона")}, {h for h, _ in bag("телефона для чехол")}
    assert len(one - other) == 2


def rich(text: str, weight: float) -> set[int]:
    features = rich_features_of([text])
    return set(features.hashes[features.weights == weight].tolist())


@given(st.lists(st.text(), max_size=5))
def test_rich_features_are_the_same_alone_and_in_company(texts: list[str]) -> None:
    together = rich_features_of(texts)
    for number, text in enumerate(texts):
        part = slice(together.offsets[number], together.offsets[number + 1])
        assert sorted(together.hashes[part].tolist()) == sorted(rich_features_of([text]).hashes.tolist())


@given(st.text(alphabet="аб 1x-.ё\n", max_size=20))
def test_the_words_of_a_text_are_the_same_in_both_ways(text: str) -> None:
    plain = features_of([text])
    assert rich(text, WORD_WEIGHT) == set(plain.hashes[plain.weights == WORD_WEIGHT].tolist())


def test_the_first_word_and_pair_count_beside_the_same_ones_elsewhere() -> None:
    assert len(rich("молоко топлёное", FIRST_WEIGHT)) == 2
    assert len(rich("молоко", FIRST_WEIGHT)) == 1
    assert not rich("кефир молоко", FIRST_WEIGHT) & rich("молоко кефир", FIRST_WEIGHT)


def test_letters_with_digits_are_a_feature_too() -> None:
    assert len(rich("игра ps3", PAIR_WEIGHT) - rich("игра ps 3", PAIR_WEIGHT)) == 1
    assert rich("игра ps3", WORD_WEIGHT) == rich("игра ps 3", WORD_WEIGHT)


def test_marks_within_a_word_show_in_its_characters() -> None:
    assert rich("1.5л", GRAM_WEIGHT) - rich("1 5 л", GRAM_WEIGHT)


def test_texts_without_words_have_no_features() -> None:
    assert features_of(["", "—!?", "\n"]).offsets.tolist() == [0, 0, 0, 0]
    assert len(features_of([]).hashes) == 0


def test_hashes_are_spread_evenly() -> None:
    hashes = features_of([f"товар номер {number}" for number in range(2_000)]).hashes
    rows = np.unique(hashes) % np.uint64(64)
    counts = np.bincount(rows.astype(int), minlength=64)
    assert counts.max() < 1.5 * counts.mean()
