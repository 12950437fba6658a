"""Writing the invented marketplace to a folder in the layout of the real data."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rubrika.errors import RubrikaError
from rubrika.sample.dice import Dice
from rubrika.sample.market import Product, stock_market
from rubrika.sample.tree import category_numbers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rubrika.sample.cards import Card

MISSING = 0.05
"""How often a product has no picture."""

# Streams of chance besides the one that stocks the market, so that pictures and notation never disturb it.
NOTATION_STREAM = 1
PICTURE_STREAM = 2


@dataclass(frozen=True, slots=True)
class SampleSummary:
    """What was written.

    Attributes:
        train: Rows of train.parquet.
        test: Rows of test.parquet.
        categories: Different categories among the rows of train.parquet.
        pictures: Pictures of both parts; a few products have none.
    """

    train: int
    test: int
    categories: int
    pictures: int


def write_sample(folder: Path, seed: int = 0, products: int = 3000) -> SampleSummary:
    """Write a made-up marketplace: train.parquet, test.parquet and a folder of pictures for each.

    Args:
        folder: Where to write; it is created if missing.
        seed: Whatever is written depends on the seed and the number of products alone, down to the last byte.
        products: How many products to invent, train and test together.

    Raises:
        ValueError: There are too few products to put one in every category.
        RubrikaError: The folder is a file, or cannot be written.
    """
    with _writable(folder):
        # Known before any product is invented.
        folder.mkdir(parents=True, exist_ok=True)
    stock = stock_market(seed, products)
    pictures = 0
    with _writable(folder):
        for part, goods in (("train", stock.train), ("test", stock.test)):
            pictures += _write_pictures(folder / "images" / part, goods, seed)
            _write_table(folder / f"{part}.parquet", goods, Dice(seed, NOTATION_STREAM), labelled=part == "train")
    return SampleSummary(
        train=len(stock.train),
        test=len(stock.test),
        categories=len({product.leaf.path for product in stock.train}),
        pictures=pictures,
    )


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RubrikaError(f"{folder}: cannot be written ({error.strerror or error}); choose another folder") from None


def _write_table(path: Path, products: list[Product], dice: Dice, *, labelled: bool) -> None:
    # Importing rubrika.sample must stay quick, and pyarrow is anything but.
    from pyarrow import Table, parquet

    columns: dict[str, list[object]] = {"product_id": [product.number for product in products]}
    if labelled:
        numbers = category_numbers()
        columns["category_id"] = [numbers[product.leaf.name] for product in products]
        columns["category_name"] = [product.leaf.name for product in products]
    columns["sale"] = [product.sale for product in products]
    columns["shop_id"] = [product.shop.number for product in products]
    columns["shop_title"] = [product.shop.title for product in products]
    columns["rating"] = [product.rating for product in products]
    columns["text_fields"] = [_spell(dice, product.card) for product in products]
    if labelled:
        columns["group_key"] = [f"g{product.group}" for product in products]
    parquet.write_table(Table.from_pydict(columns), path)


def _spell(dice: Dice, card: Card) -> str:
    # The real data holds both notations, JSON and Python literals, and so must the sample.
    fields = card.fields()
    return json.dumps(fields, ensure_ascii=False) if dice.chance(0.5) else repr(fields)


def _write_pictures(folder: Path, products: list[Product], seed: int) -> int:
    # Like pyarrow, Pillow is only loaded once there is something to draw.
    from rubrika.sample.pictures import draw_picture

    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for product in products:
        dice = Dice(seed, PICTURE_STREAM, product.number)
        if dice.chance(MISSING):
            continue
        (folder / f"{product.number}.jpg").write_bytes(draw_picture(dice, product))
        written += 1
    return written
