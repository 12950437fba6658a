"""The pictures of products: a family's silhouette in nearly its colours, which tells part of the category."""

from collections.abc import Mapping
from colorsys import hls_to_rgb
from io import BytesIO
from math import cos, pi, sin
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from rubrika.sample.cards import pick, vocabulary
from rubrika.sample.market import Product

SIDE = 96
OVERSAMPLING = 2  # How many times larger a picture is drawn than saved, to smooth its edges.
CANVAS_SIDE = SIDE * OVERSAMPLING
BANNER = 0.08  # Pictures that show an advertisement or a size chart instead of the product.
LEAF_HUE = 0.06  # How far apart on the colour wheel the siblings of a family are.
LEAF_WIDTH = 0.25  # How much wider each next sibling of a family is.

Numbers = NDArray[np.float64]


def draw_picture(rng: Generator, product: Product) -> bytes:
    """Draw the product and encode it as JPEG."""
    image = Image.new("RGB", (CANVAS_SIDE, CANVAS_SIDE), _rgb(rng.uniform(205, 255, 3)))
    canvas = ImageDraw.Draw(image)
    if rng.random() < BANNER:
        _draw_banner(rng, canvas)
    else:
        _draw_product(rng, canvas, product)
    grain = rng.standard_normal((SIDE, SIDE, 3), dtype=np.float32) * rng.uniform(2, 14)
    pixels = np.clip(np.asarray(image.reduce(OVERSAMPLING)) + grain, 0, 255).astype(np.uint8)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=85)
    return stream.getvalue()


def _draw_banner(rng: Generator, canvas: ImageDraw.ImageDraw) -> None:
    colours = vocabulary().colours
    ink = tuple(colours[pick(rng, list(colours))])
    for line in range(6):
        top, right = CANVAS_SIDE * (0.12 + 0.13 * line), CANVAS_SIDE * rng.uniform(0.4, 0.9)
        canvas.rectangle((CANVAS_SIDE * 0.1, top, right, top + CANVAS_SIDE * 0.06), fill=ink)


def _draw_product(rng: Generator, canvas: ImageDraw.ImageDraw, product: Product) -> None:
    family = product.family
    offset = family.leaves.index(product.leaf) - (len(family.leaves) - 1) / 2
    hue = rng.normal(family.hue + LEAF_HUE * offset, 0.05) % 1
    usual = np.array(hls_to_rgb(hue, rng.uniform(0.35, 0.6), rng.uniform(0.3, 0.8))) * 255
    share = rng.uniform(0.2, 0.7)
    colour = share * usual + (1 - share) * np.array(vocabulary().colours[product.colour])
    placement = _placement(rng, 1 + LEAF_WIDTH * offset)
    for patch in family.silhouette:
        corners = _corners(patch)
        points = np.column_stack([corners, np.ones(len(corners))]) @ placement.T
        canvas.polygon([(x, y) for x, y in points.tolist()], fill=_rgb(colour * patch.get("tone", 1.0)))


def _placement(rng: Generator, width: float) -> Numbers:
    # One matrix stretches, mirrors, turns, scales and shifts; homogeneous points take it in one product.
    turn = rng.normal(0, 0.25)
    stretch = np.diag([rng.normal(width, 0.1) * pick(rng, (-1, 1)), 1.0])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    scale = CANVAS_SIDE * rng.uniform(0.24, 0.42)
    shift = CANVAS_SIDE * rng.normal(0.5, 0.04, (2, 1))
    return np.hstack([scale * rotation @ stretch, shift])


def _corners(patch: Mapping[str, Any]) -> Numbers:
    """Corners of a patch, one a row; a disc is a polygon too, so that it turns like everything else."""
    if "polygon" in patch:
        return np.array(patch["polygon"], dtype=np.float64).reshape(-1, 2)
    if "box" in patch:
        left, top, right, bottom = patch["box"]
        return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=np.float64)
    x, y, width, height = patch["disc"]
    turns = [2 * pi * step / 24 for step in range(24)]
    return np.array([[x + width * cos(turn), y + height * sin(turn)] for turn in turns])


def _rgb(colour: Numbers) -> tuple[int, ...]:
    return tuple(np.clip(colour, 0, 255).astype(int).tolist())
