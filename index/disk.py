"""What an index asks of its disk: room for a change, what was written to stay, and a sentence when it cannot be."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rubrika.errors import IndexFolderError
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
