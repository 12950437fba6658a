"""Turns a table of another format into a parquet file, so that one reader has the rest: CSV, JSON, Excel, Arrow.

Each row of the table is a row of that file, also one that cannot be read: then its column BROKEN says why.
"""

import codecs
import csv
import gzip
import io
import json
import re
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from rubrika.errors import InputError
from rubrika.products.columns import each_once
from rubrika.products.parquet import file_size, most_unpacked
from rubrika.products.remote import is_remote
from rubrika.products.row import BROKEN, LINE, plain_value
from rubrika.products.text import MAX_CHARACTERS, first_line

MARKS = ",;\t|"
CYRILLIC = ("cp1251", "koi8_r", "cp866")
# A record of more lines, or characters, has a quote that is not closed.
MAX_LINES, MAX_RECORD = 1_000, 1_000_000
SAMPLE, MAX_COLUMNS = 262_144, 2_000  # the bytes by which an encoding is guessed; the columns of a table
ROWS = 4_096
MAX_JSON = 512_000_000  # of a file that is one list

# A row of cells by column name, or why it is none; and the line that it begins at.
Record = tuple[dict[str, object] | str, int]
TEXTS = {".csv": None, ".tsv": None, ".txt": None, ".jsonl": "lines", ".ndjson": "lines", ".json": "lines"}


def converts(file: Path) -> bool:
    """Whether a file is a table that `convert` reads, by its name."""
    return _suffix(file) in (*TEXTS, ".xlsx", ".xlsm", ".arrow")


def convert(file: Path, target: Path) -> None:
    """Write the rows of a table to the parquet file `target`; InputError, naming the line, when it is no table."""
    file_size(file)
    if is_remote(file) and _suffix(file) not in TEXTS:
        raise InputError(f"{file}: of an object store parquet, CSV and JSON lines are read; copy it to this machine")
    with _explained(file):
        if _suffix(file) == ".arrow":
            _write_arrow(file, target)
        elif _suffix(file) in (".xlsx", ".xlsm"):
            _write(target, *_excel(file))
        elif TEXTS[_suffix(file)]:
            _write(target, *_json(file))
        else:
            _write(target, *_csv(file))


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # The readers of these formats raise whatever their parsing stumbles over.
        reason = first_line(str(error)) or type(error).__name__
        raise InputError(f"{file}: cannot be read as {_suffix(file)[1:]} ({reason}); export it again") from None


def _suffix(file: Path) -> str:
    suffixes = [suffix.lower() for suffix in file.suffixes]
    return suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else (suffixes or [""])[-1]


def _write(target: Path, names: Sequence[str], records: Iterator[Record]) -> None:
    """Write records of texts."""
    schema = pa.schema([*((name, pa.string()) for name in (*names, BROKEN)), (LINE, pa.int64())])
    with pq.ParquetWriter(target, schema, compression="zstd", compression_level=1) as writer:
        while batch := list(islice(records, ROWS)):
            rows = [({BROKEN: row} if isinstance(row, str) else row) | {LINE: line} for row, line in batch]
            columns = [pa.array([row.get(name) for row in rows], schema.field(name).type) for name in schema.names]
            writer.write_table(pa.table(columns, schema=schema))


class _Unpacked(gzip.GzipFile):
    """What is packed in a file, in parts; InputError where that is more than texts are ever packed to."""

    def __init__(self, file: Path) -> None:
        remote = is_remote(file)
        super().__init__(None if remote else file, "rb", fileobj=file.open("rb") if remote else None)
        self._file, self._count, self._most = file, 0, most_unpacked(file_size(file))

    def read(self, size: int | None = -1) -> bytes:
        return self._counted(super().read(size))

    def read1(self, size: int = -1) -> bytes:
        return self._counted(super().read1(size))

    def _counted(self, part: bytes) -> bytes:
        self._count += len(part)
        if self._count > self._most:
            raise InputError(f"{self._file}: damaged: it unpacks to more than {self._most:,} bytes; export it again")
        return part


def _binary(file: Path) -> IO[bytes]:
    return cast("IO[bytes]", _Unpacked(file)) if file.suffix.lower() == ".gz" else file.open("rb")


