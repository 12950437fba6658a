"""How the statistics of files look to a person in a terminal."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from rubrika.products.product import Category
from rubrika.stats.duplicates import Groups
from rubrika.stats.lengths import Histogram, Padding, Summary
from rubrika.stats.stats import TAIL_BELOW, Categories, Stats

BARS = " ▁▂▃▄▅▆▇█"
QUANTILES = ("least", "median", "90 %", "95 %", "most")


def overview_text(stats: Stats) -> str:
    """All of it as text: coloured in a terminal only, and as wide as one."""
    tables = [_lengths(stats), _padding(stats.padding), _duplicates(stats), _empty(stats)]
    if stats.categories:
        tables[2:2] = _categories(stats.categories)
    if stats.pictures:
        pictures = {"usable": stats.pictures.usable, "missing": stats.pictures.missing} | stats.pictures.broken
        tables.append(_counts("pictures", pictures, stats.products))
    tables.append(_counts("letters", {name: count for name, count in stats.scripts.items() if count}, stats.products))
    if stats.rejected:
        tables.append(_counts("rows set aside", stats.rejected, stats.rows))
    parts: list[RenderableType] = [part for table in tables for part in (table, "")]
    console = Console(highlight=False)
    with console.capture() as captured:
        console.print(Group(f"{stats.products:,} products in {stats.rows:,} rows", "", *parts))
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())


def _lengths(stats: Stats) -> Table:
    table = _table("length of a text", "in", QUANTILES)
    spreads = {"characters": stats.characters, stats.unit: stats.tokens}
    for name, spread in spreads.items():
        table.add_row(name, *_quantiles(spread))
    captions = [f"{name}, {_drawn(spread.histogram)}" for name, spread in spreads.items()]
    captions.append(f"{stats.truncated:.2%} have more than {stats.padding.limit} {stats.unit} ({stats.encoder})")
    if stats.beyond_learned:
        captions.append(f"of {stats.beyond_learned:.2%} the learned encoder reads the beginning only")
    return _said(table, *captions)


def _padding(padding: Padding) -> Table:
    table = _table(f"padding of batches of {padding.batch_rows}", "", ["tokens among places"])
    table.add_row(f"every text padded to {padding.limit}", f"{padding.fixed:.1%}")
    table.add_row("padded to the longest of a random batch", f"{padding.shuffled:.1%}")
    table.add_row("sorted by length first", f"{padding.sorted:.1%}")
    return _said(table, f"sorting saves {padding.saved:.1%} of the work of random batches")


def _categories(found: Categories) -> list[Table]:
    sizes = _table(f"{found.count:,} categories", "", QUANTILES)
    sizes.add_row("products of a category", *_quantiles(found.sizes))
    depths = ", ".join(f"{count:,} with {depth}" for depth, count in found.depths.items())
    _said(
        sizes,
        f"1, 2–3, 4–7 and so on, {_drawn(found.sizes.histogram)}",
        f"{found.singletons:,} have one product",
        f"{found.tail:,} have fewer than {TAIL_BELOW}, together {found.tail_products:.1%} of the products",
        f"the largest tenth has {found.head_products:.1%} of the products",
        f"{found.top:,} at the top of the tree; by levels: {depths}",
    )
    largest = _table("the largest categories", "", ["products"])
    for each in found.largest:
        levels = Category(each.category_id, each.category_name).levels
        largest.add_row(Text(" › ".join(levels)), f"{each.products:,}")
    return [sizes, largest]


def _duplicates(stats: Stats) -> Table:
    table = _table("duplicates", "the same", ["groups", "rows", "surplus", "largest", "at odds"])
    _add_groups(table, "product_id", stats.same_id)
    _add_groups(table, "text", stats.same_text)
    _add_groups(table, "text, nearly", stats.near_text)
    if stats.groups:
        _add_groups(table, "group", stats.groups)
    return _said(table, "surplus: all but one of each group; at odds: rows in groups of several categories")


def _add_groups(table: Table, name: str, groups: Groups) -> None:
    odds = "–" if groups.at_odds is None else f"{groups.at_odds:,}"
    counts = (groups.groups, groups.rows, groups.surplus, groups.largest)
    table.add_row(name, *(f"{count:,}" for count in counts), odds)


def _empty(stats: Stats) -> Table:
    return _counts("empty fields", {name: count for name, count in stats.empty.items() if count}, stats.rows)


def _counts(title: str, counts: dict[str, int], total: int) -> Table:
    table = _table(title, "", ["rows", "of all"])
    for name, count in counts.items():
        table.add_row(Text(name), f"{count:,}", f"{count / total:.1%}")
    return table


def _quantiles(spread: Summary) -> list[str]:
    return [f"{number:,}" for number in (spread.min, spread.median, spread.p90, spread.p95, spread.max)]


def _drawn(histogram: Histogram) -> str:
    """A histogram as a line of blocks; whatever is not nothing shows."""
    most = max(histogram.counts)
    blocks = "".join(BARS[-(-count * (len(BARS) - 1) // most)] for count in histogram.counts)
    return f"{histogram.edges[0]:,} … {histogram.edges[-1] - 1:,}: {blocks}"


def _said(table: Table, *lines: str) -> Table:
    table.caption, table.caption_justify = Text("\n".join(lines)), "left"
    return table


def _table(title: str, texts: str, figures: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(texts)
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    return table
