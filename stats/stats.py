"""Measures what is in files of products: lengths, categories, scripts, pictures, what is missing; and draws it."""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rubrika.encode.duplicates import Groups, near_duplicates, sketches_of
from rubrika.encode.hashing import MAX_CHARACTERS, features_of
from rubrika.errors import InputError
from rubrika.files import check_outputs, check_table, report_folder, table_file
from rubrika.products.columns import OPTIONAL, Columns, Layout
from rubrika.products.images import PictureError, PictureFolder, open_picture
from rubrika.products.parquet import Row
from rubrika.products.product import Category, Product, display_path, text_hash
from rubrika.products.reader import Reader, is_labelled
from rubrika.products.row import fields_of
from rubrika.products.text import RowError, plain_text
from rubrika.progress import Progress, Silent
from rubrika.report.charts import Chart, plot_bars, plot_histogram, render
from rubrika.stats.lengths import Numbers, Padding, Summary, Tokens, padding_of, tokens_of

FIELDS = ("title", "description", "attributes", "custom_characteristics", "defined_characteristics", "filters")
SCRIPTS = ("cyrillic", "latin", "other", "mixed", "none")
# A text is of one script when this share of its letters is.
MIN_SHARE = 0.9
# A category with fewer products than this is the tail: little can be learned of it.
TAIL_BELOW = 10
HEAD = 0.1
LISTED = 10
# Enough to see whether a picture is whole: a JPEG is decoded at an eighth, its end is read all the same.
SIDE = 32
# A reason may name the value it is about, so there may be as many as rows.
REASONS = 20

# The table of all categories.
SCHEMA = pa.schema({"category_id": "int64", "category_name": "string", "products": "int64", "share": "double"})
TEXT_SCHEMA = SCHEMA.set(0, pa.field("category_id", pa.string()))

_CYRILLIC, _LATIN, _OTHER, _MIXED, _NONE = range(len(SCRIPTS))
_LAST = 0xFFFF


@dataclass(frozen=True, slots=True)
class Listed:
    """One category and how many products it has."""

    category_id: int | str
    category_name: str
    products: int


