"""families.toml is consistent: every family can be described, drawn and told from the others."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict

import pytest

from rubrika.sample.cards import Family, vocabulary
from rubrika.sample.market import GROUP_SIZES

FAMILIES = vocabulary().families
COORDINATES = {"box": 4, "disc": 4}

every_family = pytest.mark.parametrize("family", FAMILIES, ids=[family.names[0] for family in FAMILIES])


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from strings([*value, *value.values()])
    elif isinstance(value, list):
        # An empty list could not be drawn from.
        assert value
        for item in value:
            yield from strings(item)


def test_no_words_are_empty() -> None:
    words = list(strings(asdict(vocabulary())))
    assert len(words) > 2000
    assert [word for word in words if not word or word != word.strip()] == []


def test_ids_and_paths_of_categories_do_not_collide() -> None:
    leaves = [leaf for _, leaf in vocabulary().leaves]
    ids = [leaf.category_id for leaf in leaves]
    assert ids == [10_003 + 37 * place for place in range(len(ids))]
    assert len({leaf.category_name for leaf in leaves}) == len(leaves)


@every_family
def test_leaves_are_told_apart_by_path_value_and_words(family: Family) -> None:
    # A product may be described in a sibling's words, so every leaf needs one.
    assert len(family.leaves) >= 2
    assert len({leaf.value for leaf in family.leaves}) == len(family.leaves)
    assert family.leaf_attribute not in family.attributes
    for leaf in family.leaves:
        assert re.fullmatch(r"[^>]+(->[^>]+){2}", leaf.path)
        assert leaf.names
        assert leaf.sentences


@every_family
def test_a_family_can_be_varied_and_drawn(family: Family) -> None:
    assert len(family.sizes) >= max(GROUP_SIZES)
    assert len(set(family.sizes)) == len(family.sizes)
    assert 0 <= family.hue <= 1
    assert family.silhouette
    for patch in family.silhouette:
        [kind] = patch.keys() - {"tone"}
        coordinates = patch[kind]
        assert kind in {"polygon", *COORDINATES}
        assert len(coordinates) == COORDINATES.get(kind, len(coordinates))
        assert len(coordinates) % 2 == 0
        assert all(-1 <= number <= 1 for number in coordinates)
        assert patch.get("tone", 1) > 0


def test_colours_are_bytes_and_enough_for_a_group() -> None:
    colours = vocabulary().colours
    assert len(colours) >= max(GROUP_SIZES)
    assert all(len(colour) == 3 and all(0 <= part <= 255 for part in colour) for colour in colours.values())
