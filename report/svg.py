"""Charts as SVG: lines, bars, a histogram, columns, a scatter with titles on hover, a heat table.

They name classes and no colours: the stylesheet of the page, or of the picture, says what those look like.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rubrika.products.text import shortened
from rubrika.report.axes import BOTTOM, HEIGHT, LEFT, TOP, WIDTH, Axis, Frame, Places, axis_over, drawing
from rubrika.report.markup import Markup, element
from rubrika.report.theme import SERIES

ROW, NAMES, CELL = 22, 236, 26
LETTER = 7.2
MARKED = 60


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one kind.

    Args:
        name: what they are.
        x: across, (n,).
        y: up, (n,).
        titles: what each says on hover, (n,), or nothing.
        colour: 1 … 8, a colour of the theme; 0 for what is of no interest by itself.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    titles: Sequence[str] = ()
    colour: int = 1


def lines(series: Sequence[Series], x: Axis, y: Axis, label: str, diagonal: bool = False) -> Markup:
    """Lines through points; those of short series are marked. `diagonal` draws what would be perfect."""
    frame = Frame(x, y)
    parts = [frame.drawn(), _legend(series)]
    if diagonal:
        (x1, x2), (y1, y2) = frame.across([x.low, x.high]), frame.down([y.low, y.high])
        parts.append(element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_="aim"))
    for one in series:
        across, down = frame.across(one.x), frame.down(one.y)
        path = " ".join(f"{left:.1f},{top:.1f}" for left, top in zip(across, down, strict=True))
        parts.append(element("polyline", points=path, class_=f"line c{one.colour}"))
        titles = one.titles or [f"{one.name}: {x.said(a)}, {y.said(b)}" for a, b in zip(one.x, one.y, strict=True)]
        if len(one.x) <= MARKED:
            parts += _points(across, down, titles, one.colour, 3)
    return drawing(label, parts)


def scatter(groups: Sequence[Series], label: str) -> Markup:
    """Points whose nearness is all that counts, so that there are no axes; their titles are shown on hover."""
    x, y = (_span([value for group in groups for value in getattr(group, name)]) for name in ("x", "y"))
    height = WIDTH - LEFT
    top = 24 * -(-len(groups) // 3)
    parts: list[Markup] = [_legend(groups, columns=3)]
    for group in groups:
        across, down = 8 + x.shares(group.x) * (WIDTH - 16), top + 8 + (1 - y.shares(group.y)) * (height - 16)
        parts += _points(across, down, group.titles or [group.name] * len(group.x), group.colour, 2.6)
    return drawing(label, parts, height + top)


def histogram(
    edges: Sequence[float],
    counts: Sequence[float],
    label: str,
    marks: Mapping[str, float] | None = None,
    *,
    logarithmic: bool = False,
    unit: str = "products",
) -> Markup:
    """How many lie between each two edges; `marks` are values to point out, such as a median."""
    x = Axis(label, edges[0], edges[-1], logarithmic=logarithmic)
    y = axis_over(unit, [0, *counts])
    frame = Frame(x, y)
    places = frame.across(edges)
    titles = [f"{x.said(edges[i])} … {x.said(edges[i + 1])}: {counts[i]:,} {unit}" for i in range(len(counts))]
    parts = [frame.drawn(), *_columns(places[:-1], np.diff(places), frame.down(counts), titles)]
    for number, (name, value) in enumerate((marks or {}).items()):
        place = float(frame.across([value])[0])
        parts.append(element("line", x1=place, x2=place, y1=TOP - 8, y2=HEIGHT - BOTTOM, class_="aim"))
        said, end = f"{name} {x.said(value)}", place > WIDTH / 2
        anchor, left = ("end", place - 4) if end else ("start", place + 4)
        parts.append(element("text", said, x=left, y=TOP + 14 * number, text_anchor=anchor, class_="name"))
    return drawing(label, parts)


def columns(names: Sequence[str], values: Sequence[float], x: str, y: Axis, titles: Sequence[str]) -> Markup:
    """A column for each name, `titles` saying more on hover."""
    frame = Frame(Axis(x, 0, len(names)), y)
    edges = frame.across(np.arange(len(names) + 1))
    gap = np.diff(edges) * 0.15
    # The names take the places of the numbers.
    plain = Frame(Axis(x, 0, -1), y).drawn()
    middles = (edges[:-1] + edges[1:]) / 2
    named = [
        element("text", name, x=middle, y=HEIGHT - BOTTOM + 18, text_anchor="middle")
        for name, middle in zip(names, middles, strict=True)
    ]
    tops = frame.down(values)
    said = [
        element("text", y.said(value), x=middle, y=top - 5, text_anchor="middle", class_="name")
        for value, middle, top in zip(values, middles, tops, strict=True)
    ]
    return drawing(x, [plain, *named, *_columns(edges[:-1] + gap, np.diff(edges) - 2 * gap, tops, titles), *said])


def bars(rows: Sequence[tuple[str, float]], label: str) -> Markup:
    """Bars from the left, one a row, with its name before and its value behind it."""
    most = max((value for _, value in rows), default=0) or 1
    room = WIDTH - NAMES - 80
    parts: list[Markup] = []
    for number, (name, value) in enumerate(rows):
        top, width = number * ROW + 4, max(value / most * room, 1)
        said = f"{value:,}"
        parts.append(element("text", _fitted(name, NAMES), x=NAMES - 8, y=top + 14, text_anchor="end", class_="name"))
        bar = element("title", f"{name}: {said}")
        parts.append(element("rect", bar, x=NAMES, y=top + 2, width=width, height=ROW - 6, rx=2, class_="fill c1"))
        parts.append(element("text", said, x=NAMES + width + 6, y=top + 14))
    return drawing(label, parts, len(rows) * ROW + 8)


def heat(rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]], label: str) -> Markup:
    """A table of cells, the fuller the larger; columns go by their number, rows by number and name."""
    most = max((value for row in values for value in row), default=0) or 1
    left, top = NAMES + 24, 24
    parts = [
        element("text", str(place + 1), x=left + (place + 0.5) * CELL, y=top - 8, text_anchor="middle")
        for place in range(len(columns))
    ]
    for number, (name, row) in enumerate(zip(rows, values, strict=True)):
        y = top + number * CELL
        shown = f"{_fitted(name, left - 32)} {number + 1}"
        parts.append(element("text", shown, x=left - 8, y=y + 17, text_anchor="end", class_="name"))
        for place, value in enumerate(row):
            title = element("title", f"{name} → {columns[place]}: {value:,g}")
            x, strength = left + place * CELL, f"{0.06 + 0.74 * value / most:.2f}" if value else "0.03"
            box = {"x": x + 1, "y": y + 1, "width": CELL - 2, "height": CELL - 2, "rx": 2}
            parts.append(element("rect", title, **box, fill_opacity=strength, class_="cell fill c1"))
            if value:
                parts.append(
                    element("text", f"{value:g}", x=x + CELL / 2, y=y + 17, text_anchor="middle", class_="name")
                )
    return drawing(label, parts, top + len(rows) * CELL + 4)


def _span(values: Sequence[float]) -> Axis:
    return Axis("", min(values, default=0.0), max(values, default=1.0))


def _columns(lefts: Places, widths: Places, tops: Places, titles: Sequence[str]) -> list[Markup]:
    bottom = HEIGHT - BOTTOM
    return [
        element(
            "rect",
            element("title", title),
            x=left + min(1, width / 8),
            width=max(width - min(2, width / 4), 0.5),
            y=top,
            height=max(bottom - top, 0),
            class_="fill c1",
        )
        for left, width, top, title in zip(lefts, widths, tops, titles, strict=True)
    ]


def _points(across: Places, down: Places, titles: Sequence[str], colour: int, radius: float) -> list[Markup]:
    return [
        element("circle", element("title", title), cx=x, cy=y, r=radius, class_=f"point fill c{colour}")
        for x, y, title in zip(across, down, titles, strict=True)
    ]


def _legend(series: Sequence[Series], columns: int = SERIES) -> Markup:
    """Names with their colours, from the right end of the first line; nothing where one series speaks for itself."""
    if len(series) < 2:
        return Markup("")
    parts = []
    if columns < SERIES:
        width = WIDTH / columns
        places = [(8 + width * (i % columns), 16 + 24 * (i // columns)) for i in range(len(series))]
        names = [_fitted(one.name, width - 24) for one in series]
    else:
        names = [one.name for one in series]
        ends = np.cumsum([len(name) * LETTER + 28 for name in reversed(names)])[::-1]
        places = [(WIDTH - float(end), 14) for end in ends]
    for one, name, (x, y) in zip(series, names, places, strict=True):
        parts.append(element("circle", cx=x, cy=y - 4, r=5, class_=f"fill c{one.colour}"))
        parts.append(element("text", name, x=x + 10, y=y, class_="name"))
    return element("g", *parts)


def _fitted(name: str, room: float) -> str:
    return shortened(name, max(int(room / LETTER), 4))
