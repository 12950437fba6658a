"""Axes: numbers to places on a plot, round ticks between them, and the frame that plots share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rubrika.report.markup import Markup, element, joined

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 32, 48
TICKS = 6

Places = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Axis:
    """One direction of a plot.

    Args:
        label: what is measured, in which unit.
        low: where it begins; above 0 when logarithmic.
        high: where it ends.
        form: how numbers are written, as in an f-string.
        logarithmic: every factor of ten takes the same room.
    """

    label: str
    low: float
    high: float
    form: str = ",.6g"
    logarithmic: bool = False

    def said(self, value: float) -> str:
        """A number as this axis writes it."""
        return format(value, self.form)

    def shares(self, values: ArrayLike) -> Places:
        """How far along the axis values (n,) are, 0 … 1; what is outside stays at its end."""
        bounds, numbers = np.array([self.low, self.high], float), np.asarray(values, float)
        if self.logarithmic:
            bounds, numbers = np.log(bounds), np.log(np.maximum(numbers, self.low))
        width = bounds[1] - bounds[0] or 1.0
        shares: Places = np.clip((numbers - bounds[0]) / width, 0.0, 1.0)
        return shares

    def ticks(self) -> list[float]:
        """Round numbers along the axis, a handful."""
        if self.logarithmic:
            first, last = int(np.floor(np.log10(self.low))), int(np.ceil(np.log10(self.high)))
            steps = (1,) if last - first > 2 else (1, 2, 5)
            all_ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
            return [tick for tick in all_ticks if self.low <= tick <= self.high]
        step = _round_step((self.high - self.low) / TICKS)
        first, last = np.ceil(self.low / step - 1e-9), np.floor(self.high / step + 1e-9)
        return [float(round(number * step, 12)) + 0.0 for number in np.arange(first, last + 1)]


def axis_over(label: str, values: ArrayLike, form: str = ",.6g") -> Axis:
    """An axis from a round number below the values to one above them."""
    numbers = np.asarray(values, float)
    low, high = (float(numbers.min()), float(numbers.max())) if numbers.size else (0.0, 1.0)
    step = _round_step((high - low) / TICKS)
    return Axis(label, float(np.floor(low / step) * step), float(np.ceil(high / step + 1e-9) * step), form)


@dataclass(frozen=True, slots=True)
class Frame:
    """A plot's two axes and the room between them, in pixels."""

    x: Axis
    y: Axis

    def across(self, values: ArrayLike) -> Places:
        """Where values are from the left."""
        return LEFT + self.x.shares(values) * (WIDTH - LEFT - RIGHT)

    def down(self, values: ArrayLike) -> Places:
        """Where values are from the top."""
        return HEIGHT - BOTTOM - self.y.shares(values) * (HEIGHT - TOP - BOTTOM)

    def drawn(self) -> Markup:
        """Grid, ticks and labels."""
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        parts = []
        for tick, place in zip(self.y.ticks(), self.down(self.y.ticks()), strict=True):
            parts.append(element("line", x1=LEFT, x2=right, y1=place, y2=place, class_="grid"))
            parts.append(element("text", self.y.said(tick), x=LEFT - 8, y=place + 4, text_anchor="end"))
        for tick, place in zip(self.x.ticks(), self.across(self.x.ticks()), strict=True):
            parts.append(element("text", self.x.said(tick), x=place, y=bottom + 18, text_anchor="middle"))
        parts.append(element("line", x1=LEFT, x2=right, y1=bottom, y2=bottom, class_="axis"))
        middle = (LEFT + right) / 2
        parts.append(element("text", self.x.label, x=middle, y=HEIGHT - 8, text_anchor="middle", class_="name"))
        parts.append(element("text", self.y.label, x=0, y=14, class_="name"))
        return joined(parts)


def drawing(label: str, parts: Sequence[str], height: float = HEIGHT) -> Markup:
    """A whole SVG, `label` being what is read aloud in its place."""
    box = f"0 0 {WIDTH} {height:g}"
    return element("svg", element("title", label), *parts, xmlns="http://www.w3.org/2000/svg", viewBox=box, role="img")


def _round_step(step: float) -> float:
    """The next of 1, 2, 5, 10 … times a power of ten."""
    if step <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(step))
    return float(next(factor for factor in (1, 2, 5, 10) if factor * power >= step * 0.999) * power)
