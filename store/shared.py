"""Lets many processes read an embedded store while one changes it: a reader opens a copy of its own.

The engine opens nothing for reading alone: it locks a store (its folder `wal`) for itself, and changes files in place.
So a reader copies these files, with links in place of the large ones, which the engine writes once and never changes.
Who copies a store shares its lock for that moment; who changes it holds the lock till the end, and first leaves such a
copy in it, for readers that come meanwhile. No reader keeps a lock, so none holds a change up.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from typing import TypeVar

from rubrika.errors import StoreError

Opened = TypeVar("Opened")

# Vectors, their 8-bit form and the links of a graph: most of a store. Where another version of the engine calls them
# otherwise, they are copied.
LINKED = {"matrix.dat", "quantized.data", "links_compressed.bin"}
PUBLISHED, _LOG = "published", "wal"
# How long to wait for somebody who is only copying, and between two tries; of a million products a copy takes seconds.
PATIENCE, PAUSE = 60.0, 0.05
CHUNK = 2**20
_EMPTY = bytes(CHUNK)


def open_copy(folder: Path, load: Callable[[Path], Opened]) -> Opened:
    """What `load` makes of a private copy of a store, which needs no name once it is open, and so leaves nothing.

    It is the store as it stands, or as it stood before the change that another process is making.
    """
    until = time.monotonic() + PATIENCE
    while True:
        for source in (folder, folder / PUBLISHED):
            # Another process may remove what it left, when its change is done.
            with suppress(FileNotFoundError), _locked(source, fcntl.LOCK_SH | fcntl.LOCK_NB) as is_ours:
                if is_ours:
                    return _opened(folder, source, load)
        if not folder.is_dir() or time.monotonic() > until:
            advice = "wait for it to end, or move the index to a server with `rubrika push`"
            raise StoreError(f"{folder}: another process is changing this index, and left no copy to read; {advice}")
        time.sleep(PAUSE)


def _opened(folder: Path, source: Path, load: Callable[[Path], Opened]) -> Opened:
    try:
        copy = Path(mkdtemp(prefix="rubrika-"))
        try:
            _copy(source, copy, os.symlink)
            return load(copy)
        finally:
            shutil.rmtree(copy, ignore_errors=True)
    except FileNotFoundError:
        raise
    except OSError as error:
        where = f"reading it takes a copy of some of its files in {gettempdir()}"
        raise StoreError(f"{folder}: {where} ({error.strerror}); make room there, or set TMPDIR") from None


def publish(folder: Path) -> None:
    """Leave a copy for readers in a store that is about to be opened for a change; without room, there is none."""
    fresh = folder / f"{PUBLISHED}.new"
    with suppress(OSError), _locked(folder, fcntl.LOCK_SH | fcntl.LOCK_NB) as is_ours:
        if is_ours:
            # What a change that was killed has left.
            withdraw(folder)
            shutil.rmtree(fresh, ignore_errors=True)
            try:
                fresh.mkdir()
                _copy(folder, fresh, _hard_link)
                fresh.rename(folder / PUBLISHED)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)


def withdraw(folder: Path) -> None:
    """Remove that copy, once nobody is copying it."""
    remove(folder / PUBLISHED)


def remove(folder: Path) -> None:
    """Remove a store, once nobody is copying it; one that does not exist is no error."""
    with suppress(OSError), _locked(folder, fcntl.LOCK_EX):
        shutil.rmtree(folder, ignore_errors=True)
    # What is no store, or no longer a whole one.
    shutil.rmtree(folder, ignore_errors=True)


def hold(folder: Path) -> int | None:
    """Hold a store for a change until the descriptor is closed; None where somebody else does."""
    until = time.monotonic() + PATIENCE
    while True:
        for how in (fcntl.LOCK_EX, fcntl.LOCK_SH):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, how | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                # Whoever only copies shares it.
                if how == fcntl.LOCK_SH or time.monotonic() > until:
                    return None
            else:
                if how == fcntl.LOCK_EX:
                    return descriptor
                os.close(descriptor)
        time.sleep(PAUSE)


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[bool]:
    """Lock a store and, as the engine does, its log; whether that could be had."""
    descriptors = list[int]()
    try:
        try:
            for path in (folder, folder / _LOG):
                descriptors.append(os.open(path, os.O_RDONLY))
                fcntl.flock(descriptors[-1], how)
                # The folder that was there a moment ago may have been removed, and another made.
                if not os.path.samestat(os.fstat(descriptors[-1]), path.stat()):
                    raise FileNotFoundError
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _copy(source: Path, target: Path, link: Callable[[Path, Path], None]) -> None:
    for path in sorted(source.iterdir()):
        fresh = target / path.name
        if path.is_dir():
            if not path.name.startswith(PUBLISHED):
                fresh.mkdir()
                _copy(path, fresh, link)
        elif path.name in LINKED:
            link(path.resolve(), fresh)
        else:
            _copy_file(path, fresh)


def _copy_file(source: Path, target: Path) -> None:
    """Copy a file; what is nothing but zeros, as most of the engine's files, takes no room in the copy either."""
    with source.open("rb") as old, target.open("xb") as new:
        while part := old.read(CHUNK):
            if part == _EMPTY[: len(part)]:
                new.seek(len(part), os.SEEK_CUR)
            else:
                new.write(part)
        new.truncate()


def _hard_link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # Not every file system has them.
        _copy_file(source, target)
