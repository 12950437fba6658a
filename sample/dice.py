"""The one source of chance: every draw of the sample goes through a Dice, so the seed settles every byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator

Item = TypeVar("Item")


class Dice:
    """Seeded random draws in the words the sample needs.

    Attributes:
        generator: The numpy generator behind the draws, for whole arrays at once.
    """

    generator: Generator

    def __init__(self, *seed: int) -> None:
        """Start from a seed of one or more non-negative integers."""
        # Loading numpy takes longer than all of rubrika.sample, so it waits until somebody throws.
        from numpy.random import default_rng

        self.generator = default_rng(seed)

    def chance(self, probability: float) -> bool:
        """Tell whether something of this probability happens."""
        return self.generator.random() < probability

    def below(self, limit: int) -> int:
        """Draw a whole number from 0 up to but not including ``limit``."""
        return int(self.generator.integers(limit))

    def between(self, low: float, high: float) -> float:
        """Draw a number evenly from ``low`` to ``high``."""
        return low + (high - low) * self.generator.random()

    def around(self, middle: float, spread: float) -> float:
        """Draw a number from the bell curve around ``middle``."""
        return middle + spread * float(self.generator.standard_normal())

    def one(self, items: Sequence[Item]) -> Item:
        """Draw one item."""
        return items[self.below(len(items))]

    def early(self, items: Sequence[Item]) -> Item:
        """Draw one item, the earlier the likelier: of four, the first comes up half of the time."""
        return items[int(len(items) * self.generator.random() ** 2)]

    def some(self, items: Sequence[Item], count: int) -> list[Item]:
        """Draw up to ``count`` different items, in random order."""
        return [items[place] for place in self.generator.permutation(len(items))[:count]]

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        """Put all the items in random order."""
        return self.some(items, len(items))
