"""How the products spread over categories and over groups of near duplicates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rubrika.sample.tree import shelves

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rubrika.sample.dice import Dice
    from rubrika.sample.kinds import Family, Leaf

SKEW = 0.7
"""The exponent of Zipf's law: how much more the popular categories hold."""

HEAD = 4
"""The rank Zipf's law counts from; above 1, no single category dwarfs the rest."""

SCARCE = (1, 2, 3)
"""How many products the rare categories hold, in turn."""

GROUP_SIZES = (1, 1, 1, 1, 1, 1, 1, 2, 2, 3)
"""How large the groups of near duplicates are, each as often as it stands here."""


def share_out(dice: Dice, products: int) -> list[tuple[Family, Leaf, int]]:
    """Share the products out: a few to the rare categories, the rest by Zipf's law in a random order.

    Raises:
        ValueError: There are too few products to put one in every category.
    """
    shelf = dice.shuffled(tuple(shelves()))
    rare = [(family, leaf) for family, leaf in shelf if leaf.rare]
    common = [(family, leaf) for family, leaf in shelf if not leaf.rare]
    scarce = [SCARCE[place % len(SCARCE)] for place in range(len(rare))]
    spare = products - sum(scarce) - len(common)
    if spare < 0:
        raise ValueError(f"{products} products cannot fill the categories, {products - spare} are the fewest that can")
    weights = [(place + HEAD) ** -SKEW for place in range(len(common))]
    counts = [1 + int(spare * weight / sum(weights)) for weight in weights]
    # Rounding down leaves a few products over, and the most popular category takes them.
    counts[0] += products - sum(scarce) - sum(counts)
    return [(*shelf, count) for shelf, count in zip([*rare, *common], [*scarce, *counts], strict=True)]


def group_sizes(dice: Dice, products: int) -> Iterator[int]:
    """Cut the products of one category into groups of near duplicates, most of them of a single product."""
    while products:
        size = min(products, dice.one(GROUP_SIZES))
        yield size
        products -= size
