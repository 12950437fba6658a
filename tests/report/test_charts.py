"""Charts: the right numbers reach matplotlib, names stay whole and harmless, the same input gives the same bytes."""

import re
from collections.abc import Callable
from html import unescape
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from rubrika.errors import InputError
from rubrika.files import report_folder
from rubrika.report.charts import (
    LIGHT,
    TEMPLATES,
    Chart,
    palette,
    plot_bars,
    plot_cells,
    plot_columns,
    plot_histogram,
    plot_lines,
    plot_scatter,
    render,
)

SLY = '</title><script>alert("&\'$x$")</script>'
SWEEP = {"взвешенный": ([1, 2, 3], [0.81, 0.84, 0.85]), "мода": ([1, 2, 3], [0.81, 0.8, 0.79])}
PLOTS: dict[str, Callable[[Axes], None]] = {
    "lines": lambda axes: plot_lines(axes, SWEEP, "top_k", "F1"),
    "scatter": lambda axes: plot_scatter(axes, {"Обувь": ([0, 1], [1, 0])}, [LIGHT["c1"]]),
    "histogram": lambda axes: plot_histogram(axes, [0, 10, 20, 30], [5, 9, 1], "длина названия", {"медиана": 14}),
    "columns": lambda axes: plot_columns(axes, ["1–4", "5–9"], [0.5, 0.9], "товаров", "F1"),
    "bars": lambda axes: plot_bars(axes, ["Обувь", SLY], [40, 10]),
    "cells": lambda axes: plot_cells(axes, ["Кеды", "手机壳"], [[0, 3], [1, 0]]),
}


def drawn(name: str) -> Axes:
    axes = Figure().add_subplot()
    PLOTS[name](axes)
    return axes


def chart(name: str, hover: tuple[str, ...] = ()) -> Chart:
    return Chart(name, f"рисунок {SLY}", PLOTS[name], hover=hover)


def texts(name: str) -> list[str]:
    return [unescape(text) for text in re.findall("<text[^>]*>([^<]*)</text>", chart(name).svg())]


@pytest.mark.parametrize("name", PLOTS)
def test_a_chart_is_a_drawing_in_colours_of_the_page_and_a_picture(name: str) -> None:
    svg = chart(name).svg()
    root = ElementTree.fromstring(svg)  # noqa: S314 - drawn here
    assert (root.get("role"), root.get("aria-label")) == ("img", f"рисунок {SLY}")
    assert "<script" not in svg
    # A colour beside the palette would not change in the dark.
    assert "var(--ink)" in svg or "var(--quiet)" in svg
    assert not re.search("#[0-9a-f]{6}[^0-9a-f]", svg)
    with Image.open(BytesIO(chart(name).png())) as image:
        assert image.width == 1_280
        colours = {to_hex([part / 255 for part in colour[:3]]) for _, colour in image.getcolors(1_000_000) or []}
    assert {LIGHT["surface"], LIGHT["c1"]} <= colours or name == "cells"


@pytest.mark.parametrize("name", PLOTS)
def test_the_same_chart_has_the_same_bytes(name: str) -> None:
    assert (chart(name).svg(), chart(name).png()) == (chart(name).svg(), chart(name).png())


def test_ids_are_unique_among_charts_and_every_reference_has_its_own() -> None:
    found = [set(re.findall(r' id="([^"]*)"', chart(name).svg())) for name in PLOTS]
    assert sum(map(len, found)) == len(set.union(*found))
    for name, ids in zip(PLOTS, found, strict=True):
        assert set(re.findall(r'(?:href="|url\()#([^")]*)', chart(name).svg())) <= ids


def test_lines_go_through_their_points_and_are_named() -> None:
    assert [line.get_xydata().tolist() for line in drawn("lines").lines] == [
        [[1, 0.81], [2, 0.84], [3, 0.85]],
        [[1, 0.81], [2, 0.8], [3, 0.79]],
    ]
    assert {"взвешенный", "мода", "top_k", "F1"} <= set(texts("lines"))


def test_bars_are_as_long_as_their_values() -> None:
    assert [bar.get_width() for bar in drawn("bars").patches] == [40, 10]
    assert {"Обувь", SLY, "40", "10"} <= set(texts("bars"))


def test_columns_are_as_high_as_their_values() -> None:
    assert [bar.get_height() for bar in drawn("columns").patches] == [0.5, 0.9]
    assert {"1–4", "5–9", "0.50", "0.90", "товаров"} <= set(texts("columns"))


def test_a_histogram_has_its_counts_and_marks() -> None:
    axes = drawn("histogram")
    assert [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in axes.patches] == [
        (0, 10, 5),
        (10, 10, 9),
        (20, 10, 1),
    ]
    assert axes.lines[0].get_xdata() == [14, 14]
    assert "медиана 14" in texts("histogram")


def test_cells_are_the_fuller_the_larger_and_say_their_count() -> None:
    cells = {
        (round(bar.get_y() + 0.46), round(bar.get_x() + 0.46)): bar.get_alpha() or bar.get_facecolor()[3]
        for bar in drawn("cells").patches
    }
    assert cells[0, 1] > cells[1, 0] > cells[0, 0] == cells[1, 1]
    assert {"Кеды  1", "手机壳  2", "3", "1"} <= set(texts("cells"))


def test_markers_say_their_titles_on_hover() -> None:
    titles = re.findall("<title>([^<]*)</title></use>", chart("scatter", ("кеды", SLY)).svg())
    assert [unescape(title) for title in titles] == ["кеды", SLY]


def test_settings_of_the_user_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    before = chart("lines").svg()
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 30)
    assert chart("lines").svg() == before
    assert matplotlib.rcParams["font.size"] == 30


def test_both_palettes_have_the_same_colours_and_paper_is_light() -> None:
    assert palette().keys() == palette(dark=True).keys()
    assert len(set(LIGHT.values())) == len(LIGHT)
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    assert "@media screen and (prefers-color-scheme: dark)" in style
    assert "@media print" in style


def test_a_page_loads_nothing_and_escapes_its_values() -> None:
    page = render("page.html", {}, title=f"Отчёт {SLY}\x00\ud800")
    assert "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\"" in page
    assert "<script" not in page
    assert f"<h1>Отчёт {SLY}</h1>" in unescape(page)


def test_a_report_without_its_libraries_is_refused_before_the_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("rubrika.files.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs matplotlib and jinja2; install `rubrika\[report\]`"):
        report_folder(tmp_path / "report")
