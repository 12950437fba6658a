"""Reads products from files of tables, in batches, with every unreadable row set aside."""

import re
import shutil
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from glob import glob
from itertools import islice
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rubrika.errors import InputError
from rubrika.products.columns import Columns, ColumnType, Kind, Layout
from rubrika.products.convert import convert, converts
from rubrika.products.identity import category_of, guessed_separator, identity, shown_id
from rubrika.products.parquet import Row, decoded, explained, open_parquet, parquet_rows, values_of
from rubrika.products.product import Batch, Category, Product, Reject
from rubrika.products.remote import is_remote, matching, reached
from rubrika.products.row import BROKEN, LINE, product_of
from rubrika.products.text import RowError

BATCH_ROWS = 2_048
# Of the columns of a label, whose texts stay in their dictionary.
LABEL_ROWS = 65_536
# A folder `category=Shoes`, as Hive and Spark write a column that all rows of its files share.
_PARTITION = re.compile(r"(\w+)=(.*)")
# Of whole numbers as texts, those that int64 is sure to hold.
_WHOLE = r"^\s*(0|[1-9][0-9]{0,17})(\.0)?\s*$"


class Spool:
    """Tables of other formats, converted to parquet once, in a temporary folder that goes when this does."""

    def __init__(self) -> None:
        self._files: dict[Path, Path] = {}
        self._folder: Path | None = None

    def parquet(self, file: Path) -> Path:
        """The parquet file with the rows of a table."""
        if not converts(file):
            return file
        if file not in self._files:
            if self._folder is None:
                self._folder = Path(mkdtemp(prefix="rubrika-"))
                weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            target = self._folder / f"{len(self._files)}.parquet"
            convert(file, target)
            self._files[file] = target
        return self._files[file]