def encoding_of(file: Path) -> str:
    """The encoding of a text file: what its first bytes say, UTF-8 if all of it is, else the likeliest of a few."""
    with _binary(file) as source:
        start = source.read(4)
        for mark, name in ((codecs.BOM_UTF8, "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
            if start.startswith(mark):
                return name
        decoder, part = codecs.getincrementaldecoder("utf-8")(), start
        try:
            while part:
                decoder.decode(part)
                part = source.read(SAMPLE)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return _older_encoding(start + part)
    return "utf-8"


def _older_encoding(sample: bytes) -> str:
    """Of letters beyond ASCII, Russian has whole words, other languages of Europe one here and there."""
    runs = [len(run) for run in re.findall(rb"[\x80-\xff]+", sample)]
    if 2 * sum(length for length in runs if length > 1) < sum(runs):
        return "cp1252"
    # Read by another encoding, small letters become capital ones or no letters at all.
    return max(CYRILLIC, key=lambda name: len(re.findall("[а-яё]", sample.decode(name, "replace"))))


@dataclass(frozen=True)
class _Text:
    """A text file, and how it is read."""

    file: Path
    encoding: str
    end: str  # of a line

    @classmethod
    def of(cls, file: Path) -> "_Text":
        """Find the encoding and the end of lines, which takes reading all of it."""
        encoding = encoding_of(file)
        with _binary(file) as source, io.TextIOWrapper(source, encoding, "replace", newline="") as text:
            start = text.read(SAMPLE)
            # pandas leaves a lone \r within a cell as it is; only very old files end their lines so.
            # The sample may be a part of one line, or end within \r\n.
            return cls(file, encoding, "\r" if "\r" in start[:-1] and "\n" not in start else "\n")

    @contextmanager
    def lines(self) -> Iterator[Iterator[str]]:
        """Its lines with their ends; what no encoding has stays visible as a replacement."""
        with _binary(self.file) as source, io.TextIOWrapper(source, self.encoding, "replace", newline=self.end) as text:
            yield map(_without_returns, iter(lambda: text.readline(MAX_CHARACTERS), ""))


def _without_returns(line: str) -> str:
    return line[:-2].replace("\r", " ") + line[-2:] if "\r" in line else line


def _csv(file: Path) -> tuple[list[str], Iterator[Record]]:
    text = _Text.of(file)
    with text.lines() as lines:
        start = list(islice(lines, 20))
    if not any(line.strip() for line in start):
        raise InputError(f"{file}: empty; export it again")
    mark = _mark(start, file)
    with text.lines() as lines:
        names = [name.strip() for name in next(csv.reader(_dense(lines), delimiter=mark))]
    if len(names) > MAX_COLUMNS:
        raise InputError(
            f"{file} line 1: {len(names):,} columns, more than the {MAX_COLUMNS:,} that are read; name them"
        )
    # A column without a name is an index that pandas wrote; a name may stand twice, and is refused if it is wanted.
    names = each_once(names)
    return names, _csv_records(text, mark, names)


def _dense(lines: Iterator[str]) -> Iterator[str]:
    return (line for line in lines if line.strip())


def _mark(start: list[str], file: Path) -> str:
    """What stands between the columns: the mark that makes most of them, the same number in most lines."""
    if file.name.lower().removesuffix(".gz").endswith(".tsv"):
        return "\t"

    def score(mark: str) -> tuple[int, int]:
        widths = list(_widths(iter(start), mark)) or [0]
        return (widths.count(widths[0]) if widths[0] > 1 else 0, widths[0])

    return max(MARKS, key=lambda mark: (score(mark)[1] > 1, score(mark)))


def _widths(lines: Iterator[str], mark: str) -> Iterator[int]:
    """How many cells each record has, but for those that cannot be read."""
    taken = [""]
    while taken:
        cells, taken, _ = _next_record(lines, mark)
        if cells:
            yield len(cells)


def _csv_records(text: _Text, mark: str, names: Sequence[str]) -> Iterator[Record]:
    """Every record; where a quote is not closed, its line alone is broken, and the lines after it are read again."""
    with text.lines() as source:
        waiting, line, is_header = deque[str](), 1, True
        while True:
            cells, taken, reason = _next_record(chain(_drained(waiting), source), mark)
            if not taken:
                return
            if len(cells) > len(names) and not any(cells[len(names) :]):
                cells = cells[: len(names)]
            if not (is_header or _is_blank(taken)) and (reason or len(cells) != len(names)):
                reason = reason or f"{len(cells)} cells instead of {len(names)}"
                if len(taken) > 1:
                    # The quote that opens in the first of these lines has swallowed the others.
                    taken, reason, waiting = taken[:1], "a quote is not closed", deque([*taken[1:], *waiting])
                yield f"line {line}: {reason}", line
            elif not _is_blank(taken):
                if not is_header:
                    yield {name: cell or None for name, cell in zip(names, cells, strict=True)}, line
                is_header = False
            line += len(taken)


def _drained(waiting: deque[str]) -> Iterator[str]:
    while waiting:
        yield waiting.popleft()


def _is_blank(lines: Sequence[str]) -> bool:
    return not any(line.strip() for line in lines)


def _next_record(source: Iterator[str], mark: str) -> tuple[list[str], list[str], str]:
    """The cells of the next record, the lines that it took, and what is wrong with it."""
    taken, length, is_open = list[str](), 0, False

    def feed() -> Iterator[str]:
        nonlocal length, is_open
        for line in source:
            taken.append(line)
            length += len(line)
            yield line
            if len(taken) >= MAX_LINES or length >= MAX_RECORD:
                break
        # More lines are asked for within a quote alone.
        is_open = True

    try:
        cells = next(csv.reader(feed(), delimiter=mark), [])
        return cells, taken, "a quote is not closed" if is_open else ""
    except csv.Error as error:
        return [], taken, str(error)


def _json(file: Path) -> tuple[list[str], Iterator[Record]]:
    """Objects, one a line or in one list; nested values are kept as JSON."""
    text = _Text.of(file)
    with text.lines() as lines:
        start = next((line for line in lines if line.strip()), "")
    is_list = _suffix(file) == ".json" and start.lstrip().startswith("[")
    read = partial(_listed, _whole_list(text)) if is_list else partial(_objects, text)
    # In the order of their first appearance.
    names = dict.fromkeys(name for value, _ in read() if isinstance(value, dict) for name in value)
    if not names or len(names) > MAX_COLUMNS:
        raise InputError(f"{file}: no objects with up to {MAX_COLUMNS:,} names in all; write one a line")

    def records() -> Iterator[Record]:
        for value, line in read():
            if isinstance(value, dict):
                yield {name: _cell(each) for name, each in value.items()}, line
            else:
                yield f"line {line}: not a JSON object", line

    return list(names), records()


def _whole_list(text: _Text) -> list[object]:
    with text.lines() as lines:
        parts, length = list[str](), 0
        for line in lines:
            parts.append(line)
            length += len(line)
            if length > MAX_JSON:
                raise InputError(
                    f"{text.file}: a list of more than {MAX_JSON // 10**6} MB; write an object a line, as .jsonl"
                )
    return list(json.loads("".join(parts)))


def _listed(values: list[object]) -> Iterator[tuple[object, int]]:
    return ((value, place) for place, value in enumerate(values, 1))


def _objects(text: _Text) -> Iterator[tuple[object, int]]:
    with text.lines() as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _loaded(line), number


def _loaded(line: str) -> object:
    try:
        # Names must be what UTF-8 can hold.
        value = json.loads(line)
        return {str(_cell(name)): each for name, each in value.items()} if isinstance(value, dict) else None
    except (ValueError, RecursionError):
        return None


def _cell(value: object) -> str | None:
    if value is None or isinstance(value, str):
        # What UTF-8 cannot hold would spoil the whole file.
        return None if value is None else value.encode("utf-8", "replace").decode()
    if isinstance(value, dict | list):
        return json.dumps(plain_value(value), ensure_ascii=False).encode("utf-8", "replace").decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    # A whole number that a spreadsheet keeps as a fraction.
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53 else str(value)


def _excel(file: Path) -> tuple[list[str], Iterator[Record]]:
    """The first sheet of a workbook."""
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise InputError(f"{file}: Excel needs openpyxl; pip install 'rubrika[excel]', or save it as CSV") from None
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(part.file_size for part in archive.infolist())
    if unpacked > most_unpacked(file_size(file)):
        raise InputError(f"{file}: damaged: it promises {unpacked:,} bytes; export it again")
    sheet: Any = load_workbook(file, read_only=True, data_only=True).worksheets[0]
    rows: Iterator[tuple[object, ...]] = sheet.iter_rows(values_only=True)
    header = next(rows, ())
    names = each_once([_cell(name) or "" for name in header[:MAX_COLUMNS]])

    def records() -> Iterator[Record]:
        for number, cells in enumerate(rows, 2):
            if any(cell is not None for cell in cells):
                yield {name: _cell(cell) for name, cell in zip(names, cells, strict=False)}, number

    return names, records()


def _write_arrow(file: Path, target: Path) -> None:
    """Copy an Arrow file, as Hugging Face's datasets are on the disk, or a stream."""
    with pa.memory_map(str(file)) as source:
        open_with: Sequence[Callable[[Any], Any]] = (pa.ipc.open_stream, pa.ipc.open_file)
        for opened in open_with:
            source.seek(0)
            try:
                reader = opened(source)
                break
            except pa.ArrowInvalid:
                continue
        else:
            raise InputError(f"{file}: neither an Arrow stream nor an Arrow file; export it again")
        batches = (
            reader if hasattr(reader, "read_next_batch") else map(reader.get_batch, range(reader.num_record_batches))
        )
        with pq.ParquetWriter(target, reader.schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