@dataclass(frozen=True, slots=True)
class Categories:
    """The categories of labelled products; shares are 0 … 1."""

    count: int
    sizes: Summary  # products a category
    singletons: int
    tail: int  # categories of fewer than TAIL_BELOW products
    tail_products: float  # the share of the products in the tail
    head_products: float  # the share of the products in the largest tenth of the categories
    top: int  # names at the top of the tree
    depths: dict[int, int]  # categories by the number of their levels, without the shared root
    largest: list[Listed]  # ties by id
    every: list[Listed] = field(repr=False)  # all of them, likewise

    @classmethod
    def of(cls, ids: Numbers, named: Mapping[int, Category]) -> "Categories":
        """Of the products' category ids (n,), at least one, and the category of each id."""
        known, sizes = np.unique(ids, return_counts=True)
        order = np.argsort(-sizes, kind="stable")
        levels = [named[id].levels for id in known.tolist()]
        sorted_sizes = zip((named[id] for id in known[order].tolist()), sizes[order].tolist(), strict=True)
        every = [Listed(category.key or category.id, category.path, size) for category, size in sorted_sizes]
        tail, head = sizes[sizes < TAIL_BELOW], sizes[order][: -int(-HEAD * len(sizes) // 1)]
        return cls(
            count=len(known),
            sizes=Summary.of(sizes, doubling=True),
            singletons=int((sizes == 1).sum()),
            tail=len(tail),
            tail_products=round(float(tail.sum() / len(ids)), 4),
            head_products=round(float(head.sum() / len(ids)), 4),
            top=len({path[0] for path in levels}),
            depths=dict(sorted(Counter(map(len, levels)).items())),
            largest=every[:LISTED],
            every=every,
        )


@dataclass(frozen=True, slots=True)
class Pictures:
    """Products by their picture; `broken` counts those that cannot be used, by reason."""

    usable: int
    missing: int
    broken: dict[str, int]


@dataclass(frozen=True, slots=True)
class Stats:
    """What is in files of products; shares are 0 … 1."""

    rows: int  # good and bad
    products: int  # good rows
    rejected: dict[str, int]  # rows by their most frequent reasons
    characters: Summary  # of a text
    beyond_learned: float  # the share of texts of which the learned encoder reads the beginning only
    encoder: str  # whose tokens were counted
    unit: str
    tokens: Summary  # of a text, uncut
    truncated: float  # the share of texts of more tokens than `padding.limit`
    padding: Padding
    scripts: dict[str, int]  # products by the letters of their text
    same_id: Groups
    same_text: Groups
    near_text: Groups
    groups: Groups | None  # rows alike in the column of `group_by`
    categories: Categories | None  # None without labels
    empty: dict[str, int]  # rows that leave a field empty
    pictures: Pictures | None  # None without pictures, in a folder or in the rows

    def to_dict(self) -> dict[str, Any]:
        """Every figure, ready to be written as JSON; of all categories there is a table instead."""
        figures = asdict(self)
        if self.categories:
            del figures["categories"]["every"]
        return figures

    def write_categories(self, path: Path) -> None:
        """Write the table of all categories, the largest first, in the format of its name's end."""
        every = self.categories.every if self.categories else []
        texts = any(isinstance(each.category_id, str) for each in every)
        ids = [str(each.category_id) if texts else each.category_id for each in every]
        columns = ids, [each.category_name for each in every], [each.products for each in every]
        shares = [round(each.products / self.products, 6) for each in every]
        schema = TEXT_SCHEMA if texts else SCHEMA
        with table_file(path, schema) as target:
            target.write_table(pa.table([pa.array(column) for column in (*columns, shares)], schema=schema))


def measure(
    reader: Reader, tokens: Tokens, pictures: PictureFolder | None = None, progress: Progress | None = None
) -> Stats:
    """Measure the files of a reader, labelled or not; memory grows by some 200 bytes a product, whatever its text."""
    progress = progress or Silent()
    batches, named, rejected = [], dict[int, Category](), Counter[str]()
    with progress.stage("reading texts", len(reader)) as advance:
        for batch in reader:
            rejected.update(reject.reason for reject in batch.rejects)
            if batch.products:
                batches.append(_columns(batch.products, tokens))
            named.update({each.category.id: each.category for each in batch.products if each.category})
            advance(batch.rows)
    if not batches:
        reason = f" ({rejected.most_common(1)[0][0]})" if rejected else ""
        raise InputError(f"{reader.files[0]}: no row of it is a product{reason}; docs/data.md says what one is")
    columns = map(np.concatenate, zip(*batches, strict=True))
    ids, characters, counts, texts, sketches, scripts, groups, categories = columns
    opened = None if pictures is None else _open_all(pictures, reader, progress)
    labels = categories if reader.labelled else None
    return Stats(
        rows=len(ids) + rejected.total(),
        products=len(ids),
        rejected=dict(rejected.most_common(REASONS)),
        characters=Summary.of(characters),
        beyond_learned=round(float((characters > MAX_CHARACTERS).mean()), 4),
        encoder=tokens.encoder,
        unit=tokens.unit,
        tokens=Summary.of(counts),
        truncated=round(float((counts > tokens.limit).mean()), 4),
        padding=padding_of(counts, tokens.limit),
        scripts=dict(zip(SCRIPTS, np.bincount(scripts, minlength=len(SCRIPTS)).tolist(), strict=True)),
        same_id=Groups.of(ids, labels),
        same_text=Groups.of(texts, labels),
        near_text=Groups.of(near_duplicates(texts, sketches), labels),
        groups=Groups.of(groups, labels) if reader.group_by else None,
        categories=Categories.of(categories, named) if reader.labelled else None,
        empty=_count_empty(reader, progress),
        pictures=opened,
    )


def _columns(products: Sequence[Product], tokens: Tokens) -> tuple[NDArray[Any], ...]:
    """What is kept of n products, 176 bytes each, as `measure` unpacks it; categories are (0,) without labels."""
    texts = [product.text for product in products]
    # A sketch is of what the learned encoder reads of a text.
    features = features_of(texts)
    return (
        np.array([product.id for product in products], np.uint64),
        np.array([len(text) for text in texts], np.int64),
        tokens.count(texts, features),
        _hashed(texts),
        sketches_of(features),
        scripts_of(texts),
        _hashed([product.group for product in products]),
        np.array([product.category.id for product in products if product.category], np.int64),
    )


def _hashed(texts: Sequence[str]) -> NDArray[np.uint64]:
    return np.array([int(text_hash(text), 16) for text in texts], np.uint64)


def _count_empty(reader: Reader, progress: Progress) -> dict[str, int]:
    """How many of all rows, good and bad, leave each field empty that one of the tables has."""
    counts = Counter[str]()
    with progress.stage("looking for empty fields", len(reader)) as advance:
        for layout in map(reader.layout, reader.files):
            # `text_fields` may hold any of them; a column of texts may be called as one of them.
            fields = (name for name in FIELDS if name in layout.at or "text_fields" in layout.at)
            texts = tuple(dict.fromkeys((*fields, *layout.texts)))
            optional = [name for name in OPTIONAL if name in layout.at and name not in texts]
            counts.update(dict.fromkeys((*texts, *optional), 0))
            for row in reader.rows(layout):
                counts.update(_empty_in(row, layout, texts, optional))
                advance(1)
    return dict(counts)


def _empty_in(row: Row, layout: Layout, texts: Sequence[str], optional: Sequence[str]) -> Iterator[str]:
    try:
        fields = fields_of(row, layout)
    except RowError:
        fields = {}
    # A dictionary that cannot be read takes no column with it.
    said = {name: row.get(name) for name in layout.texts} | {name: fields[name] for name in FIELDS if name in fields}
    yield from (name for name in texts if _is_empty(said.get(name)))
    cells = {name: row.get(layout.at[name]) for name in optional}
    # A rating begins at one star: 0 is written where nobody gave any.
    yield from (name for name, cell in cells.items() if _is_empty(cell) or (name == "rating" and cell in (0, "0")))


def _is_empty(value: object) -> bool:
    """Whether there is nothing to read; the depth of nested values is capped by the parser."""
    if isinstance(value, str):
        return not plain_text(value)
    if isinstance(value, dict | list | tuple | set):
        return all(map(_is_empty, value.values() if isinstance(value, dict) else value))
    return value is None or value != value


def _open_all(folder: PictureFolder, reader: Reader, progress: Progress) -> Pictures:
    opened, broken = Counter[str](), Counter[str]()
    with progress.stage("opening pictures", len(reader)) as advance:
        for batch in reader:
            for picture in (folder.find(product.own_id, product.image) for product in batch.products):
                try:
                    if picture:
                        open_picture(picture, SIDE)
                    opened["usable" if picture else "missing"] += 1
                except PictureError as error:
                    broken[str(error)] += 1
            advance(batch.rows)
    return Pictures(opened["usable"], opened["missing"], dict(sorted(broken.items())))


def scripts_of(texts: Sequence[str]) -> NDArray[np.uint8]:
    """The script of each text, a place in SCRIPTS, uint8 (n,); `none` is a text without letters."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "replace"), np.uint32)
    kinds = _letters()[np.minimum(codes, _LAST)]
    owners = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    counts = np.bincount(owners * len(SCRIPTS) + kinds, minlength=len(texts) * len(SCRIPTS))
    letters = counts.reshape(len(texts), len(SCRIPTS))[:, :_MIXED]
    total = letters.sum(axis=1)
    found = np.where(letters.max(axis=1) >= MIN_SHARE * total, letters.argmax(axis=1), _MIXED)
    return np.where(total == 0, _NONE, found).astype(np.uint8)


@lru_cache(maxsize=1)
def _letters() -> NDArray[np.uint8]:
    """The script of each character of the basic plane, by its name in Unicode."""
    scripts = {"CYRILLIC": _CYRILLIC, "LATIN": _LATIN}
    letters = np.full(_LAST + 1, _NONE, np.uint8)
    for code in filter(lambda code: chr(code).isalpha(), range(_LAST + 1)):
        letters[code] = scripts.get(unicodedata.name(chr(code), "").partition(" ")[0], _OTHER)
    return letters


def describe(
    files: Sequence[Path],
    images: Path | None = None,
    text_encoder: str | None = None,
    group_by: str | None = None,
    report: Path | None = None,
    progress: Progress | None = None,
    columns: Columns | None = None,
    output: Path | None = None,
) -> Stats:
    """Measure what is in files of products, labelled or not.

    Pictures are looked for in the folder `images`; tokens are those of `text_encoder`, by default words; `group_by` is
    a column in which rows may be alike, too; `report` is a folder for the same as a page with charts, and `output` a
    table of all categories.
    """
    columns = columns or Columns()
    reader = Reader(files, labelled=is_labelled(files, columns), group_by=group_by, columns=columns)
    reader.check()
    # Before the work: what cannot be written is known at once.
    if output and not reader.labelled:
        raise InputError(f"{files[0]}: without labels, so there is no table of categories; leave `output` out")
    if output:
        check_outputs(files, None, output)
        check_table(output)
    folder = report_folder(report) if report else None
    inside = PictureFolder(None) if reader.pictured else None
    pictures = PictureFolder.scan(images) if images else inside
    stats = measure(reader, tokens_of(text_encoder), pictures, progress)
    if folder:
        write_report(folder, stats, files)
    if output:
        stats.write_categories(output)
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
        names = [display_path(each.category_name) for each in found.largest]
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
