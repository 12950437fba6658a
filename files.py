"""Files that get their name only when they are complete, and one sentence when a disk is full or refuses them."""

import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from glob import escape
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, BinaryIO, Protocol

import portalocker
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from rubrika.errors import IndexFolderError, InputError, RubrikaError

# The engine maps its files into memory, in pieces of 32 MB; one that finds no room on the disk kills the process.
ROOM = 3 * 32 * 2**20
ELSEWHERE = "choose another place"
# What XML cannot hold, and so no workbook.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
HELD = portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING


def unwritable(path: Path, reason: object, advice: str, kind: type[RubrikaError] = RubrikaError) -> RubrikaError:
    """The error of a file or folder that cannot be written, with what to do."""
    return kind(f"{path}: cannot be written ({reason}); {advice}")


@contextmanager
def writable(
    path: Path, advice: str = ELSEWHERE, kind: type[RubrikaError] = RubrikaError, only: Collection[int] | None = None
) -> Iterator[None]:
    """Turn what the system has against writing a file or folder into one error of this kind, with advice.

    `only`: numbers of the system's errors that are about writing; any other stays what it is. By default all are.
    """
    try:
        yield
    # A ring of links is a RuntimeError to `resolve`.
    except (OSError, RuntimeError) as error:
        number = getattr(error, "errno", None)
        if only is not None and number not in only:
            raise
        raise unwritable(path, os.strerror(number) if number else error, advice, kind) from None


def check_room(folder: Path) -> None:
    """Refuse in time to write into an index folder whose disk is nearly full."""
    if (free := shutil.disk_usage(folder).free) < ROOM:
        low = f"its disk has {free // 2**20} MB left, and writing takes {ROOM // 2**20} to be safe"
        raise IndexFolderError(f"{folder}: {low}; make room, then run the same command again to go on")


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """Read a file that may be anybody's: ValueError when it is larger than this, OSError when it cannot be read."""
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"more than {max_bytes // 10**6} MB")
    return content


def sync(path: Path) -> None:
    """Return when a file or folder is on the disk, not only in the system's memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_in_one_step(path: Path, text: str) -> None:
    """Replace a file of an index, so that a reader sees the old or the new one, whole, and it is on the disk."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    # Never through a link that somebody put there.
    with fresh.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    # What it supersedes may be deleted next.
    sync(path.parent)


# What this process is writing now: a second file of the same path would end the first.
_taken: set[Path] = set()


class Writer(Protocol):
    """Writes tables to an open file, in one of the formats of `FORMATS`."""

    def write_table(self, table: pa.Table) -> None:
        """Append rows."""

    def close(self) -> None:
        """Write the rest."""


class CsvWriter:
    """Writes tables as CSV, their lists as JSON."""

    def __init__(self, file: BinaryIO, schema: pa.Schema, mark: str = ",") -> None:
        flat = [pa.field(it.name, pa.string()) if pa.types.is_nested(it.type) else it for it in schema]
        self._schema = pa.schema(flat)
        self._writer = pa.csv.CSVWriter(file, self._schema, write_options=pa.csv.WriteOptions(delimiter=mark))

    def write_table(self, table: pa.Table) -> None:
        """Append rows."""
        self._writer.write_table(pa.table(_flat(table), schema=self._schema))

    def close(self) -> None:
        """Write the rest."""
        self._writer.close()


class JsonWriter:
    """Writes tables as JSON, an object a line."""

    def __init__(self, file: BinaryIO, _: pa.Schema) -> None:
        self._file = file

    def write_table(self, table: pa.Table) -> None:
        """Append rows."""
        for row in table.to_pylist():
            self._file.write(f"{json.dumps(row, ensure_ascii=False)}\n".encode())

    def close(self) -> None:
        """Nothing is kept back."""


