"""Draws a chart as a PNG, from the very SVG that the page shows."""

from importlib.util import find_spec

from rubrika.report.axes import WIDTH
from rubrika.report.markup import Markup
from rubrika.report.theme import LIGHT, chart_style

SHARPNESS = 2

MISSING = "no PNG of the plots: that needs resvg-py; install `rubrika[report]`"


def can_draw() -> bool:
    """Whether what draws is installed, by the extra `report`."""
    return find_spec("resvg_py") is not None


def png(svg: Markup) -> bytes:
    """A chart on the light page, in the fonts of this machine, twice as sharp as it is large."""
    import resvg_py

    drawn: bytes = resvg_py.svg_to_bytes(
        svg_string=svg,
        style_sheet=chart_style(LIGHT.__getitem__),
        background=LIGHT["surface"],
        width=WIDTH * SHARPNESS,
        sans_serif_family="DejaVu Sans",
    )
    return bytes(drawn)
