"""The families of categories and the words of the made-up marketplace, read from families.toml, and draws from them."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import count
from typing import Any, TypeVar

from numpy.random import Generator

FIRST_ID = 10_003  # A real marketplace does not count from zero either.
ID_STEP = 37  # The gap between ids, so that nobody mistakes one for a row of a matrix.

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf category and the words that only its own products use; families.toml says what each key means."""

    category_id: int
    path: str
    value: str
    names: Sequence[str]
    sentences: Sequence[str]
    rare: bool = False

    @property
    def category_name(self) -> str:
        """The full path from the root."""
        return f"Все категории->{self.path}"

    @property
    def department(self) -> str:
        """The first level below the root."""
        return self.path.split("->")[0]


@dataclass(frozen=True, slots=True)
class Family:
    """Categories that sellers and buyers confuse, and everything their products have in common."""

    names: Sequence[str]
    modifiers: Sequence[str]
    sentences: Sequence[str]
    size_name: str
    sizes: Sequence[str]
    leaf_attribute: str
    attributes: Mapping[str, Sequence[str]]
    hue: float
    silhouette: Sequence[Mapping[str, Any]]
    leaves: Sequence[Leaf]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """All of families.toml."""

    families: Sequence[Family]
    brands: Sequence[tuple[str, str]]
    shouts: Sequence[str]
    generic_names: Sequence[str]
    openings: Sequence[str]
    closings: Sequence[str]
    countries: Sequence[str]
    shop_owners: Sequence[str]
    shop_signs: Sequence[str]
    abbreviations: Mapping[str, str]
    colours: Mapping[str, tuple[int, int, int]]

    @property
    def leaves(self) -> list[tuple[Family, Leaf]]:
        """Every leaf with its family, in the order of their ids."""
        return [(family, leaf) for family in self.families for leaf in family.leaves]


@cache
def vocabulary() -> Vocabulary:
    """Read families.toml and number its categories, the same for every seed."""
    tables = tomllib.loads(files("rubrika.sample").joinpath("families.toml").read_text(encoding="utf-8"))
    ids = count(FIRST_ID, ID_STEP)
    families = [
        Family(**family | {"leaves": [Leaf(next(ids), **leaf) for leaf in family["leaves"]]})
        for family in tables["families"].values()
    ]
    return Vocabulary(**tables | {"families": families})


def pick(rng: Generator, items: Sequence[Item]) -> Item:
    """Draw one item."""
    # Not Generator.choice, which turns words into numpy's strings.
    return items[int(rng.integers(len(items)))]


def pick_early(rng: Generator, items: Sequence[Item]) -> Item:
    """Draw one item, the earlier the likelier: of four, the first comes up half of the time."""
    return items[int(len(items) * rng.random() ** 2)]


def pick_some(rng: Generator, items: Sequence[Item], limit: int | None = None) -> list[Item]:
    """Draw up to `limit` different items, or all of them, in random order."""
    return [items[place] for place in rng.permutation(len(items))[:limit]]