class ExcelWriter:
    """Writes tables as the sheet of a workbook, their lists as JSON; ids that a spreadsheet would round, as texts.

    A text is a text, also one that begins as a formula does; what no workbook can hold of it is seen as a replacement.
    """

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        from openpyxl import Workbook
        from openpyxl.cell import WriteOnlyCell

        self._file, self._book = file, Workbook(write_only=True)
        self._sheet: Any = self._book.create_sheet()
        self._text: Callable[[str], Any] = partial(WriteOnlyCell, self._sheet)
        self._sheet.append([self._cell(name) for name in schema.names])

    def write_table(self, table: pa.Table) -> None:
        """Append rows."""
        for row in zip(*(column.to_pylist() for column in _flat(table)), strict=True):
            self._sheet.append([self._cell(value) for value in row])

    def _cell(self, value: object) -> object:
        value = str(value) if isinstance(value, int) and abs(value) >= 10**15 else value
        if not isinstance(value, str):
            return value
        cell = self._text(_NO_XML.sub("\ufffd", value))
        # A title is anybody's: as a formula, it would be run by whoever opens the workbook.
        cell.data_type = "s"
        return cell

    def close(self) -> None:
        """Write the workbook."""
        self._book.save(self._file)


# By the end of a file's name.
FORMATS: Mapping[str, Callable[[BinaryIO, pa.Schema], Writer]] = {
    ".parquet": pq.ParquetWriter,
    ".csv": CsvWriter,
    ".tsv": partial(CsvWriter, mark="\t"),
    ".jsonl": JsonWriter,
    ".xlsx": ExcelWriter,
}
STDOUT = Path("-")
# Of what several processes write: their files in a folder, and what says, as of Spark, that all of them are there.
PART, DONE = "part-{:06d}.parquet", "_SUCCESS"


def _flat(table: pa.Table) -> list[pa.Array]:
    return [_as_json(column) if pa.types.is_nested(column.type) else column for column in table.columns]


def _as_json(column: pa.ChunkedArray) -> pa.Array:
    return pa.array([json.dumps(value, ensure_ascii=False) for value in column.to_pylist()], pa.string())


class Target:
    """A file of a table that is being written, still under a temporary name; its tables have this schema."""

    def __init__(self, path: Path, schema: pa.Schema, writer: Writer) -> None:
        self.schema, self._path, self._writer = schema, path, writer

    def write_table(self, table: pa.Table) -> None:
        """Append rows; RubrikaError when they cannot be written, as when the disk is full."""
        with writable(self._path):
            self._writer.write_table(table)


@contextmanager
def table_file(path: Path, schema: pa.Schema) -> Iterator[Target]:
    """Open a table for writing, in the format of its name's end; an error within leaves what was there before.

    No file is written twice at a time. `-` is CSV to standard output.
    """
    if path == STDOUT:
        # Where somebody caught the output, as a notebook does, it takes texts alone.
        caught = None if hasattr(sys.stdout, "buffer") else io.BytesIO()
        printer = CsvWriter(caught or sys.stdout.buffer, schema)
        yield Target(path, schema, printer)
        with writable(path):
            printer.close()
            if caught is not None:
                sys.stdout.write(caught.getvalue().decode())
            sys.stdout.flush()
        return
    check_table(path)
    resolved, unfinished = path.resolve(), path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    if resolved in _taken:
        raise _named_twice(path)
    with writable(path):
        _remove_unfinished(path)
        # Never through a link that somebody put there.
        file = unfinished.open("xb")
        portalocker.lock(file, HELD)
    _taken.add(resolved)
    writer: Writer | None = None
    try:
        writer = FORMATS[path.suffix.lower()](file, schema)
        yield Target(path, schema, writer)
        with writable(path):
            writer.close()
            file.close()
            unfinished.replace(path)
    except BaseException:
        # The first error is the one to report.
        with suppress(OSError, pa.ArrowException):
            if writer is not None:
                writer.close()
        with suppress(OSError):
            file.close()
        raise
    finally:
        _taken.remove(resolved)
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _remove_unfinished(path: Path) -> None:
    """Remove what runs that were killed have left of a file; what another process is writing is held by it."""
    for left in path.parent.glob(f"{escape(path.name)}.*.unfinished"):
        if left.is_symlink():
            left.unlink()
        elif left.is_file():
            with suppress(OSError, portalocker.LockException), left.open("rb") as file:
                portalocker.lock(file, HELD)
                left.unlink()


