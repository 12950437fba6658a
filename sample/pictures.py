"""The pictures of products: a family's silhouette in nearly its colours, which tells part of the category."""

from __future__ import annotations

from colorsys import hls_to_rgb
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from rubrika.sample.shapes import SHAPES, Patch
from rubrika.sample.words import COLOURS

if TYPE_CHECKING:
    from rubrika.sample.dice import Dice
    from rubrika.sample.market import Product

SIDE = 96
OVERSAMPLING = 2
"""How many times larger a picture is drawn than saved, to smooth its edges."""

BANNER = 0.08
"""How often a picture shows an advertisement or a size chart instead of the product."""

LEAF_HUE = 0.06
"""How far apart on the colour wheel the siblings of a family are."""

LEAF_WIDTH = 0.25
"""How much wider each next sibling of a family is."""

Numbers = NDArray[np.float64]


def draw_picture(dice: Dice, product: Product) -> bytes:
    """Draw the product and encode it as JPEG."""
    size = SIDE * OVERSAMPLING
    image = Image.new("RGB", (size, size), _paint(np.array([dice.between(205, 255) for _ in range(3)])))
    canvas = ImageDraw.Draw(image)
    if dice.chance(BANNER):
        _draw_banner(dice, canvas, size)
    else:
        _draw_product(dice, canvas, size, product)
    return _encode(_grain(dice, image.reduce(OVERSAMPLING)))


def _draw_product(dice: Dice, canvas: ImageDraw.ImageDraw, size: int, product: Product) -> None:
    place = product.family.leaves.index(product.leaf) - (len(product.family.leaves) - 1) / 2
    colour = _colour(dice, product.family.hue + LEAF_HUE * place, product.colour)
    place_on_canvas = _placement(dice, size, 1 + LEAF_WIDTH * place)
    for patch in SHAPES[product.family.shape]:
        _fill(canvas, patch, colour, place_on_canvas)


def _colour(dice: Dice, hue: float, name: str) -> Numbers:
    usual = np.array(hls_to_rgb(dice.around(hue, 0.05) % 1, dice.between(0.35, 0.6), dice.between(0.3, 0.8))) * 255
    share = dice.between(0.2, 0.7)
    return share * usual + (1 - share) * np.array(COLOURS[name])


def _placement(dice: Dice, size: int, width: float) -> Numbers:
    # One matrix stretches, mirrors, turns, scales and shifts; homogeneous points take it in one product.
    turn = dice.around(0, 0.25)
    stretch = np.diag([dice.around(width, 0.1) * dice.one((-1, 1)), 1.0])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    scale = size * dice.between(0.24, 0.42)
    shift = np.array([[size * dice.around(0.5, 0.04)], [size * dice.around(0.5, 0.04)]])
    return np.hstack([scale * rotation @ stretch, shift])


def _fill(canvas: ImageDraw.ImageDraw, patch: Patch, colour: Numbers, placement: Numbers) -> None:
    points = np.column_stack([np.array(patch.points), np.ones(len(patch.points))])
    corners = [(float(x), float(y)) for x, y in points @ placement.T]
    canvas.polygon(corners, fill=_paint(colour * patch.tone))


def _draw_banner(dice: Dice, canvas: ImageDraw.ImageDraw, size: int) -> None:
    ink = _paint(np.array(COLOURS[dice.one(tuple(COLOURS))], dtype=np.float64))
    for line in range(6):
        top = size * (0.12 + 0.13 * line)
        canvas.rectangle((size * 0.1, top, size * dice.between(0.4, 0.9), top + size * 0.06), fill=ink)


def _paint(colour: Numbers) -> tuple[int, int, int]:
    red, green, blue = np.clip(colour, 0, 255).astype(int).tolist()
    return red, green, blue


def _grain(dice: Dice, image: Image.Image) -> Image.Image:
    grain = dice.generator.standard_normal((SIDE, SIDE, 3), dtype=np.float32) * dice.between(2, 14)
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def _encode(image: Image.Image) -> bytes:
    stream = BytesIO()
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()
