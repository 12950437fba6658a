"""Draws charts with matplotlib and renders pages with Jinja2, in one palette that has a light and a dark side."""

import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rubrika.products.text import one_line, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEMPLATES = Path(__file__).with_name("templates")
# Inches, and pixels an inch of a PNG.
WIDTH, HEIGHT, DPI = 6.4, 3.2, 200
MAX_MARKED = 60
MAX_NAME = 40
NUMBER = "{x:,g}"

Points = tuple[Sequence[float], Sequence[float]]
Forms = tuple[str, str]  # of the numbers on each axis, as of `str.format`


def palette(dark: bool = False) -> dict[str, str]:
    """The colours of the stylesheet by name: `c1` … `c8` for series, `surface`, `ink` and others for the rest."""
    light, _, night = (TEMPLATES / "style.css").read_text(encoding="utf-8").partition("prefers-color-scheme: dark")
    return dict(re.findall(r"--(\w+): (#\w+);", night if dark else light))


LIGHT = palette()
SERIES = [LIGHT[f"c{number}"] for number in range(1, 9)]

_VARIABLES = {colour: f"var(--{name})" for name, colour in LIGHT.items()}
_TAG, _GROUP, _COLOUR = re.compile("<[^>]*>"), re.compile('<g id="[^"]*"'), re.compile(r"#[0-9a-f]{6}\b")


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, drawn anew for each format."""

    name: str  # of its file, without the suffix, and of its place in a page
    title: str
    plot: Callable[["Axes"], None]
    height: float = HEIGHT  # in inches
    hover: Sequence[str] = ()  # what the first markers say on hover, in the order in which they are drawn

    def png(self) -> bytes:
        """The chart on a light page."""
        return self._saved(format="png", dpi=DPI, metadata={"Software": None})

    def svg(self) -> str:
        """The chart as an element of a page, whose stylesheet says what its colours are, light or dark."""
        hover = iter(self.hover)

        def converted(match: re.Match[str]) -> str:
            tag = _COLOUR.sub(lambda colour: _VARIABLES.get(colour[0], colour[0]), match[0])
            if tag.startswith("<use"):
                title = next(hover, None)
                end = "/>" if title is None else f"><title>{escape(title)}</title></use>"
                return tag.replace("xlink:", "").removesuffix("/>") + end
            # The ids of groups would be there once a chart, and nothing refers to them.
            return _GROUP.sub("<g", tag)

        text = self._saved(format="svg", metadata={"Date": None}).decode()
        # Before it stand a prologue and metadata; its style is in the page's own stylesheet.
        drawing = text.partition("</style>")[2].partition("</defs>")[2]
        box, label = f"0 0 {WIDTH * 72:g} {self.height * 72:g}", escape(self.title)
        start = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" role="img" aria-label="{label}">'
        return start + _TAG.sub(converted, drawing).strip()

    def _saved(self, **options: Any) -> bytes:  # noqa: ANN401 - whatever `savefig` takes
        from matplotlib import rc_context
        from matplotlib.figure import Figure

        stream = BytesIO()
        # The file replaces all settings of the user, and the salt makes ids unique among the charts of a page.
        with rc_context({"svg.hashsalt": self.name}, TEMPLATES / "chart.mplstyle"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            figure = Figure((WIDTH, self.height), layout="constrained")
            self.plot(figure.add_subplot())
            figure.savefig(stream, **options)
        return stream.getvalue()


def plot_lines(
    axes: "Axes", lines: Mapping[str, Points], x: str, y: str, forms: Forms = (NUMBER, NUMBER), dashed: str = ""
) -> None:
    """Lines through points by their names, `dashed` that of a reference; the points of short lines are marked."""
    for (name, points), colour in zip(lines.items(), SERIES, strict=False):
        style: dict[str, Any] = {"color": colour, "marker": "o" if len(points[0]) <= MAX_MARKED else None}
        if name == dashed:
            style = {"color": LIGHT["quiet"], "linestyle": (0, (4, 4)), "linewidth": 1}
        axes.plot(*points, markersize=3.5, label=fitted(name), **style)
    _label(axes, x, y, *forms)
    axes.locator_params(axis="x", integer="%" not in forms[0])
    if len(lines) > 1:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0)


def plot_scatter(axes: "Axes", groups: Mapping[str, Points], colours: Iterable[str]) -> None:
    """Points of which only the nearness counts, so that there are no axes."""
    edge: dict[str, Any] = {"markeredgecolor": LIGHT["surface"], "markeredgewidth": 0.3}
    for (name, points), colour in zip(groups.items(), colours, strict=True):
        axes.plot(*points, "o", color=colour, markersize=4, label=fitted(name, 28), **edge)
    axes.set_axis_off()
    axes.margins(0.02)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)


def plot_columns(axes: "Axes", names: Sequence[str], values: Sequence[float], x: str, y: str) -> None:
    """A column for each name, with its value, 0 … 1, above it."""
    axes.bar_label(axes.bar(names, values, 0.7, color=SERIES[0]), fmt="{:.2f}", padding=2)
    _label(axes, x, y, y_form="{x:.1f}")
    axes.set_ylim(0, 1)


def plot_cells(axes: "Axes", names: Sequence[str], counts: Sequence[Sequence[int]]) -> None:
    """A square table of counts, the fuller the larger; columns go by the numbers of the rows."""
    size, largest = len(names), max(map(max, counts)) or 1
    for row in range(size):
        strengths = [0.06 + 0.74 * count / largest if count else 0.03 for count in counts[row]]
        axes.bar(range(size), 0.92, 0.92, row - 0.46, color=[(SERIES[0], strength) for strength in strengths])
        for column, count in enumerate(counts[row]):
            if count:
                axes.text(column, row, f"{count:,}", ha="center", va="center_baseline")
    axes.set_yticks(range(size), [f"{fitted(name)}  {number}" for number, name in enumerate(names, 1)])
    axes.set_xticks(range(size), [str(number) for number in range(1, size + 1)])
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines["bottom"].set_visible(False)
    axes.margins(0)
    axes.invert_yaxis()


def plot_histogram(
    axes: "Axes", edges: Sequence[int], counts: Sequence[int], x: str, marks: Mapping[str, float], y: str = "products"
) -> None:
    """How many lie between each two edges, with values to point out, such as a median."""
    widths = [high - low for low, high in pairwise(edges)]
    axes.bar(edges[:-1], counts, widths, align="edge", color=SERIES[0], edgecolor=LIGHT["surface"], linewidth=0.5)
    # Edges that double begin at 1.
    if edges[0]:
        axes.set_xscale("log", base=2)
    _label(axes, x, y)
    axes.set_xlim(edges[0], edges[-1])
    for number, (name, value) in enumerate(marks.items()):
        axes.axvline(value, color=LIGHT["quiet"], linestyle=(0, (4, 4)), linewidth=1)
        place = axes.get_xaxis_transform()
        axes.annotate(f"{name} {value:,g}", (value, 1), (4, -6 - 10 * number), place, "offset points")


def plot_bars(axes: "Axes", names: Sequence[str], values: Sequence[float]) -> None:
    """A bar for each name, from the top, with its value behind it."""
    axes.bar_label(axes.barh(range(len(names)), values, 0.7, color=SERIES[0]), fmt="{:,g}", padding=3)
    axes.set_yticks(range(len(names)), [fitted(name) for name in names])
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.margins(x=0.12)
    axes.invert_yaxis()


def _label(axes: "Axes", x: str, y: str, x_form: str = "", y_form: str = NUMBER) -> None:
    axes.set_xlabel(x)
    axes.set_title(y)
    axes.grid(axis="y")
    axes.yaxis.set_major_formatter(y_form)
    if x_form:
        axes.xaxis.set_major_formatter(x_form)


def fitted(name: str, length: int = MAX_NAME) -> str:
    """A name as it fits into a chart."""
    return shortened(one_line(name), length)


# What XML 1.0 does not allow in any form, and UTF-8 cannot write.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(template: str, svgs: Mapping[str, str], **values: object) -> str:
    """A page from a template of this room, of charts by their names, and of values, which are all escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(TEMPLATES)
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    # `{{ 0.5|form(".1%") }}`, as in an f-string.
    pages.filters["form"] = format
    return _FORBIDDEN.sub("", pages.get_template(template).render(values, svgs=svgs))
