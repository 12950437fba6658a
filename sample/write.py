"""Writes the made-up marketplace to a folder in the layout of the real data."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from numpy.random import default_rng
from pyarrow import Table, parquet

from rubrika.errors import RubrikaError
from rubrika.files import writable
from rubrika.sample.market import Product, stock_market
from rubrika.sample.pictures import draw_picture

MISSING = 0.05  # Products without a picture.
# Random streams besides the one that stocks the market, so that pictures and notation never disturb it.
NOTATION_STREAM, PICTURE_STREAM = 1, 2


@dataclass(frozen=True, slots=True)
class SampleSummary:
    """What was written: rows of both tables, different categories of train.parquet, and pictures of both parts."""

    train: int
    test: int
    categories: int
    pictures: int


def write_sample(folder: Path, seed: int = 0, products: int = 3000, force: bool = False) -> SampleSummary:
    """Write a made-up marketplace: train.parquet, test.parquet and a folder of pictures for each.

    What is written depends on the seed and the number of products alone, down to the last byte. The products are those
    of train and test together; ValueError when they cannot fill every category. Tables that are there, which may be
    somebody's own, are replaced only with `force`.
    """
    for path in (folder / "train.parquet", folder / "test.parquet"):
        if path.exists() and not force:
            raise RubrikaError(f"{path}: there already; choose another folder, or replace it with `force`")
    with writable(folder, "choose another folder"):
        # A folder that cannot be written is reported before any product is invented.
        folder.mkdir(parents=True, exist_ok=True)
    train, test = stock_market(seed, products)
    pictures = 0
    with writable(folder, "choose another folder"):
        for part, goods in (("train", train), ("test", test)):
            pictures += _write_pictures(folder / "images" / part, goods, seed)
            _write_table(folder / f"{part}.parquet", goods, seed, labelled=part == "train")
    return SampleSummary(len(train), len(test), len({product.leaf.category_id for product in train}), pictures)


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
    # The real data holds both notations, JSON and Python literals, and so must the sample.
    to_json = partial(json.dumps, ensure_ascii=False)
    table = Table.from_pydict(
        {
            "product_id": [product.number for product in products],
            "category_id": [product.leaf.category_id for product in products],
            "category_name": [product.leaf.category_name for product in products],
            "sale": [product.sale for product in products],
            "shop_id": [product.shop.number for product in products],
            "shop_title": [product.shop.title for product in products],
            "rating": [product.rating for product in products],
            "text_fields": [(to_json if rng.random() < 0.5 else repr)(product.text_fields) for product in products],
            "group_key": [f"g{product.group}" for product in products],
        }
    )
    parquet.write_table(table.drop_columns([] if labelled else ["category_id", "category_name", "group_key"]), path)