@dataclass(frozen=True)
class Reader:
    """Products of files of tables, as `Products`: parquet, CSV, JSON lines, Excel or Arrow, see docs/data.md."""

    files: Sequence[Path]
    labelled: bool  # whether every row must say its category
    group_by: str | None = None  # a column whose value marks rows that belong together, kept as `Product.group`
    batch_rows: int = BATCH_ROWS
    columns: Columns = field(default_factory=Columns)  # where they are called otherwise than in docs/data.md
    spool: Spool = field(default_factory=Spool, repr=False, compare=False)

    def __len__(self) -> int:
        """How many rows the files hold, good and bad, without reading them."""
        return sum(self._open(file).metadata.num_rows for file in self.files)

    def check(self) -> None:
        """Open every file and look at its columns, so that a wrong file is known before any work is done."""
        for file in self.files:
            self._layout(file)

    def id_type(self) -> pa.DataType:
        """What holds the product ids: the integer type of the files, else the one that all fit, or text for texts."""
        kinds = dict.fromkeys(self._id_type(file) for file in self.files)
        if len(kinds) == 1:
            return next(iter(kinds))
        return next((kind for kind in (pa.string(), pa.uint64()) if kind in kinds), pa.int64())

    def __iter__(self) -> Iterator[Batch]:
        """Yield the rows in file order, `batch_rows` at a time; at damage an InputError, after the rows before it."""
        for file in self.files:
            layout = self.layout(file)
            yield from batches(layout, self.rows(layout), partial(product_of, layout=layout), self.batch_rows)

    def rows(self, layout: Layout, start: int = 0, stop: int | None = None) -> Iterator[Row]:
        """Every row of the file of this layout as values by column name, or those from `start` to before `stop`."""
        file, constants = layout.source, partitions(layout.source)

        def wanted(parquet: pq.ParquetFile) -> list[str]:
            own = [name for name in (BROKEN, LINE) if name in parquet.schema_arrow.names]
            return [name for name in layout.columns if name not in constants] + own

        for row in parquet_rows(self.spool.parquet(file), wanted, self.batch_rows, file, start, stop):
            yield {**constants, **row} if constants else row

    def labels(self) -> Counter[Category]:
        """How many rows have each label; only these columns are read, and what is damaged is passed over."""
        counts = Counter[Category]()
        for file in self.files:
            with suppress(InputError):
                for cells, count in self._label_cells(file):
                    with suppress(RowError):
                        counts[category_of(cells, self.separator, self.columns.known)] += count
        return counts

    @cached_property
    def separator(self) -> str | None:
        """What stands between the levels of a category's path."""
        if self.columns.separator or not self.labelled:
            return self.columns.separator
        texts = dict[str, None]()
        for file in self.files:
            with suppress(InputError):
                texts |= {str(cells[-1]): None for cells, _ in self._label_cells(file) if cells[-1]}
        return guessed_separator(list(texts))

    @property
    def pictured(self) -> bool:
        """Whether rows hold pictures."""
        return any(self._layout(file).pictured for file in self.files)

    def layout(self, file: Path) -> Layout:
        """Which column of a file holds what."""
        return replace(self._layout(file), separator=self.separator)

    def _layout(self, file: Path) -> Layout:
        constants = partitions(file)
        with self._open(file) as parquet, explained(file, "not a readable parquet file"):
            schema = parquet.schema_arrow
            own = [name for name in schema.names if name not in (BROKEN, LINE)]
            names = [*own, *(name for name in constants if name not in own)]
        texts = ColumnType("text", "text")
        return self.columns.layout(
            file,
            names,
            lambda name: type_of(schema.field(name).type) if name in own else texts,
            self.labelled,
            self.group_by,
        )

    def _open(self, file: Path) -> pq.ParquetFile:
        return open_parquet(self.spool.parquet(file), shown=file)

    def _id_type(self, file: Path) -> pa.DataType:
        column = self._layout(file).at["product_id"]
        with self._open(file) as parquet:
            if column in partitions(file):
                return pa.string()
            kind = parquet.schema_arrow.field(column).type
            if type_of(kind).kind not in ("text", "bytes"):
                # A decimal number may be beyond what int64 holds.
                other = pa.uint64() if pa.types.is_decimal(kind) else pa.int64()
                return kind if pa.types.is_integer(kind) else other
            with explained(file, "damaged"):
                for table in decoded(parquet, [column], LABEL_ROWS):
                    texts = table.column(column).cast(pa.binary())
                    if pc.all(pc.match_substring_regex(texts, _WHOLE)).as_py() is False:
                        return pa.string()
        return pa.int64()

    def _label_cells(self, file: Path) -> Iterator[tuple[Sequence[object], int]]:
        """The cells of a file's labels, part by part, each with its number of rows there."""
        columns, constants = self._layout(file).label, partitions(file)
        with self._open(file) as parquet, explained(file, "damaged"):
            if not set(columns) <= set(parquet.schema_arrow.names):
                yield from ((row, 1) for row in self._constant_labels(parquet, columns, constants))
                return
            own = open_parquet(self.spool.parquet(file), [columns[-1]], shown=file)
            for table in decoded(own, columns, LABEL_ROWS):
                names = table.column(columns[-1])
                names = names if pa.types.is_dictionary(names.type) else names.dictionary_encode()
                texts = dict(enumerate(values_of(names.dictionary)))
                parts = {"name": names.indices} | ({"id": table.column(columns[0])} if len(columns) > 1 else {})
                pairs = pa.table(parts).group_by([*parts], use_threads=False)
                for row in pairs.aggregate([([], "count_all")]).to_pylist():
                    text = texts[row["name"]] if row["name"] is not None else None
                    name = None if text is None else str(text)
                    yield (row["id"], name) if "id" in row else (name,), row["count_all"]

    def _constant_labels(
        self, parquet: pq.ParquetFile, columns: Sequence[str], constants: dict[str, str]
    ) -> Iterator[list[object]]:
        for table in decoded(parquet, [name for name in columns if name not in constants], LABEL_ROWS):
            rows = table.to_pylist() if table.num_columns else [{}] * table.num_rows
            yield from ([{**constants, **row}[name] for name in columns] for row in rows)


