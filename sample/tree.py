"""The tree of categories: every family, every leaf in it, and the number each category goes by."""

from collections.abc import Iterator

from rubrika.sample.beauty import BEAUTY
from rubrika.sample.gadgets import ELECTRONICS, WORKSHOP
from rubrika.sample.house import GARDEN, HOME, KITCHEN
from rubrika.sample.kinds import Family, Leaf
from rubrika.sample.leisure import CHILDREN, HOBBY
from rubrika.sample.wear import CLOTHES, SHOES

FAMILIES = (*SHOES, *CLOTHES, *ELECTRONICS, *WORKSHOP, *KITCHEN, *HOME, *GARDEN, *BEAUTY, *CHILDREN, *HOBBY)

FIRST_NUMBER = 10_003
"""The number of the first category; a real marketplace does not count from zero either."""

NUMBER_STEP = 37
"""The gap between numbers, so that nobody mistakes a category number for a row of a matrix."""


def shelves() -> Iterator[tuple[Family, Leaf]]:
    """Go through the leaves, each with the family it belongs to."""
    for family in FAMILIES:
        for leaf in family.leaves:
            yield family, leaf


def category_numbers() -> dict[str, int]:
    """Number the categories by their full name, the same for every seed."""
    return {leaf.name: FIRST_NUMBER + NUMBER_STEP * place for place, (_, leaf) in enumerate(shelves())}


def departments() -> tuple[str, ...]:
    """Name the departments, the first level below the root, in the order of the tree."""
    return tuple(dict.fromkeys(leaf.department for _, leaf in shelves()))
