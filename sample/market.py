"""The stock of the whole marketplace: how much each category holds, who sells it, and what is kept for the test."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice

from numpy.random import Generator, default_rng

from rubrika.sample.cards import Family, Leaf, make_cards, pick, pick_early, pick_some, vocabulary

TEST_SHARE = 0.1
# A popular category holds more, by Zipf's law; counting ranks from above 1, no single category dwarfs the rest.
ZIPF_EXPONENT, ZIPF_FIRST_RANK = 0.7, 4
RARE_COUNTS = (1, 2, 3)  # How many products the rare categories hold, in turn.
GROUP_SIZES = (1, 1, 1, 1, 1, 1, 1, 2, 2, 3)  # Near duplicates in a group, each size as often as it stands here.
MISDESCRIBED = 0.025  # Products described wholly in a sibling's words, so that their text can only mislead.


@dataclass(frozen=True, slots=True)
class Shop:
    """A shop; one without a department sells everything."""

    number: int
    title: str
    department: str


@dataclass(frozen=True, slots=True)
class Product:
    """One product as the marketplace knows it; near duplicates share the group."""

    number: int
    group: int
    family: Family
    leaf: Leaf
    shop: Shop
    colour: str
    text_fields: dict[str, object]
    rating: float
    sale: bool


def stock_market(seed: int, products: int) -> tuple[list[Product], list[Product]]:
    """Invent the whole marketplace: the products of train and of test, split by whole groups and shuffled."""
    rng = default_rng(seed)
    shops = _open_shops(rng, products)
    numbers = map(int, rng.choice(400 * products, products, replace=False))
    groups = []
    for family, leaf, left in _share_out(rng, products):
        # The earlier a shop opened, the more it sells.
        sellers = [shop for shop in shops if shop.department in ("", leaf.department)]
        while left:
            size = min(left, pick(rng, GROUP_SIZES))
            groups.append(_group(rng, family, leaf, size, pick_early(rng, sellers), numbers))
            left -= size
    return _split(rng, groups, round(TEST_SHARE * products))


def _open_shops(rng: Generator, products: int) -> list[Shop]:
    # About one shop per thirty products; the first few sell everything, so that no product lacks a shop.
    general, special = 3 + products // 150, 8 + products // 40
    numbers = rng.choice(100 * (general + special), general + special, replace=False)
    known = list(dict.fromkeys(leaf.department for _, leaf in vocabulary().leaves))
    departments = [""] * general + [pick(rng, known) for _ in range(special)]
    return [Shop(int(number), _shop_title(rng, name), name) for number, name in zip(numbers, departments, strict=True)]


def _shop_title(rng: Generator, department: str) -> str:
    # Most shops that keep to a department name it, as real ones do.
    is_named = department and rng.random() < 0.6
    owner = pick(rng, vocabulary().shop_owners)
    return f"{department} {owner}" if is_named else f"{owner} {pick(rng, vocabulary().shop_signs)}"


def _share_out(rng: Generator, products: int) -> list[tuple[Family, Leaf, int]]:
    """Share the products out: a few to the rare categories, the rest by Zipf's law in a random order."""
    leaves = pick_some(rng, vocabulary().leaves)
    rare, common = ([pair for pair in leaves if pair[1].rare == is_rare] for is_rare in (True, False))
    rare_counts = list(islice(cycle(RARE_COUNTS), len(rare)))
    spare = products - sum(rare_counts) - len(common)
    if spare < 0:
        raise ValueError(f"{products} products cannot fill the categories; at least {products - spare} are needed")
    weights = [(place + ZIPF_FIRST_RANK) ** -ZIPF_EXPONENT for place in range(len(common))]
    counts = [1 + int(spare * weight / sum(weights)) for weight in weights]
    # Rounding down leaves a few products over, and the most popular category takes them.
    counts[0] += products - sum(rare_counts) - sum(counts)
    return [(*leaf, count) for leaf, count in zip(rare + common, rare_counts + counts, strict=True)]


def _group(rng: Generator, family: Family, leaf: Leaf, size: int, shop: Shop, numbers: Iterator[int]) -> list[Product]:
    siblings = [sibling for sibling in family.leaves if sibling is not leaf]
    described = pick(rng, siblings) if rng.random() < MISDESCRIBED else leaf
    products: list[Product] = []
    for colour, text_fields in make_cards(rng, family, described, size):
        number = next(numbers)
        # The number of the first product names the group: unlike a running count, it hints at nothing.
        group = products[0].group if products else number
        # A product without reviews has a rating of zero.
        rating = round(max(1.0, 5.0 - rng.uniform(0, 1.4) * rng.uniform(0, 1.4)), 6) if rng.random() >= 0.1 else 0.0
        sale = rng.random() < 0.15
        products.append(Product(number, group, family, leaf, shop, colour, text_fields, rating, sale))
    return products


def _split(rng: Generator, groups: list[list[Product]], wanted: int) -> tuple[list[Product], list[Product]]:
    left = Counter(group[0].leaf.category_id for group in groups)
    train, test = list[Product](), list[Product]()
    for group in pick_some(rng, groups):
        category = group[0].leaf.category_id
        # A category that the train set lacks could never be predicted, so its last group stays there.
        if left[category] > 1 and len(test) + len(group) <= wanted:
            left[category] -= 1
            test += group
        else:
            train += group
    return pick_some(rng, train), pick_some(rng, test)
