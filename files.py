"""Files that have their name only when they are complete, and room for them on the disk."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile

import pyarrow as pa
import pyarrow.parquet as pq

from rubrika.errors import IndexFolderError, InputError, RubrikaError
from rubrika.store.connection import Connection

# The engine maps its files into memory, in pieces of 32 MB; one that finds no room on the disk kills the process.
ROOM = 3 * 32 * 2**20
_UNWRITABLE = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR
}  # fmt: skip


def check_room(folder: Path, server: Connection | None = None) -> None:
    """See in time that a disk is nearly full.

    Args:
        folder: of an index, on that disk.
        server: where its points are, if not in the folder; it sees to its own disk.

    Raises:
        IndexFolderError: there is too little left to write a batch safely.
    """
    free = shutil.disk_usage(folder).free
    if server is None and free < ROOM:
        raise IndexFolderError(
            f"{folder}: its disk has {free // 2**20} MB left, and writing takes {ROOM // 2**20} to be safe; "
            f"make room, then run the same command again to go on"
        )


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Within it, a disk that is full or refuses to be written is said in a sentence.

    Raises:
        IndexFolderError: the disk refused.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise unwritable(folder, os.strerror(error.errno)) from None


def unwritable(path: Path, reason: str) -> IndexFolderError:
    """What to say of a folder that cannot be written."""
    return IndexFolderError(f"{path}: cannot be written ({reason}); see to its disk, then run the same command again")


def sync(path: Path) -> None:
    """Have a file or folder on the disk, not only on its way there."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Where this process is writing now: a second file for one place would end the first.
_taken: set[Path] = set()


class Target:
    """A file being written.

    Args:
        path: where it will be.
        schema: of its tables.
        writer: of the file under its passing name.
    """

    def __init__(self, path: Path, schema: pa.Schema, writer: pq.ParquetWriter) -> None:
        self.schema = schema
        self._path, self._writer = path, writer

    def write_table(self, table: pa.Table) -> None:
        """Append rows.

        Raises:
            RubrikaError: they cannot be written, as when the disk is full.
        """
        with _said(self._path):
            self._writer.write_table(table)


@contextmanager
def parquet(path: Path, schema: pa.Schema) -> Iterator[Target]:
    """Open a file for writing; an error within leaves what was there before.

    Raises:
        RubrikaError: it cannot be written there, or is being written already.
    """
    check_place(path)
    place, unfinished = path.resolve(), path.with_name(path.name + ".unfinished")
    if place in _taken:
        raise _shared(path)
    with _said(path):
        unfinished.unlink(missing_ok=True)
        # Never through a link that somebody put there.
        file = unfinished.open("xb")
    writer = pq.ParquetWriter(file, schema)
    _taken.add(place)
    try:
        yield Target(path, schema, writer)
        with _said(path):
            writer.close()
            file.close()
            unfinished.replace(path)
    except BaseException:
        # The first error is the one to tell.
        with suppress(OSError, pa.ArrowException):
            writer.close()
        with suppress(OSError):
            file.close()
        raise
    finally:
        _taken.remove(place)
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def check_place(path: Path) -> None:
    """Make the folders that a file needs, and see whether it could be there.

    Raises:
        RubrikaError: it could not.
    """
    with _said(path):
        # A device would be replaced by a file, too.
        if path.exists() and not path.is_file():
            raise RubrikaError(f"{path}: {'a folder' if path.is_dir() else 'a device'}, not a file; name a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK):
            raise RubrikaError(f"{path}: cannot be written (its folder is read-only); choose another place")


def check_distinct(*paths: Path | None) -> None:
    """See whether outputs have places of their own; None is an output nobody asked for.

    Raises:
        RubrikaError: two have the same.
    """
    seen = set[Path]()
    for path in paths:
        if path is None:
            continue
        with _said(path):
            place = path.resolve()
        if place in seen:
            raise _shared(path)
        seen.add(place)


@contextmanager
def _said(path: Path) -> Iterator[None]:
    """What the system has against a file, as one sentence."""
    try:
        yield
    # A ring of links is a RuntimeError to `resolve`.
    except (OSError, RuntimeError) as error:
        number = getattr(error, "errno", None)
        reason = os.strerror(number) if number else error
        raise RubrikaError(f"{path}: cannot be written ({reason}); choose another place") from None


def _shared(path: Path) -> RubrikaError:
    return RubrikaError(f"{path}: named twice; give every file a place of its own")


def report_folder(folder: Path) -> Path:
    """The folder of a report, made if it is not there.

    Raises:
        InputError: nothing can be written there, or what draws reports is not installed.
    """
    missing = [name for name in ("matplotlib", "jinja2") if find_spec(name) is None]
    if missing:
        raise InputError(f"a report needs {' and '.join(missing)}; install `rubrika[report]`")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{folder}: no report can be written there ({error.strerror}); choose another --report"
        ) from None
    return folder
