"""Statistics as a page for a browser, `stats.html`, and every figure of them beside it, `stats.json`."""

import json
from collections.abc import Sequence
from pathlib import Path

from rubrika.products.product import Category
from rubrika.report.markup import Markup
from rubrika.report.page import Section, figures, note, page, table
from rubrika.report.svg import bars, histogram
from rubrika.stats.duplicates import Groups
from rubrika.stats.lengths import Spread
from rubrika.stats.stats import TAIL_BELOW, Categories, Stats

PAGE, FIGURES = "stats.html", "stats.json"


def write_report(folder: Path, stats: Stats, files: Sequence[Path]) -> None:
    """Write `stats.html` and `stats.json` into a folder, as `report_folder` gives it."""
    found = json.dumps(stats.to_dict(), ensure_ascii=False, indent=1)
    (folder / FIGURES).write_text(found + "\n", encoding="utf-8")
    title = f"What is in {', '.join(file.name for file in files) if len(files) < 4 else f'{len(files):,} files'}"
    (folder / PAGE).write_text(page(title, _sections(stats)), encoding="utf-8")


def _sections(stats: Stats) -> list[Section]:
    return [
        Section("At a glance", [_glance(stats)]),
        Section("Texts", _texts(stats)),
        *([Section("Categories", _categories(stats.categories))] if stats.categories else []),
        Section("Duplicates", _duplicates(stats)),
        Section("Empty fields", _empty(stats)),
        Section("Letters", [bars([(name, count) for name, count in stats.scripts.items() if count], "products")]),
        *([Section("Pictures", _pictures(stats))] if stats.pictures else []),
        *([Section("Rows set aside", [_counted("reason", stats.rejected)])] if stats.rejected else []),
    ]


def _glance(stats: Stats) -> Markup:
    shown = [
        ("products", f"{stats.products:,}"),
        *([("categories", f"{stats.categories.count:,}")] if stats.categories else []),
        ("characters in the median text", f"{stats.characters.median:,}"),
        (f"of texts over {stats.padding.limit} {stats.unit}", f"{stats.truncated:.2%}"),
        ("of an encoder's work saved by sorting", f"{stats.padding.saved:.0%}"),
        ("have a near duplicate", f"{stats.near_text.rows / stats.products:.1%}"),
    ]
    return figures(shown)


def _texts(stats: Stats) -> list[str]:
    padding, rows = stats.padding, []
    for name, spread in (("characters", stats.characters), (stats.unit, stats.tokens)):
        rows.append([name, spread.min, spread.median, spread.p90, spread.p95, spread.max, spread.mean])
    density = [
        [f"every text padded to {padding.limit}", f"{padding.fixed:.1%}"],
        [f"random batches of {padding.batch_rows}", f"{padding.shuffled:.1%}"],
        [f"batches of {padding.batch_rows}, sorted by length", f"{padding.sorted:.1%}"],
    ]
    return [
        table(["length in", "least", "median", "90 %", "95 %", "most", "mean"], rows),
        _drawn(stats.characters, "characters of a text"),
        _drawn(stats.tokens, f"{stats.unit} of a text, {stats.encoder} encoder"),
        table(["batches", "tokens among places"], density),
        note("The rest of the places is padding, which costs an encoder as much as text does."),
    ]


def _drawn(spread: Spread, label: str) -> Markup:
    drawn = spread.histogram
    beyond = f" ({drawn.beyond:,} longer ones up to {spread.max:,} are not drawn)" if drawn.beyond else ""
    marks = {"median": spread.median, "95 %": spread.p95}
    return histogram(drawn.edges, drawn.counts, label + beyond, marks)


def _categories(found: Categories) -> list[str]:
    sizes, largest = found.sizes.histogram, []
    for each in found.largest:
        largest.append((" › ".join(Category(each.category_id, each.category_name).levels), each.products))
    depths = [(f"{depth} {'level' if depth == 1 else 'levels'}", count) for depth, count in found.depths.items()]
    return [
        figures(
            [
                ("with one product", f"{found.singletons:,}"),
                (f"with fewer than {TAIL_BELOW}, {found.tail_products:.1%} of the products", f"{found.tail:,}"),
                ("of the products in the largest tenth", f"{found.head_products:.1%}"),
                ("at the top of the tree", f"{found.top:,}"),
            ]
        ),
        histogram(
            sizes.edges,
            sizes.counts,
            "products of a category, each step twice the last",
            {"median": found.sizes.median},
            logarithmic=True,
            unit="categories",
        ),
        note("The depth of the tree: categories by their number of levels."),
        bars(depths, "categories by depth"),
        note("The largest categories, by products."),
        bars(largest, "products of the largest categories"),
    ]


def _duplicates(stats: Stats) -> list[str]:
    kinds = {
        "product_id": stats.same_id,
        "text": stats.same_text,
        "text, nearly": stats.near_text,
        "group": stats.groups,
    }
    rows = [[name, *_cells(groups)] for name, groups in kinds.items() if groups]
    return [
        table(["the same", "groups", "rows", "surplus", "largest", "in groups of several categories"], rows),
        note(
            "Surplus rows could go, so that one of each group is left. Texts are nearly the same when they share nine "
            "tenths of their words, neighbouring words and parts of words with the first of their group."
        ),
    ]


def _cells(groups: Groups) -> list[int | None]:
    return [groups.groups, groups.rows, groups.surplus, groups.largest, groups.at_odds]


def _empty(stats: Stats) -> list[str]:
    rows = [[name, count, f"{count / stats.rows:.1%}"] for name, count in stats.empty.items()]
    return [table(["field", "rows that leave it empty", "of all"], rows)]


def _pictures(stats: Stats) -> list[str]:
    if not stats.pictures:
        return []
    counts = {"usable": stats.pictures.usable, "missing": stats.pictures.missing} | stats.pictures.broken
    return [_counted("picture", counts)]


def _counted(name: str, counts: dict[str, int]) -> Markup:
    return table([name, "products"], list(counts.items()))
