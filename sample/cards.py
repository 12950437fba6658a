"""The cards of products: the title, description and characteristics that a seller fills in."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from rubrika.sample.descriptions import describe
from rubrika.sample.noise import roughen
from rubrika.sample.words import BRANDS, CLOSINGS, COLOURS, COUNTRIES, GENERIC, OPENINGS

if TYPE_CHECKING:
    from rubrika.sample.dice import Dice
    from rubrika.sample.kinds import Family, Leaf

VAGUE = 0.08
"""How often the title names only the family, not the leaf."""

SILENT = 0.3
"""How often, under a vague title, no other words name the leaf either: then only the picture can tell."""

REPEATED = 0.5
"""How often a description that may name the leaf does so outright."""

EMPTY_TITLE = 0.12
"""How often a vague title does not even name the family."""

Characteristics = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Card:
    """Everything that goes into the column ``text_fields``."""

    title: str
    description: str
    attributes: list[str]
    custom_characteristics: Characteristics
    defined_characteristics: Characteristics
    filters: Characteristics

    def fields(self) -> dict[str, object]:
        """Give the card as the dictionary that the column spells out."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Model:
    """What the cards of near duplicates share: one product model, sold in several colours and sizes."""

    family: Family
    stem: str
    brand: str
    description: str
    attributes: list[str]
    traits: Characteristics
    colour_shown: bool
    size_shown: bool
    repeated: bool

    def card(self, colour: str, size: str) -> Card:
        """Fill in the card of one variant."""
        shown = [word for word, visible in ((colour, self.colour_shown), (size, self.size_shown)) if visible]
        defined = {"Цвет": [colour], self.family.measure: [size], **self.traits}
        return Card(
            title=", ".join([self.stem, *shown]),
            description=self.description,
            attributes=self.attributes,
            custom_characteristics={"Бренд": [self.brand]} if self.brand else {},
            defined_characteristics=defined if self.repeated or not self.attributes else {},
            filters=defined if self.repeated else {"Цвет": [colour]},
        )


def design(dice: Dice, family: Family, leaf: Leaf) -> Model:
    """Invent a product model of the family, in the words of the leaf."""
    vague = dice.chance(VAGUE)
    silent = vague and dice.chance(SILENT)
    latin, russian = dice.one(BRANDS)
    brand = dice.one((latin, latin, russian, "", ""))
    name = dice.early(family.names if vague else leaf.names)
    traits = {facet: [dice.one(values)] for facet, values in family.facets.items() if dice.chance(0.5)}
    if not silent and dice.chance(0.5):
        traits[family.axis] = [leaf.mark]
    return Model(
        family=family,
        stem=_stem(dice, family, dice.one(GENERIC) if vague and dice.chance(EMPTY_TITLE) else name, brand),
        brand=brand,
        description=_description(dice, family, None if silent else leaf),
        attributes=[] if dice.chance(0.3) else _attributes(dice, family, None if silent else leaf),
        traits=traits,
        colour_shown=dice.chance(0.5),
        size_shown=dice.chance(0.4),
        repeated=dice.chance(0.4),
    )


def variants(dice: Dice, family: Family, count: int) -> list[tuple[str, str]]:
    """Choose the colour and size of each near duplicate: one of the two changes, the other stays."""
    colours = dice.some(tuple(COLOURS), count)
    sizes = dice.some(family.sizes, count)
    if dice.chance(0.6) or len(sizes) < count:
        return [(colour, sizes[0]) for colour in colours]
    return [(colours[0], size) for size in sizes]


def _stem(dice: Dice, family: Family, name: str, brand: str) -> str:
    words = [name]
    if brand and dice.chance(0.7):
        words.append(brand)
    words += dice.some(family.traits, dice.below(3))
    return roughen(dice, " ".join(words))


def _description(dice: Dice, family: Family, leaf: Leaf | None) -> str:
    if dice.chance(0.05):
        return ""
    sentences = dice.some(family.lines, 1 + dice.below(3))
    if leaf:
        sentences += dice.some(leaf.hints, dice.one((0, 1, 2, 2)))
    if leaf and dice.chance(REPEATED):
        sentences.append(f"{dice.one(OPENINGS)} {dice.early(leaf.names)}")
    if dice.chance(0.08):
        # Sellers name neighbouring goods to catch more searches, which misleads whoever reads only words.
        sentences.append(f"Смотрите также: {dice.early(dice.one(family.leaves).names)}")
    return describe(dice, dice.shuffled(sentences) + dice.some(CLOSINGS, dice.below(3)))


def _attributes(dice: Dice, family: Family, leaf: Leaf | None) -> list[str]:
    facts = [f"{facet}: {dice.one(values)}" for facet, values in family.facets.items()]
    if leaf:
        facts.append(f"{family.axis}: {leaf.mark.lower()}")
    return dice.some([*facts, f"Страна производства: {dice.one(COUNTRIES)}", *family.traits[:3]], 1 + dice.below(3))
