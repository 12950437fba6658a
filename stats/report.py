"""Statistics as a page for a browser, `stats.html`, with every figure of it in `stats.json`."""

import json
from collections.abc import Sequence
from pathlib import Path

from rubrika.files import report_folder
from rubrika.products.images import PictureFolder
from rubrika.products.product import Category
from rubrika.products.reader import Reader, is_labelled
from rubrika.progress import Progress
from rubrika.report.charts import Chart, plot_bars, plot_histogram, render
from rubrika.stats.lengths import Summary, tokens_of
from rubrika.stats.stats import TAIL_BELOW, Stats, measure


def describe(
    files: Sequence[Path],
    images: Path | None = None,
    text_encoder: str | None = None,
    group_by: str | None = None,
    report: Path | None = None,
    progress: Progress | None = None,
) -> Stats:
    """Measure what is in parquet files of products, labelled or not.

    Pictures are looked for in the folder `images`; tokens are those of `text_encoder`, by default words; `group_by` is
    a column in which rows may be alike, too; `report` is a folder for the same as a page with charts.
    """
    reader = Reader(files, labelled=is_labelled(files), group_by=group_by)
    reader.check()
    # Before the work: a folder that cannot be written is known at once.
    folder = report_folder(report) if report else None
    pictures = PictureFolder.scan(images) if images else None
    stats = measure(reader, tokens_of(text_encoder), pictures, progress)
    if folder:
        write_report(folder, stats, files)
    return stats


def write_report(folder: Path, stats: Stats, files: Sequence[Path]) -> None:
    """Write `stats.html` and `stats.json` into a folder, as `report_folder` returns it."""
    figures = json.dumps(stats.to_dict(), ensure_ascii=False, indent=1)
    names = ", ".join(file.name for file in files) if len(files) < 4 else f"{len(files):,} files"
    svgs = {chart.name: chart.svg() for chart in charts_of(stats)}
    page = render("stats.html", svgs, title=f"What is in {names}", stats=stats, tail_below=TAIL_BELOW)
    (folder / "stats.json").write_text(figures + "\n", encoding="utf-8")
    (folder / "stats.html").write_text(page, encoding="utf-8")


def charts_of(stats: Stats) -> list[Chart]:
    """All charts of the page."""
    charts = [_lengths("characters", "characters of a text", stats.characters)]
    charts.append(_lengths("tokens", f"{stats.unit} of a text", stats.tokens))
    if found := stats.categories:
        histogram, marks, x = found.sizes.histogram, {"median": found.sizes.median}, "products of a category"
        sizes = (histogram.edges, histogram.counts, x, marks, "categories")
        depths = {f"{depth} {'level' if depth == 1 else 'levels'}": count for depth, count in found.depths.items()}
        names = [" › ".join(Category(each.category_id, each.category_name).levels) for each in found.largest]
        charts += [
            Chart("sizes", "Categories by size", lambda axes: plot_histogram(axes, *sizes)),
            _bars("depths", "Categories by depth", list(depths), list(depths.values())),
            _bars("largest", "The largest categories", names, [each.products for each in found.largest]),
        ]
    scripts = {name: count for name, count in stats.scripts.items() if count}
    return [*charts, _bars("scripts", "Products by the letters of their text", list(scripts), list(scripts.values()))]


def _lengths(name: str, x: str, lengths: Summary) -> Chart:
    histogram, marks = lengths.histogram, {"median": lengths.median, "95 %": lengths.p95}
    return Chart(name, x, lambda axes: plot_histogram(axes, histogram.edges, histogram.counts, x, marks))


def _bars(name: str, title: str, names: Sequence[str], values: Sequence[int]) -> Chart:
    return Chart(name, title, lambda axes: plot_bars(axes, names, values), 0.3 + 0.22 * len(names))