def batches(
    layout: Layout, rows: Iterator[Row], to_product: Callable[[Row, int], Product], batch_rows: int, first: int = 1
) -> Iterator[Batch]:
    """Products and rejects of rows, numbered from `first`; where reading fails, those before the damage come first."""
    numbered, source, column = enumerate(rows, first), layout.source, layout.at["product_id"]
    while True:
        products, rejects, damage = list[Product](), list[Reject](), None
        try:
            for number, row in islice(numbered, batch_rows):
                try:
                    products.append(to_product(row, number))
                except RowError as error:
                    rejects.append(_reject(layout, number, row, row.get(column), str(error)))
        except InputError as error:
            damage = error
        if products or rejects:
            yield Batch(source, products, rejects)
        if damage:
            raise damage
        if len(products) + len(rejects) < batch_rows:
            return


def _reject(layout: Layout, number: int, row: Row, value: object, reason: str) -> Reject:
    id, key = None, ""
    with suppress(RowError):
        id, key = identity("product_id", value, exact=layout.exact.get(layout.at["product_id"], 0))
    # Where a record spans lines, its number says little.
    line = row.get(LINE)
    at = "" if line is None or reason.startswith("line ") else f"line {line}: "
    shown = key or ("" if value is None else shown_id(value))
    return Reject(layout.source, number, shown, f"{at}{reason}", id)


def partitions(file: Path) -> dict[str, str]:
    """The columns that all rows of a file share, from the names of its folders."""
    found = (_PARTITION.fullmatch(part) for part in file.parts[:-1])
    return {match[1]: unquote(match[2]) for match in found if match}


def tables_in(path: Path) -> list[Path]:
    """The tables that a path stands for: a file, those in a folder, or those that match a pattern with * or ?."""
    with reached(path):
        if path.is_dir():
            return _in_folder(path)
        if path.exists() or not re.search(r"[*?\[]", str(path)):
            return [path]
        here = (Path(name) for name in glob(str(path), recursive=True) if Path(name).is_file())
        found = sorted(matching(path) if is_remote(path) else here)
    if not found:
        raise InputError(f"{path}: no file is called so; check the pattern")
    return found


def _in_folder(folder: Path) -> list[Path]:
    if (folder / "dataset_dict.json").exists():
        raise InputError(f"{folder}: a data set in several parts; name one of them, such as {folder / 'train'}")
    found = sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and (file.suffix.lower() == ".parquet" or converts(file))
        # As Spark and others mark what is no data; and a data set of Hugging Face describes itself.
        and not any(part.startswith((".", "_")) for part in file.relative_to(folder).parts)
        and not ((folder / "state.json").exists() and file.suffix == ".json")
    )  # fmt: skip
    if not found:
        raise InputError(f"{folder}: a folder without a table such as products.parquet or products.csv; name a file")
    return found


def is_labelled(files: Sequence[Path], columns: Columns | None = None) -> bool:
    """Whether all files have the columns of a label."""
    try:
        Reader(files, labelled=True, columns=columns or Columns()).check()
    except InputError:
        return False
    return True


def type_of(kind: pa.DataType) -> ColumnType:
    """What a column of an Arrow type holds."""
    types = pa.types
    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    inner = kind.value_type if types.is_dictionary(kind) else kind
    exact = 2**11 if types.is_float16(inner) else 2**24 if types.is_float32(inner) else 2**53
    tests: tuple[tuple[Kind, tuple[Callable[[pa.DataType], bool], ...]], ...] = (
        ("anything", (types.is_null,)),
        ("number", (types.is_integer, types.is_floating, types.is_decimal)),
        ("text", (types.is_string, types.is_large_string, types.is_string_view)),
        ("bytes", (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)),
        ("nested", (types.is_struct, types.is_map)),
    )
    found: Kind = next((name for name, each in tests if any(test(inner) for test in each)), "other")
    return ColumnType(inner, found, exact)
