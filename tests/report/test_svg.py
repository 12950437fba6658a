"""Charts: right places, whole titles, nothing unescaped, and a PNG from the same drawing."""

from io import BytesIO
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from rubrika.report.axes import Axis, Frame, axis_over
from rubrika.report.markup import Markup, element, joined
from rubrika.report.page import POLICY, Section, page, table
from rubrika.report.png import png
from rubrika.report.svg import Series, bars, columns, heat, histogram, lines, scatter
from rubrika.report.theme import DARK, LIGHT, page_style

SVG = "{http://www.w3.org/2000/svg}"
SWEEP = [Series("взвешенный", [1, 2, 3], [0.81, 0.84, 0.85]), Series("мода", [1, 2, 3], [0.81, 0.8, 0.79], colour=2)]
CHARTS = {
    "lines": lines(SWEEP, Axis("top_k", 1, 3), Axis("F1", 0.7, 0.9), "F1 по числу соседей"),
    "scatter": scatter([Series("Обувь", [0.0, 1.0], [1.0, 0.0], ["кеды", "туфли"])], "карта"),
    "histogram": histogram([0, 10, 20, 30], [5, 9, 1], "длина названия", {"медиана": 14}),
    "columns": columns(["1–4", "5–9"], [0.5, 0.9], "товаров", Axis("F1", 0, 1), ["мало", "много"]),
    "bars": bars([("Обувь", 40), ("Чехлы", 10)], "категории"),
    "heat": heat(["Кеды", "Туфли"], ["Кеды", "Туфли"], [[0, 3], [1, 0]], "что за что принято"),
}


def parsed(chart: Markup) -> ElementTree.Element:
    return ElementTree.fromstring(chart)  # noqa: S314 - drawn here


def tags(chart: Markup, name: str) -> list[ElementTree.Element]:
    return list(parsed(chart).iter(SVG + name))


def titles(chart: Markup) -> list[str]:
    return [str(title.text) for title in tags(chart, "title")]


@pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS)
def test_a_chart_is_a_drawing_that_can_be_read_aloud_and_rasterised(chart: Markup) -> None:
    assert parsed(chart).get("role") == "img"
    assert titles(chart)[0]
    with Image.open(BytesIO(png(chart))) as image:
        assert image.width == 1_280
        colours = {colour for _, colour in image.convert("RGB").getcolors(1_000_000) or []}
    assert tuple(bytes.fromhex(LIGHT["surface"][1:])) in colours
    assert len(colours) > 2


def test_a_line_goes_through_its_points() -> None:
    first, second = tags(CHARTS["lines"], "polyline")
    heights = [float(point.split(",")[1]) for point in str(first.get("points")).split()]
    assert heights == sorted(heights, reverse=True)
    assert str(first.get("points")).split()[0] == str(second.get("points")).split()[0]
    assert "мода: 3, 0.79" in titles(CHARTS["lines"])


def test_bars_are_as_long_as_their_values() -> None:
    long, short = (float(str(bar.get("width"))) for bar in tags(CHARTS["bars"], "rect"))
    assert long == pytest.approx(4 * short, rel=0.01)


def test_a_histogram_says_its_counts_and_marks() -> None:
    assert "10 … 20: 9 products" in titles(CHARTS["histogram"])
    assert "медиана 14" in [text.text for text in tags(CHARTS["histogram"], "text")]


def test_a_scatter_shows_a_title_for_every_point() -> None:
    assert titles(CHARTS["scatter"])[1:] == ["кеды", "туфли"]


def test_a_heat_table_says_what_is_taken_for_what() -> None:
    assert "Кеды → Туфли: 3" in titles(CHARTS["heat"])


def test_titles_that_look_like_markup_stay_text() -> None:
    wild = 'чехол </title><script>alert("&")</script>\x00\ud800'
    chart = scatter([Series("Чехлы", [0.0], [0.0], [wild])], wild)
    assert titles(chart)[1] == 'чехол </title><script>alert("&")</script>'
    assert png(chart)
    assert "<script" not in page(wild, [Section(wild, [wild, table([wild], [[wild]])])])


def test_elements_escape_text_and_leave_markup_alone() -> None:
    assert element("p", "а < б", element("br"), class_="note", id=None) == '<p class="note">а &lt; б<br/></p>'
    assert joined(["<i>", Markup("<b/>")]) == "&lt;i&gt;<b/>"


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis("", 0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (Axis("", 0.79, 0.86), [0.8, 0.82, 0.84, 0.86]),
        (Axis("", 1, 10_000, logarithmic=True), [1, 10, 100, 1_000, 10_000]),
        (Axis("", 1, 60, logarithmic=True), [1, 2, 5, 10, 20, 50]),
        (Axis("", 5, 5), [5]),
    ],
)
def test_ticks_are_round(axis: Axis, ticks: list[float]) -> None:
    assert axis.ticks() == pytest.approx(ticks)


def test_an_axis_reaches_around_its_values() -> None:
    axis = axis_over("F1", [0.8123, 0.8571])
    assert axis.low <= 0.8123 < 0.8571 <= axis.high
    assert axis.high - axis.low < 0.1
    assert axis_over("", []).high > 0


def test_places_stay_within_the_frame() -> None:
    frame = Frame(Axis("", 0, 1), Axis("", 0, 1))
    assert np.array_equal(frame.across([-5, 7]), frame.across([0, 1]))
    assert (frame.down([0]) > frame.down([1])).all()


def test_both_palettes_have_the_same_colours_and_paper_is_light() -> None:
    assert LIGHT.keys() == DARK.keys()
    style = page_style()
    assert "@media screen and (prefers-color-scheme:dark)" in style
    assert "@media print" in style


def test_a_page_may_load_nothing() -> None:
    whole = page("Отчёт", [Section("Обувь", [table(["название", "F1"], [["кеды", 0.5], ["туфли", None]], ".2f")])])
    assert element("meta", http_equiv="Content-Security-Policy", content=POLICY) in whole
    assert '<td class="number">0.50</td>' in whole
    assert "–" in whole
