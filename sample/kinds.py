"""What a category and a family of confusable categories are, before any table of words is filled in."""

from collections.abc import Mapping
from dataclasses import dataclass

ROOT = "Все категории"


def phrases(text: str) -> tuple[str, ...]:
    """Split a table cell into its phrases, which are separated by semicolons."""
    return tuple(phrase.strip() for phrase in text.split(";"))


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf category and the words that only its own products use.

    Attributes:
        path: The steps below the root, joined with ``->``.
        mark: The value of the family's axis, e.g. "Женский" on the axis "Пол".
        names: How a title names the product so that the category is clear.
        hints: Sentences of a description that give the category away.
        rare: Whether the shops hold no more than a handful of such products.
    """

    path: str
    mark: str
    names: tuple[str, ...]
    hints: tuple[str, ...]
    rare: bool = False

    @property
    def name(self) -> str:
        """The full path from the root, as it stands in the column ``category_name``."""
        return f"{ROOT}->{self.path}"

    @property
    def department(self) -> str:
        """The first step below the root."""
        return self.path.split("->")[0]


@dataclass(frozen=True, slots=True)
class Family:
    """Categories that sellers and buyers confuse, and everything their products have in common.

    Attributes:
        shape: The silhouette of the pictures, a key of ``shapes.SHAPES``.
        hue: The colour the pictures tend to, from 0 to 1 around the colour wheel.
        axis: The characteristic whose value tells the leaves apart.
        names: How a title names the product without telling which leaf it is.
        traits: What a title adds to the name.
        lines: Sentences of a description that fit every leaf.
        measure: What the sizes measure, e.g. "Размер" or "Модель".
        sizes: The variants a product comes in.
        facets: The other characteristics with their possible values.
        leaves: The categories themselves.
    """

    shape: str
    hue: float
    axis: str
    names: tuple[str, ...]
    traits: tuple[str, ...]
    lines: tuple[str, ...]
    measure: str
    sizes: tuple[str, ...]
    facets: Mapping[str, tuple[str, ...]]
    leaves: tuple[Leaf, ...]
