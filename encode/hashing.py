"""The features of a text, hashed: words, pairs of words, characters, and how it begins."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_CHARACTERS = 4_000
GRAM_LENGTHS = (3, 4, 5)
# A word says more than its parts; chosen on held-out groups, see docs/encoder.md.
WORD_WEIGHT, PAIR_WEIGHT, GRAM_WEIGHT = 3.0, 2.0, 1.0

# What a text begins with says most about the kind of a product; it counts beside the same word and pair elsewhere.
FIRST_WEIGHT = 4.0
RICH_WEIGHTS = np.array([WORD_WEIGHT, PAIR_WEIGHT, FIRST_WEIGHT, GRAM_WEIGHT])  # in the order of `rich_features_of`

_SPACE, _LETTER, _DIGIT, _OTHER = 0, 1, 2, 3
_BASIC_PLANE = 0x10000
_WORD_SPACE = 32
_MULTIPLIER = 0x9E3779B97F4A7C15
_INVERSE = pow(_MULTIPLIER, -1, 2**64)

Hashes = NDArray[np.uint64]
Words = NDArray[np.uint32]
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Features:
    """Hashed features of n texts, and how much each counts; those of text i lie at offsets[i]:offsets[i + 1]."""

    hashes: Hashes
    weights: NDArray[np.float32]
    offsets: Places


def features_of(texts: Sequence[str]) -> Features:
    """Hash words, pairs and the characters of each word; of a text longer than MAX_CHARACTERS the beginning is read."""
    stream = _stream(texts)
    span = _span_hasher(stream.codes)
    words, starts = _words(stream, span)
    owner = stream.owner[starts]
    pairs, second = _pairs(words, owner)
    parts = [(words, owner, WORD_WEIGHT), (pairs, owner[second], PAIR_WEIGHT)]
    return _joined([*parts, *_grams(stream, span)], len(texts))


def rich_features_of(texts: Sequence[str]) -> Features:
    """As `features_of`, and the first word and pair, runs of letters with digits («ps3»), and characters across marks.

    A feature may be there more than once in a text.
    """
    stream = _stream(texts, marks=True)
    span = _span_hasher(stream.codes)
    words, starts = _words(stream, span)
    owner = stream.owner[starts]
    pairs, second = _pairs(words, owner)
    first = np.diff(owner, prepend=-1) != 0
    readable = _readable(stream.kind)
    run_starts, run_ends = _runs(readable, readable)
    several = np.searchsorted(starts, run_ends) - np.searchsorted(starts, run_starts) > 1
    run_starts, run_ends = run_starts[several], run_ends[several]
    parts = [
        (words, owner, WORD_WEIGHT),
        (_mixed(span(run_starts, run_ends) + np.uint64(13)), stream.owner[run_starts], PAIR_WEIGHT),
        (pairs, owner[second], PAIR_WEIGHT),
        (_at_first(words[first]), owner[first], FIRST_WEIGHT),
        (_at_first(pairs[first[second - 1]]), owner[second[first[second - 1]]], FIRST_WEIGHT),
    ]
    return _joined([*parts, *_grams(stream, span)], len(texts))


def _joined(parts: Sequence[tuple[Hashes, Places, float]], count: int) -> Features:
    """The features of `count` texts, of (hashes, the texts they are of, their weight)."""
    owners = np.concatenate([owner for _, owner, _ in parts])
    order = np.argsort(owners, kind="stable")
    hashes = np.concatenate([hashes for hashes, _, _ in parts])
    weights = np.concatenate([np.full(len(hashes), weight, np.float32) for hashes, _, weight in parts])
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=count))])
    return Features(hashes[order], weights[order], offsets)


def words_of(texts: Sequence[str]) -> Words:
    """The lower halves of the hashes of all words of texts, in their order; quick, as nothing else is hashed."""
    stream = _stream(texts)
    return _words(stream, _span_hasher(stream.codes))[0].astype(np.uint32)


def _pairs(words: Hashes, owner: Places) -> tuple[Hashes, Places]:
    """The hashes of each two words that follow one another in a text, and where the second of them is."""
    second = np.flatnonzero(owner[1:] == owner[:-1]) + 1
    return _mixed(words[second - 1] * np.uint64(3) + words[second] * np.uint64(7) + np.uint64(11)), second


def _at_first(hashes: Hashes) -> Hashes:
    return _mixed(hashes * np.uint64(5) + np.uint64(17))


def _grams(stream: "_Stream", span: Callable[[Places, Places], Hashes]) -> Iterator[tuple[Hashes, Places, float]]:
    space = stream.codes == _WORD_SPACE
    before = np.concatenate([[0], np.cumsum(space, dtype=np.int32)])
    for length in GRAM_LENGTHS:
        starts = _gram_starts(space, before, length)
        grams = _mixed(span(starts, starts + length) + np.uint64(length * 0x51ED270B))
        yield grams, stream.owner[starts], GRAM_WEIGHT


def _runs(kind: NDArray[Any], wanted: NDArray[np.bool_]) -> tuple[Places, Places]:
    """Where each longest run of one kind starts and ends, of those that are wanted, both (n,)."""
    change = np.flatnonzero(np.diff(kind.astype(np.int8), prepend=-1, append=-1))
    starts, ends = change[:-1], change[1:]
    chosen = wanted[starts]
    return starts[chosen], ends[chosen]


def _words(stream: "_Stream", span: Callable[[Places, Places], Hashes]) -> tuple[Hashes, Places]:
    """The hash of each word as if it stood between two spaces, and where it starts."""
    starts, ends = _runs(stream.kind, _readable(stream.kind))
    space, length = np.uint64(_WORD_SPACE + 1), ends - starts
    powers = _powers(_MULTIPLIER, int(length.max(initial=0)) + 2)
    return _mixed(space + span(starts, ends) * powers[1] + space * powers[length + 1]), starts


def _readable(kind: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((kind == _LETTER) | (kind == _DIGIT))


@dataclass(frozen=True, slots=True)
class _Stream:
    """Characters one after the other, (n,): their codes, their kinds, and which text each is of."""

    codes: NDArray[np.uint32]
    kind: NDArray[np.uint8]
    owner: Places


def _stream(texts: Sequence[str], marks: bool = False) -> _Stream:
    """All tokens, each with a space before it and the last with one after.

    A token is a run of letters or a run of digits: «100мл» and «iphone11» are two tokens each; with `marks`, it is all
    between two spaces.
    """
    joined = "".join(text[:MAX_CHARACTERS].replace("\n", " ") + "\n" for text in texts).lower()
    codes = np.frombuffer(joined.encode("utf-32-le", "replace"), np.uint32)
    kinds, folded = _character_table()
    plain = np.where(codes < _BASIC_PLANE, codes, _WORD_SPACE)
    kind, code = kinds[plain], folded[plain]
    text = np.cumsum(codes == ord("\n")) - (codes == ord("\n"))
    before = np.concatenate([[np.uint8(_SPACE)], kind[:-1]])
    kept = kind != _SPACE if marks else _readable(kind)
    starts = kept & ((before == _SPACE) if marks else (kind != before))
    place = np.cumsum(kept.astype(np.int64) + starts) - 1
    size = int(place[-1]) + 2 if len(place) else 1
    stream = np.full(size, _WORD_SPACE, np.uint32)
    owner = np.full(size, max(len(texts) - 1, 0), np.int64)
    kind_of = np.zeros(size, np.uint8)
    stream[place[kept]] = code[kept]
    kind_of[place[kept]] = kind[kept]
    owner[place[kept]] = text[kept]
    owner[place[starts] - 1] = text[starts]
    return _Stream(stream, kind_of, owner)


def _gram_starts(space: NDArray[np.bool_], before: NDArray[np.int32], length: int) -> Places:
    """Where a span of `length` lies within one token and the spaces around it, without being just that.

    `space` says of each character whether it is a space, (n,), and `before` how many of those before it are, (n + 1,).
    """
    if len(space) < length:
        return np.zeros(0, np.int64)
    # Between its ends there is none, and not both of its ends are one.
    is_inside = before[length - 1 : -1] == before[1 : len(before) - length + 1]
    return np.flatnonzero(is_inside & ~(space[: len(space) - length + 1] & space[length - 1 :]))


def _span_hasher(stream: NDArray[np.uint32]) -> Callable[[Places, Places], Hashes]:
    sums = np.cumsum((stream.astype(np.uint64) + np.uint64(1)) * _powers(_MULTIPLIER, len(stream)))
    prefix = np.concatenate([[np.uint64(0)], sums])
    inverse = _powers(_INVERSE, len(stream) + 1)
    return lambda start, end: (prefix[end] - prefix[start]) * inverse[start]


def _powers(base: int, count: int) -> Hashes:
    factors = np.full(count, base, np.uint64)
    factors[:1] = 1
    return np.multiply.accumulate(factors)


def _mixed(hashes: Hashes) -> Hashes:
    """Spread the bits, so that any of them can choose a row (MurmurHash3's 64-bit finaliser)."""
    hashes = (hashes ^ (hashes >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    hashes = (hashes ^ (hashes >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return hashes ^ (hashes >> np.uint64(33))


@lru_cache(maxsize=1)
def _character_table() -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    """For each character of the basic plane: what kind it is, and what it is folded to («ё» to «е»)."""
    characters = [chr(code) for code in range(_BASIC_PLANE)]
    letters, digits, spaces = (
        np.array([test(c) for c in characters]) for test in (str.isalpha, str.isdigit, _is_space)
    )
    folded = np.arange(_BASIC_PLANE, dtype=np.uint32)
    folded[ord("ё")] = ord("е")
    kinds = np.select([digits, letters, spaces], [_DIGIT, _LETTER, _SPACE], _OTHER)
    return kinds.astype(np.uint8), folded


def _is_space(character: str) -> bool:
    return character.isspace() or not character.isprintable()
