"""The stock of the whole marketplace: how much each category holds, who sells it, and what is kept for the test."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rubrika.sample.cards import Card, design, variants
from rubrika.sample.demand import group_sizes, share_out
from rubrika.sample.dice import Dice
from rubrika.sample.shops import Shop, choose_shop, open_shops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rubrika.sample.kinds import Family, Leaf

BORROWED = 0.025
"""How often a product is described wholly in a sibling's words, which no reader of words can put right."""

TEST_SHARE = 0.1
"""The part of the products that goes to the test."""


@dataclass(frozen=True, slots=True)
class Product:
    """One product as the marketplace knows it; near duplicates share the group."""

    number: int
    group: int
    family: Family
    leaf: Leaf
    shop: Shop
    card: Card
    colour: str
    rating: float
    sale: bool


@dataclass(frozen=True, slots=True)
class Stock:
    """All the products, split by whole groups and shuffled."""

    train: list[Product]
    test: list[Product]


def stock_market(seed: int, products: int) -> Stock:
    """Invent the whole marketplace.

    Raises:
        ValueError: There are too few products to put one in every category.
    """
    dice = Dice(seed)
    shops = open_shops(dice, products)
    numbers = map(int, dice.generator.choice(400 * products, products, replace=False))
    groups = [
        _group(dice, family, leaf, size, choose_shop(dice, shops, leaf.department), numbers)
        for family, leaf, count in share_out(dice, products)
        for size in group_sizes(dice, count)
    ]
    return _split(dice, groups, round(TEST_SHARE * products))


def _group(dice: Dice, family: Family, leaf: Leaf, size: int, shop: Shop, numbers: Iterator[int]) -> list[Product]:
    siblings = [sibling for sibling in family.leaves if sibling is not leaf]
    model = design(dice, family, dice.one(siblings) if dice.chance(BORROWED) else leaf)
    products: list[Product] = []
    for colour, measure in variants(dice, family, size):
        number = next(numbers)
        products.append(
            Product(
                number=number,
                # The number of the first product names the group: unlike a running count, it hints at nothing.
                group=products[0].group if products else number,
                family=family,
                leaf=leaf,
                shop=shop,
                card=model.card(colour, measure),
                colour=colour,
                rating=_rating(dice),
                sale=dice.chance(0.15),
            )
        )
    return products


def _rating(dice: Dice) -> float:
    # A product nobody has reviewed stands at zero.
    return 0.0 if dice.chance(0.1) else round(max(1.0, 5.0 - dice.between(0, 1.4) * dice.between(0, 1.4)), 6)


def _split(dice: Dice, groups: list[list[Product]], wanted: int) -> Stock:
    left = Counter(group[0].leaf.path for group in groups)
    train: list[Product] = []
    test: list[Product] = []
    for group in dice.shuffled(groups):
        path = group[0].leaf.path
        # A category that the train set lacks could never be predicted, so its last group stays there.
        if left[path] > 1 and len(test) + len(group) <= wanted:
            left[path] -= 1
            test += group
        else:
            train += group
    return Stock(dice.shuffled(train), dice.shuffled(test))
