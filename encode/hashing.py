"""The features of a text: words, pairs of words and characters, hashed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

MAX_CHARACTERS = 4_000
GRAM_LENGTHS = (3, 4, 5)
# A word says more than its parts; chosen on held-out groups, see docs/encoder.md.
WORD_WEIGHT, PAIR_WEIGHT, GRAM_WEIGHT = 3.0, 2.0, 1.0

_SPACE, _LETTER, _DIGIT = 0, 1, 2
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
    """Hash the features of each text; of a text longer than MAX_CHARACTERS only the beginning is read."""
    stream, owner = _stream(texts)
    span = _span_hasher(stream)
    words, starts = _words(stream, span)
    word_owner = owner[starts]
    together = word_owner[1:] == word_owner[:-1]
    pairs = _mixed(words[:-1] * np.uint64(3) + words[1:] * np.uint64(7) + np.uint64(11))[together]
    parts = [(words, word_owner, WORD_WEIGHT), (pairs, word_owner[1:][together], PAIR_WEIGHT)]
    for length in GRAM_LENGTHS:
        starts = _gram_starts(stream, length)
        grams = _mixed(span(starts, starts + length) + np.uint64(length * 0x51ED270B))
        parts.append((grams, owner[starts], GRAM_WEIGHT))
    owners = np.concatenate([owner for _, owner, _ in parts])
    order = np.argsort(owners, kind="stable")
    hashes = np.concatenate([hashes for hashes, _, _ in parts])
    weights = np.concatenate([np.full(len(hashes), weight, np.float32) for hashes, _, weight in parts])
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=len(texts)))])
    return Features(hashes[order], weights[order], offsets)


def words_of(texts: Sequence[str]) -> Words:
    """The lower halves of the hashes of all words of texts, in their order; quick, as nothing else is hashed."""
    stream, _ = _stream(texts)
    return _words(stream, _span_hasher(stream))[0].astype(np.uint32)


def _words(stream: NDArray[np.uint32], span: Callable[[Places, Places], Hashes]) -> tuple[Hashes, Places]:
    """The hash of each word, and where it starts."""
    spaces = np.flatnonzero(stream == _WORD_SPACE)
    return _mixed(span(spaces[:-1], spaces[1:] + 1)), spaces[:-1]


def _stream(texts: Sequence[str]) -> tuple[NDArray[np.uint32], Places]:
    """All tokens, each with a space before it and the last with one after, and the text that each character is of."""
    joined = "".join(text[:MAX_CHARACTERS].replace("\n", " ") + "\n" for text in texts).lower()
    codes = np.frombuffer(joined.encode("utf-32-le", "replace"), np.uint32)
    kinds, folded = _character_table()
    plain = np.where(codes < _BASIC_PLANE, codes, _WORD_SPACE)
    kind, code = kinds[plain], folded[plain]
    text = np.cumsum(codes == ord("\n")) - (codes == ord("\n"))
    kept = kind != _SPACE
    # A token is a run of letters or a run of digits: «100мл» and «iphone11» are two tokens each.
    starts = kept & (kind != np.concatenate([[_SPACE], kind[:-1]]))
    place = np.cumsum(kept.astype(np.int64) + starts) - 1
    size = int(place[-1]) + 2 if len(place) else 1
    stream = np.full(size, _WORD_SPACE, np.uint32)
    owner = np.full(size, max(len(texts) - 1, 0), np.int64)
    stream[place[kept]] = code[kept]
    owner[place[kept]] = text[kept]
    owner[place[starts] - 1] = text[starts]
    return stream, owner


def _gram_starts(stream: NDArray[np.uint32], length: int) -> Places:
    """Where a span of `length` lies within one token and the spaces around it, without being just that."""
    if len(stream) < length:
        return np.zeros(0, np.int64)
    space = stream == _WORD_SPACE
    before = np.concatenate([[0], np.cumsum(space)])
    first: Places = np.arange(len(stream) - length + 1)
    last = first + length - 1
    inside = before[last] - before[first + 1]
    return np.flatnonzero((inside == 0) & ~(space[first] & space[last]))


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
    letters = np.array([c.isalpha() for c in characters])
    digits = np.array([c.isdigit() for c in characters])
    folded = np.arange(_BASIC_PLANE, dtype=np.uint32)
    folded[ord("ё")] = ord("е")
    return np.where(digits, _DIGIT, np.where(letters, _LETTER, _SPACE)).astype(np.uint8), folded