def check_place(path: Path) -> None:
    """Make the folders that a file needs, and refuse a path where no file can be."""
    with writable(path):
        # A device would be replaced by a file, too.
        if path.exists() and not path.is_file():
            raise RubrikaError(f"{path}: {'a folder' if path.is_dir() else 'a device'}, not a file; name a file")
        path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK):
        raise unwritable(path, "its folder is read-only", ELSEWHERE)


def check_table(path: Path) -> None:
    """Refuse a path where no table can be written: its name's end says in which format."""
    if path == STDOUT:
        return
    check_place(path)
    if path.suffix.lower() not in FORMATS:
        raise RubrikaError(f"{path}: a table is written as {', '.join(FORMATS)}; end its name so, or use - for stdout")
    if FORMATS[path.suffix.lower()] is ExcelWriter and find_spec("openpyxl") is None:
        raise InputError(f"{path}: Excel needs openpyxl; pip install 'rubrika[excel]', or name a .csv file")


def _is_part(name: str) -> bool:
    return name == DONE or name.startswith("part-")


def check_folder(folder: Path, is_ours: Callable[[str], bool] = _is_part) -> None:
    """Refuse a path where no folder can be, and a folder with files that are not ours by name, by default no parts."""
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in sorted(path.name for path in folder.iterdir()):
            if not is_ours(name):
                raise RubrikaError(f"{folder}: it holds other files, such as {name}; name a folder of its own")


def clear_parts(folder: Path) -> None:
    """Make a folder for parts, without those of an earlier run."""
    check_folder(folder)
    with writable(folder):
        # First what says that all of them are there.
        for path in (folder / DONE, *folder.glob("part-*")):
            path.unlink(missing_ok=True)


def check_log(path: Path) -> None:
    """Refuse a path where no lines can be appended, as through a link that somebody put there."""
    check_place(path)
    if path.is_symlink():
        raise RubrikaError(f"{path}: a link, not a file; name a file")
    if path.exists() and not os.access(path, os.W_OK):
        raise unwritable(path, "it is read-only", ELSEWHERE)


def append_line(path: Path, line: str) -> None:
    """Append a line to a file, in one write, so that processes which do so at the same time keep theirs whole."""
    content = f"{line}\n".encode()
    no_link = getattr(os, "O_NOFOLLOW", 0)
    with writable(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | no_link, 0o666)
        try:
            written = os.write(descriptor, content)
        finally:
            os.close(descriptor)
    if written < len(content):
        raise unwritable(path, "the disk is full", "make room")


def check_outputs(inputs: Sequence[Path], index: Path | None, *outputs: Path | None) -> None:
    """Refuse outputs that would replace an input, one another, or a part of an index folder; None is not wanted."""
    seen = {file.resolve() for file in inputs}
    for path in (each for each in outputs if each and each != STDOUT):
        with writable(path):
            resolved = path.resolve()
        if resolved in seen:
            raise _named_twice(path)
        if index and index.resolve() in resolved.parents and resolved.parent != index.resolve():
            raise RubrikaError(f"{path}: inside the index {index}, whose files are its own; {ELSEWHERE}")
        seen.add(resolved)


def _named_twice(path: Path) -> RubrikaError:
    return RubrikaError(f"{path}: named twice; give every file a path of its own")


def report_folder(folder: Path) -> Path:
    """The folder of a report, made if it is not there; InputError when a report cannot be written or drawn."""
    missing = [name for name in ("matplotlib", "jinja2") if find_spec(name) is None]
    if missing:
        raise InputError(f"a report needs {' and '.join(missing)}; install `rubrika[report]`")
    with writable(folder, "choose another `report`", InputError):
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder):
            pass
    return folder
