"""Writes the made-up marketplace to a folder in the layout of the real data."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from numpy.random import Generator, default_rng
from pyarrow import Table, parquet

from rubrika.errors import RubrikaError
from rubrika.sample.market import Product, stock_market
from rubrika.sample.pictures import draw_picture

MISSING = 0.05  # Products without a picture.
# Random streams besides the one that stocks the market, so that pictures and notation never disturb it.
NOTATION_STREAM = 1
PICTURE_STREAM = 2


@dataclass(frozen=True, slots=True)
class SampleSummary:
    """What was written: rows of both tables, different categories of train.parquet, and pictures of both parts."""

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
        # A folder that cannot be written is reported before any product is invented.
        folder.mkdir(parents=True, exist_ok=True)
    train, test = stock_market(seed, products)
    pictures = 0
    with _writable(folder):
        for part, goods in (("train", train), ("test", test)):
            pictures += _write_pictures(folder / "images" / part, goods, seed)
            _write_table(folder / f"{part}.parquet", goods, seed, labelled=part == "train")
    categories = len({product.leaf.category_id for product in train})
    return SampleSummary(len(train), len(test), categories, pictures)


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RubrikaError(f"{folder}: cannot be written ({error.strerror or error}); choose another folder") from None


def _write_pictures(folder: Path, products: list[Product], seed: int) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for product in products:
        rng = default_rng((seed, PICTURE_STREAM, product.number))
        if rng.random() >= MISSING:
            (folder / f"{product.number}.jpg").write_bytes(draw_picture(rng, product))
            written += 1
    return written


def _write_table(path: Path, products: list[Product], seed: int, *, labelled: bool) -> None:
    rng = default_rng((seed, NOTATION_STREAM))
    table = Table.from_pydict(
        {
            "product_id": [product.number for product in products],
            "category_id": [product.leaf.category_id for product in products],
            "category_name": [product.leaf.category_name for product in products],
            "sale": [product.sale for product in products],
            "shop_id": [product.shop.number for product in products],
            "shop_title": [product.shop.title for product in products],
            "rating": [product.rating for product in products],
            "text_fields": [_notate(rng, product.text_fields) for product in products],
            "group_key": [f"g{product.group}" for product in products],
        }
    )
    labels = [] if labelled else ["category_id", "category_name", "group_key"]
    parquet.write_table(table.drop_columns(labels), path)


def _notate(rng: Generator, fields: dict[str, object]) -> str:
    # The real data holds both notations, JSON and Python literals, and so must the sample.
    return json.dumps(fields, ensure_ascii=False) if rng.random() < 0.5 else repr(fields)
