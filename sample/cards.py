"""The families of products, as families.toml has them, and the cards that sellers fill in for them."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
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


# How often a card, a title or a word is so.
VAGUE = 0.08  # Titles that name only the family, not the leaf.
NAMELESS = 0.12  # Vague titles that do not even name the family.
SILENT = 0.3  # Products under a vague title whose other words do not name the leaf either: only the picture can tell.
REPEATED = 0.5  # Descriptions that name the leaf outright, among those that may.
TYPO = 0.03  # Misspelt words of titles.
ABBREVIATED = 0.15  # Abbreviated words of titles, among those that have a usual abbreviation.


def make_cards(rng: Generator, family: Family, leaf: Leaf, count: int) -> Iterator[tuple[str, dict[str, object]]]:
    """Invent a product in the words of the leaf; give the colour and the text fields of each near duplicate."""
    vague = rng.random() < VAGUE
    named_leaf = None if vague and rng.random() < SILENT else leaf
    latin, russian = pick(rng, vocabulary().brands)
    brand = pick(rng, (latin, latin, russian, "", ""))
    name = pick_early(rng, family.names if vague else leaf.names)
    facts = {key: [pick(rng, values)] for key, values in family.attributes.items() if rng.random() < 0.5}
    if named_leaf and rng.random() < 0.5:
        facts[family.leaf_attribute] = [leaf.value]
    if vague and rng.random() < NAMELESS:
        name = pick(rng, vocabulary().generic_names)
    title = _title(rng, family, name, brand)
    description = _description(rng, family, named_leaf)
    attributes = [] if rng.random() < 0.3 else _attributes(rng, family, named_leaf)
    colour_in_title, size_in_title, complete = rng.random() < 0.5, rng.random() < 0.4, rng.random() < 0.4
    for colour, size in _variants(rng, family, count):
        shown = [word for word, visible in ((colour, colour_in_title), (size, size_in_title)) if visible]
        defined = {"Цвет": [colour], family.size_name: [size], **facts}
        text_fields: dict[str, object] = {
            "title": ", ".join([title, *shown]),
            "description": description,
            "attributes": attributes,
            "custom_characteristics": {"Бренд": [brand]} if brand else {},
            "defined_characteristics": defined if complete or not attributes else {},
            "filters": defined if complete else {"Цвет": [colour]},
        }
        yield colour, text_fields


def _variants(rng: Generator, family: Family, count: int) -> list[tuple[str, str]]:
    """Choose the colour and size of each near duplicate: one of the two varies, the other stays."""
    colours = pick_some(rng, list(vocabulary().colours), count)
    sizes = pick_some(rng, family.sizes, count)
    if rng.random() < 0.6 or len(sizes) < count:
        return [(colour, sizes[0]) for colour in colours]
    return [(colours[0], size) for size in sizes]


def _title(rng: Generator, family: Family, name: str, brand: str) -> str:
    named = [name, brand] if brand and rng.random() < 0.7 else [name]
    title = " ".join(named + pick_some(rng, family.modifiers, pick(rng, (0, 1, 2))))
    if rng.random() < 0.4:
        title = title.replace("ё", "е")
    title = " ".join(_retype(rng, word) for word in title.split())
    if rng.random() < 0.2:
        shout = pick(rng, vocabulary().shouts)
        title = f"{shout} {title}" if rng.random() < 0.4 else f"{title} {shout}"
    if rng.random() < 0.04:
        return title.upper()
    return title[:1].upper() + title[1:] if rng.random() < 0.85 else title


def _retype(rng: Generator, word: str) -> str:
    """Abbreviate a word, or swap, drop or double a letter of it; most words stay as they are."""
    abbreviations = vocabulary().abbreviations
    if word in abbreviations and rng.random() < ABBREVIATED:
        return abbreviations[word]
    if not rng.random() < TYPO or len(word) < 4:
        return word
    place = 1 + rng.integers(len(word) - 2)
    before, letter, after = word[:place], word[place], word[place + 1 :]
    return pick(rng, (before[:-1] + letter + before[-1] + after, before + after, before + letter + letter + after))


def _description(rng: Generator, family: Family, leaf: Leaf | None) -> str:
    if rng.random() < 0.05:
        return ""
    sentences = pick_some(rng, family.sentences, pick(rng, (1, 2, 3)))
    sentences += pick_some(rng, leaf.sentences, pick(rng, (0, 1, 2, 2))) if leaf else []
    if leaf and rng.random() < REPEATED:
        sentences.append(f"{pick(rng, vocabulary().openings)} {pick_early(rng, leaf.names)}")
    if rng.random() < 0.08:
        # Sellers name neighbouring goods to catch more searches, which misleads a classifier that reads only words.
        sentences.append(f"Смотрите также: {pick_early(rng, pick(rng, family.leaves).names)}")
    return _html(rng, pick_some(rng, sentences) + pick_some(rng, vocabulary().closings, pick(rng, (0, 1, 2))))


def _html(rng: Generator, sentences: Sequence[str]) -> str:
    """Lay the sentences out as paragraphs, line breaks, a list or plain text, as real cards do."""
    texts = [text.replace(" ", "&nbsp;", 1) if rng.random() < 0.15 else text for text in map(escape, sentences)]
    items = "".join(f"<li>{text};</li>" for text in texts[1:])
    layouts = (
        "".join(f"<p>{text}.</p>" for text in texts),
        f"<p>{'.<br>'.join(texts)}.</p>",
        f"<p>{texts[0]}:</p><ul>{items}</ul>" if items else f"<p>{texts[0]}</p>",
        ". ".join(texts),
    )
    html, has_picture = pick(rng, layouts), rng.random() < 0.08
    picture = f'<img src="https://pictures.example/description/{rng.integers(10**9):09d}.jpg">' if has_picture else ""
    return html + picture


def _attributes(rng: Generator, family: Family, leaf: Leaf | None) -> list[str]:
    facts = [f"{key}: {pick(rng, values)}" for key, values in family.attributes.items()]
    if leaf:
        facts.append(f"{family.leaf_attribute}: {leaf.value.lower()}")
    facts.append(f"Страна производства: {pick(rng, vocabulary().countries)}")
    return pick_some(rng, [*facts, *family.modifiers[:3]], pick(rng, (1, 2, 3)))
