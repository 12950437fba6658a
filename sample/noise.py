"""What hurried sellers do to a title: typos, shortenings, capitals and shouting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rubrika.sample.words import SHORTENINGS, SHOUTS

if TYPE_CHECKING:
    from rubrika.sample.dice import Dice

TYPO = 0.03
"""How often a word of a title is misspelt."""

SHORTENED = 0.15
"""How often a word that has a usual shortening is shortened."""


def misspell(dice: Dice, word: str) -> str:
    """Swap, drop or double a letter; words of three letters or fewer stay as they are."""
    if len(word) < 4:
        return word
    place = 1 + dice.below(len(word) - 2)
    before, letter, after = word[:place], word[place], word[place + 1 :]
    return dice.one((before[:-1] + letter + before[-1] + after, before + after, before + letter + letter + after))


def roughen(dice: Dice, title: str) -> str:
    """Write the title the way a seller in a hurry would."""
    if dice.chance(0.4):
        title = title.replace("ё", "е")
    title = " ".join(_retype(dice, word) for word in title.split())
    if dice.chance(0.2):
        title = _shout(dice, title)
    if dice.chance(0.04):
        return title.upper()
    return title[:1].upper() + title[1:] if dice.chance(0.85) else title


def _retype(dice: Dice, word: str) -> str:
    if word in SHORTENINGS and dice.chance(SHORTENED):
        return SHORTENINGS[word]
    return misspell(dice, word) if dice.chance(TYPO) else word


def _shout(dice: Dice, title: str) -> str:
    shout = dice.one(SHOUTS)
    return f"{shout} {title}" if dice.chance(0.4) else f"{title} {shout}"
