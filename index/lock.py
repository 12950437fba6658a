"""One writer at a time: a lock in the index folder, which says who holds it and goes when its process does."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TextIO

import portalocker

from rubrika.errors import IndexFolderError, StoppedError
from rubrika.index.disk import writable
from rubrika.index.layout import LOCK, MANIFEST


@contextmanager
def writing(folder: Path, what: str) -> Iterator[None]:
    """Hold the index for a change to it.

    Args:
        folder: the index folder; made when there is none, and removed again when nothing was put into it.
        what: the command, as another one would be told.

    Raises:
        IndexFolderError: the folder is a file, another process is changing the index, or its disk refuses to be
            written.
        StoppedError: Ctrl-C.
    """
    path = folder / LOCK
    with writable(folder), _opened(path) as file:
        try:
            portalocker.lock(file, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
        except portalocker.LockException:
            raise IndexFolderError(f"{folder}: {holder(folder)} is changing this index; wait for it to end") from None
        file.truncate(0)
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        file.write(json.dumps({"what": what, "process": os.getpid(), "since": since}))
        file.flush()
        try:
            yield
        except KeyboardInterrupt:
            raise StoppedError(f"{folder}: stopped as asked; nothing is lost, run the same command again") from None
        finally:
            # What was made for nothing goes again.
            if not (folder / MANIFEST).exists():
                path.unlink()
                if not any(folder.iterdir()):
                    folder.absolute().rmdir()


def _opened(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise IndexFolderError(f"{path.parent}: a file, not a folder; choose another place for the index") from None
    # What somebody put there instead may be a link to a file of worth, or a pipe that never opens.
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise IndexFolderError(f"{path}: not the file that Rubrika makes there; remove it, or choose another folder")
    return open(path, "a+", encoding="utf-8", opener=_itself)


def _itself(path: str, flags: int) -> int:
    """Open a file, never through a link, not even one that was put there a moment ago."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def holder(folder: Path) -> str:
    """Who changes the index, or was the last to."""
    try:
        found = json.loads((folder / LOCK).read_text(encoding="utf-8"))
        return f"`rubrika {found['what']}` (process {found['process']}, since {found['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
